"""The two global dialogs about the open recipe: open another, save it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base import paths
from tuiwb.tui.dialogs import Ask, Choose, Confirm

if TYPE_CHECKING:
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
        options = [(name, about) for name, about, _ in found] + [("a file…", "type the path of a recipe")]

        def chosen(position: int | None) -> None:
            if position is None:
                return
            if position < len(found):
                _open(bench, found[position][2])
            else:
                bench.push_screen(Ask("Open a recipe", hint="path of a YAML file"), typed)

        def typed(path: str | None) -> None:
            if path and path.strip():
                _open(bench, str(Path(path.strip()).expanduser()))

        bench.push_screen(Choose("Open a recipe or a preset", options), chosen)

    bench.start("list recipes", find, show)


def _open(bench: "Workbench", source: str) -> None:
    if not bench.workspace.changed:
        bench.keeper.open(source)
        return

    def answered(yes: bool | None) -> None:
        if yes:
            bench.keeper.open(source)

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
