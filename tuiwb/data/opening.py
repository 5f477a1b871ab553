"""The only way into data: `open` gives a `View` of a source, for the screen, the verbs and the workers alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.data import declared, hub
from tuiwb.data.journal import place_of
from tuiwb.data.view import View

if TYPE_CHECKING:
    from tuiwb.data.clean.steps import Step
    from tuiwb.recipe import DatasetEntry


def open_view(
    source: "DatasetEntry | str | Path",
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    subset: str | None = None,
    journal: str | Path | None = None,
    editable: bool = False,
    steps: "Sequence[Step]" = (),
    task: Task | None = None,
) -> View:
    """Open a dataset. The first rows can be read when this returns, whatever the file's size.

    Args:
        source: a file, a folder, a dataset id of the hub, or a recipe's entry, which may name all that follows.
        name: the format, one of `formats.FORMATS`, where the user names it.
        columns: part of the format to column, where the user names them.
        split, subset: which part of a folder or of a dataset of the hub; a split may end in `[:100]` or `[:5%]`.
        journal: the file with what was done to rows by hand.
        editable: where no journal is named, take the one that belongs to the source; the first change makes it.
        steps: what cleans the rows.
        task: with one, the source is made ready to be read whole: indexed and cleaned, and its format must be clear.

    Raises:
        InputFault: there is no such file, it is no dataset, or what was named contradicts its rows.
        EnvironmentFault: it cannot be opened.
    """
    if isinstance(source, (str, Path)):
        where, revision, limit = str(source), None, None
        steps = tuple(steps)
    else:
        if source.steps:
            from tuiwb.data.clean.lists import parse

            steps = parse(source.steps)
        where, revision, limit = source.path, source.revision, source.max_examples
        name, columns = name or source.format, columns or source.columns
        split, subset, journal = split or source.split, subset or source.subset, journal or source.journal
    said = declared.named(where)
    if said is not None:
        where, name, columns = said[0], name or said[1], columns or said[2]
    path = _local(where, revision, task)
    if name is None and columns is None and (info := declared.beside(path)):
        _, name, columns = info
    view = View(
        path,
        name=name,
        columns=columns,
        max_examples=limit,
        split=split,
        subset=subset,
        journal=Path(journal).expanduser() if journal else place_of(path) if editable else None,
        steps=steps,
    )
    if task:
        try:
            view.index(task)
            view.require_format()
            if view.steps:
                view.cleaned(task)
        except BaseException:
            view.close()
            raise
    return view


def _local(text: str, revision: str | None, task: Task | None) -> Path:
    """The file or folder that a recipe names, brought from the hub where it is an id."""
    path = Path(text).expanduser()
    if not path.exists() and hub.looks_like_id(text):
        return hub.bring(text, revision=revision, task=task)
    if revision is not None:
        raise InputFault("this is on this machine and has no revisions", file=text, key="revision")
    return path
