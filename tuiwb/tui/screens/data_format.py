"""What the Data screen does with the recipe's dataset, and how a format is named where it cannot be told."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.tui.screens.data_mapping import MappingForm
from tuiwb.tui.workspace import Workspace

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.formats import FormatName
    from tuiwb.tui.screens.data import DataScreen


def dataset_of(workspace: Workspace) -> str:
    """The path of the open recipe's first dataset, or nothing."""
    datasets = getattr(workspace.recipe, "datasets", None)
    return str(datasets[0].path) if datasets else ""


def datasets_of(workspace: Workspace) -> list[str]:
    """The paths of all datasets of the open recipe."""
    names = ("datasets", "eval_datasets")
    return [str(entry.path) for name in names for entry in getattr(workspace.recipe, name, None) or ()]


def verdict(view: "View", changed: str) -> Content:
    """The format of the rows, how sure that is and why; what happened to the file since."""
    found = view.format
    if found.name:
        tone = "$text-success" if found.confidence > 0.98 else "$text-warning"
        sure = (f" {found.confidence:.0%}  ", tone)
        said = Content.assemble((found.name, "bold $text-accent"), sure, gate_line(found.reason))
    else:
        unknown = ("format unknown  ", "bold $text-error")
        said = Content.assemble(unknown, gate_line(found.reason), ("  t: name it", "dim"))
    if changed == "vanished":
        gone = "\nThe file is no longer there; what is shown can still be read, and w writes it to another one"
        said = Content.assemble(said, (gone, "$text-warning"))
    elif changed:
        said = Content.assemble(said, (f"\nThe file {changed} since it was opened; r: read it again", "$text-warning"))
    return said


def progress(tasks: Sequence[Task]) -> str:
    """How far the first task is that can tell."""
    for now in (task.progress for task in tasks):
        if now.total:
            return f" · {now.doing} {100 * now.done // now.total} %"
    return ""


def ask_format(screen: "DataScreen", view: "View") -> None:
    """Let the user name the format; a part whose column cannot be told is asked for next."""
    from tuiwb.data.formats import FORMATS

    names = list(FORMATS)
    options = [("auto", "let the rows decide")] + [(name, FORMATS[name].summary) for name in names]

    def chosen(position: int) -> None:
        if position == 0:
            screen.open(str(view.path))
        else:
            _ask_columns(screen, view, names[position - 1])

    current = names.index(view.format.name) + 1 if view.format.name else 0
    screen.choose("What the rows are", options, chosen, current=current)


def _ask_columns(screen: "DataScreen", view: "View", name: "FormatName") -> None:
    """Open the file with this format; where a part has no usual column, in a form that shows what the rows become."""
    from tuiwb.data.formats import FORMATS, columns_of

    form, row = FORMATS[name], dict.fromkeys(view.columns)
    if columns_of(form, row) is not None and view.format.name != name:
        screen.open(str(view.path), name=name)
        return
    known = dict(view.format.columns) if view.format.name == name else {}
    parts = (*form.needed.items(), *form.optional.items())
    for like in (_is, _says):
        for part, usual in parts:
            column = next((one for one in view.columns if one not in known.values() and like(one, usual)), None)
            if part not in known and column is not None:
                known[part] = column

    def mapped(columns: dict[str, str] | None) -> None:
        if columns is not None:
            screen.open(str(view.path), name=name, columns=columns)

    screen.app.push_screen(MappingForm(view, name, known), mapped)


def _is(column: str, usual: Sequence[str]) -> bool:
    return column.lower() in usual


def _says(column: str, usual: Sequence[str]) -> bool:
    """Whether a column is named after a part, such as `user_question` or `answerText`."""
    return bool({*re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", column).lower())} & {*usual})


def use(screen: "DataScreen", view: "View") -> None:
    """Make the open dataset the first one of the open recipe; one that it names already keeps its place."""
    import msgspec

    recipe = screen.workspace.recipe
    entry, entries = entry_of(view, recipe), list(recipe.datasets or ())
    at = next((number for number, one in enumerate(entries) if one.path == entry.path), 0)
    entries[at : at + 1] = [entry]
    screen.bench.keeper.change(msgspec.structs.replace(recipe, datasets=tuple(entries)))
    screen.notify(f"The recipe learns from {gate_line(view.path.name, 40)}.")


def entry_of(view: "View", recipe: Any) -> Any:
    """The recipe's entry for a dataset as it is open: format, columns, part and edits; what else an entry of the recipe
    says of it (steps, weight) stays."""
    import msgspec

    from tuiwb.recipe import DatasetEntry

    name, columns = view.given
    split, subset = view.part
    known = next((one for one in recipe.datasets or () if one.path == str(view.path)), None)
    entry = known or DatasetEntry(path=str(view.path))
    return msgspec.structs.replace(
        entry,
        format=name,
        columns=dict(columns) if columns else None,
        split=split,
        subset=subset,
        journal=str(view.journal.path) if view.journal is not None and len(view.journal) else entry.journal,
    )
