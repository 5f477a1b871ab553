"""What cleaning leaves behind as files: the rows that stay with the reasons for the others, and the list of steps."""

from pathlib import Path
from typing import TYPE_CHECKING

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.tui.dialogs import Ask, Confirm

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.tui.screens.data_clean import CleanPanel


def save_steps(panel: "CleanPanel", view: "View") -> None:
    """Keep the list in a file, for others and for `tuiwb data clean --steps`."""
    steps = panel.steps
    if not steps:
        panel.app.notify("There are no steps yet: a adds one.")
        return

    def answered(text: str | None) -> None:
        if text is None or not text.strip():
            return
        target = Path(text.strip()).expanduser()

        def work(_: Task) -> None:
            from tuiwb.data.clean.lists import save

            save(steps, target, force=True)

        def write(yes: bool | None) -> None:
            if yes:
                panel.start("save", work, lambda _: panel.app.notify(gate_line(f"{len(steps)} steps are in {target}")))

        if target.exists():
            panel.app.push_screen(Confirm(f"Replace {gate_line(str(target))}?", yes="Replace"), write)
        else:
            write(True)

    hint = "a .yaml file; tuiwb data clean --steps reads it, and so does steps: of a recipe"
    panel.app.push_screen(Ask("Save the list of steps", _beside(view, "steps.yaml"), hint), answered)


def write_rows(panel: "CleanPanel", view: "View") -> None:
    """Write the rows that stay, and why the others do not."""
    found = panel.cleaned
    if found is None:
        panel.app.notify("First see what the steps leave out: r.")
        return

    def answered(text: str | None) -> None:
        if text is None or not text.strip():
            return
        target = Path(text.strip()).expanduser()

        def work(task: Task) -> int:
            from tuiwb.data.clean.write import REPORT_ENDINGS, write, write_report

            written = write(view, found, target, task=task)
            for ending in REPORT_ENDINGS:
                write_report(view, found, target.with_name(f"{target.stem}.report{ending}"))
            return written

        def done(written: int) -> None:
            reasons = f"{target.stem}.report.md and .json"
            panel.app.notify(gate_line(f"{written:,} rows are in {target}, the reasons in {reasons}"))

        panel.start("write", work, done)

    hint = "a .jsonl or .json file; the source stays"
    panel.app.push_screen(Ask("Write the rows that stay", _beside(view, "cleaned.jsonl"), hint), answered)


def _beside(view: "View", ending: str) -> str:
    return str(view.path.with_name(f"{view.path.name.split('.')[0]}-{ending}"))
