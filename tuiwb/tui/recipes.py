"""The global dialogs about the open recipe: open another, take one from another tool, save it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base import paths
from tuiwb.tui.dialogs import Ask, Choose, Confirm, Reader

if TYPE_CHECKING:
    from tuiwb.recipe.imports import Imported
    from tuiwb.tui.app import Workbench


def open_dialog(bench: "Workbench") -> None:
    """Offer the presets, the recipes in the current folder and in the config folder, and any path."""

    def find(_: object) -> list[tuple[str, str, str]]:
        from tuiwb import recipe

        found = [(preset.name, preset.summary, preset.name) for preset in recipe.presets()]
        for folder in (Path.cwd(), paths.config_home() / "recipes"):
            files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]) if folder.is_dir() else []
            found += [(path.name, str(path.parent), str(path)) for path in files]
        return found

    def show(found: list[tuple[str, str, str]]) -> None:
        options = [(name, about) for name, about, _ in found] + [
            ("a file…", "type the path of a recipe"),
            ("import…", "from LLaMA-Factory, Axolotl or TRL, or a script with a command line in it"),
        ]

        def chosen(position: int | None) -> None:
            if position is None:
                return
            if position < len(found):
                _open(bench, found[position][2])
            elif position == len(found) + 1:
                hint = "path of another tool's YAML file, or of a script with a command line in it"
                bench.push_screen(Ask("Import a recipe", hint=hint), imported)
            else:
                bench.push_screen(Ask("Open a recipe", hint="path of a YAML file"), typed)

        def typed(path: str | None) -> None:
            if path and path.strip():
                _open(bench, str(Path(path.strip()).expanduser()))

        def imported(path: str | None) -> None:
            if path and path.strip():
                _unless_lost(bench, lambda: _import(bench, Path(path.strip()).expanduser()))

        bench.push_screen(Choose("Open a recipe or a preset", options), chosen)

    bench.start("list recipes", find, show)


def _open(bench: "Workbench", source: str) -> None:
    _unless_lost(bench, lambda: bench.keeper.open(source))


def _import(bench: "Workbench", file: Path) -> None:
    """Open the recipe that another tool's file becomes, and show what became of each key."""

    def read(_: object) -> "Imported":
        from tuiwb.recipe.imports import read_file

        return read_file(file)

    def done(found: "Imported") -> None:
        bench.keeper.take(found.recipe, file.stem)
        bench.push_screen(Reader(f"{file.name}: what became of each key of {found.tool}", account(found)))

    bench.start("import recipe", read, done)


def account(found: "Imported") -> str:
    """Each key with what became of it; what would change the training and was not taken comes first."""
    lines = []
    for entry in sorted(found.entries, key=lambda entry: not entry.matters):
        mark = "✗" if entry.matters else "·" if entry.outcome == "refused" else "✓" if entry.stated else "+"
        became = f" → {entry.into}" if entry.into else ""
        lines.append(f"{mark} {entry.key}{became}{f': {entry.why}' if entry.why else ''}")
    legend = "✓ taken or translated   + a default of the other tool   · bookkeeping   ✗ not taken, and it matters"
    return "\n".join([legend, "", *lines])


def _unless_lost(bench: "Workbench", then: Callable[[], None]) -> None:
    """Ask before changes that are in no file are given up."""
    if not bench.workspace.changed:
        then()
        return

    def answered(yes: bool | None) -> None:
        if yes:
            then()

    question = f"Give up the changes to {bench.workspace.title.rstrip('*')}?"
    bench.push_screen(Confirm(question, "They are in no file. ctrl+s saves them.", "Give up"), answered)


def save_dialog(bench: "Workbench") -> None:
    """Ask for the path (the one it has), and before another file is replaced."""
    now = bench.workspace
    if now.recipe is None:
        bench.notify("No recipe is open.", severity="warning")
        return
    name = now.title.rstrip("*")
    proposed = now.path or Path.cwd() / f"{name}.yaml"

    def typed(text: str | None) -> None:
        if not text or not text.strip():
            return
        path = Path(text.strip()).expanduser()
        if path.exists() and path != now.path:
            bench.push_screen(Confirm(f"Replace {path}?", "It is another file.", "Replace"), _saving(bench, path))
        else:
            bench.keeper.save(path)

    bench.push_screen(Ask("Save the recipe as", str(proposed)), typed)


def _saving(bench: "Workbench", path: Path) -> Any:
    def answered(yes: bool | None) -> None:
        if yes:
            bench.keeper.save(path)

    return answered
