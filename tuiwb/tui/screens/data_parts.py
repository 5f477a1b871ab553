"""A dataset as other files, from the Data screen: in another format, or in parts for training and evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.base.units import count

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.convert import Conversion
    from tuiwb.data.formats import FormatName
    from tuiwb.data.partition import Partition
    from tuiwb.tui.screens.data import DataScreen

_NEAR = 0.7


def convert(screen: "DataScreen") -> None:
    """Let a format be chosen and a file be named, and write the rows so."""
    from tuiwb.data.convert import TARGETS
    from tuiwb.data.formats import FORMATS

    view = screen.view
    assert view is not None  # the screen's `reason` sees to it
    names = list(TARGETS)

    def chosen(position: int) -> None:
        name = names[position]
        proposed = str(view.path.with_name(f"{_stem(view)}-{name}.jsonl"))
        screen.ask(
            f"Write the rows as {name} to", lambda text: _named(screen, text, write(name)), value=proposed,
            hint="a .jsonl or .json file; the source stays",
        )  # fmt: skip

    def write(name: "FormatName") -> Callable[[Path, bool], None]:
        def start(output: Path, force: bool) -> None:
            def work(task: Task) -> "Conversion":
                from tuiwb.data.convert import convert

                return convert(view, name, output, force=force, task=task)

            def done(found: "Conversion") -> None:
                left = sum(problem.count for problem in found.left_out)
                why = f"; {count(left)} cannot be: {found.left_out[0].message}" if left else ""
                lost = sum(problem.count for problem in found.lost)
                why += f"; {count(lost)} are not whole: {found.lost[0].message}" if lost else ""
                screen.notify(gate_line(f"{count(found.written)} rows are in {output} as {name}{why}.", 400))

            screen.start("convert", work, done)

        return start

    screen.choose("Write all rows as", [(name, FORMATS[name].summary) for name in names], chosen)


def split(screen: "DataScreen") -> None:
    """Ask for the parts, what stays together, and a folder; then the open recipe may learn from them."""
    view = screen.view
    assert view is not None
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("each row by itself", "seeded, at random", {}),
        ("near-duplicates together", f"true Jaccard {_NEAR} and above", {"near": True}),
        ("rows with the same prompt together", "whatever its case and punctuation", {"group": "same-prompt"}),
    ]
    ways += [(f"same shares of each {name}", "stratified", {"stratify": name}) for name in view.columns]
    ways += [(f"equal {name} together", "grouped", {"group": name}) for name in view.columns]

    def typed(text: str) -> None:
        from tuiwb.base.errors import TuiwbError
        from tuiwb.data.partition import shares

        try:
            wanted = shares(text.strip())
        except TuiwbError as error:
            screen.problem(error)
            return
        options = [(gate_line(name, 60), about) for name, about, _ in ways]
        screen.choose("How are the rows shared out?", options, lambda position: folder(wanted, ways[position][2]))

    def folder(wanted: dict[str, float], how: dict[str, Any]) -> None:
        proposed = str(view.path.with_name(f"{_stem(view)}-parts"))
        screen.ask(
            "Write the parts to the folder", lambda text: _write(screen, view, wanted, how, text), value=proposed,
            hint=f"{' and '.join(f'{name}.jsonl' for name in wanted)}; the source stays",
        )  # fmt: skip

    screen.ask("Split into", typed, value="train=0.9,eval=rest", hint="NAME=SHARE,…; one share may be rest")


def _write(screen: "DataScreen", view: "View", wanted: dict[str, float], how: dict[str, Any], text: str) -> None:
    if not text.strip():
        return
    folder = Path(text.strip()).expanduser()
    files = {name: folder / f"{name}.jsonl" for name in wanted}

    def start(force: bool) -> None:
        def work(task: Task) -> "Partition":
            from tuiwb.data.grouping import near_groups
            from tuiwb.data.partition import partition, write_parts

            view.index(task)
            given = dict(how)
            groups = near_groups(view, _NEAR, task) if given.pop("near", False) else None
            found = partition(view, wanted, groups=groups, task=task, **given)
            write_parts(view, found, files, force=force, task=task)
            return found

        def done(found: "Partition") -> None:
            parts = ", ".join(f"{name} {count(len(rows))}" for name, rows in found.parts.items())
            out = f"; {count(found.left_out)} cannot be trained on" if found.left_out else ""
            screen.notify(gate_line(f"{parts} rows in {folder}{out}.", 400))
            _offer(screen, view, files)

        screen.start("split", work, done)

    if any(file.exists() for file in files.values()):
        screen.confirm(f"Replace the parts in {gate_line(str(folder))}?", lambda: start(True), yes="Replace")
    else:
        start(False)


def _offer(screen: "DataScreen", view: "View", files: dict[str, Path]) -> None:
    """The first part into the open recipe's training, the others into its evaluation."""
    if screen.workspace.recipe is None:
        return
    first, *others = files.items()

    def take() -> None:
        import msgspec

        from tuiwb.recipe import DatasetEntry

        recipe = screen.workspace.recipe
        train, *rest = (DatasetEntry(path=str(file), format=view.format.name) for _, file in (first, *others))
        changed = msgspec.structs.replace(recipe, datasets=(train,), eval_datasets=tuple(rest) or None)
        screen.bench.keeper.change(changed)

    measured = f" and is measured on {', '.join(name for name, _ in others)}" if others else ""
    screen.confirm(f"The open recipe learns from {first[0]}{measured}?", take, yes="Use them")


def _named(screen: "DataScreen", text: str, write: Callable[[Path, bool], None]) -> None:
    """Write to the file that was typed, after a question where it is there already."""
    if not text.strip():
        return
    output = Path(text.strip()).expanduser()
    if output.exists():
        screen.confirm(f"Replace {gate_line(str(output))}?", lambda: write(output, True), yes="Replace")
    else:
        write(output, False)


def _stem(view: "View") -> str:
    return view.path.name.split(".")[0]
