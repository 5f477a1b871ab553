"""What all screens share: one open recipe, its model, the selected run. Frozen snapshots, changed in one place.

A screen never changes these objects: it asks `app.workspace_keeper` (`open`, `change`, `save`, `select_run`), the
keeper makes a new snapshot, and the app calls `show_workspace` on the screen that is shown (on the others when they
are shown next).
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import TuiwbError

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench


@dataclass(frozen=True, slots=True)
class Workspace:
    """A snapshot.

    Args:
        recipe: the open `tuiwb.recipe.Recipe`, or None: nothing is open yet.
        source: where it came from: a path, or a preset's name; what `recipe.load` takes.
        path: the file that `save` writes; None for a preset that was never saved.
        text: what it was read from; what its author wrote beside the keys stays when it is saved.
        changed: the recipe differs from that file. The session keeps it, so nothing is lost on leaving.
        model: the `tuiwb.models.ModelInfo` of the recipe's model; None while it is being opened, or when it cannot be.
        model_problem: why the model cannot be opened: one sentence, or empty.
        run_id: the run that is selected on the Runs screen, and that Chat talks to.
    """

    recipe: Any = None
    source: str = ""
    path: Path | None = None
    text: str = ""
    changed: bool = False
    model: Any = None
    model_problem: str = ""
    run_id: str | None = None

    @property
    def title(self) -> str:
        """What the header shows."""
        if self.recipe is None:
            return ""
        name = getattr(self.recipe, "name", None) or (self.path.stem if self.path else self.source)
        return f"{name}*" if self.changed else str(name)


@dataclass
class Keeper:
    """Opens and changes the one recipe; every change goes through `_set`."""

    app: "Workbench"
    now: Workspace = field(default_factory=Workspace)

    def open(self, source: str) -> None:
        """Open a recipe file or a preset, in a thread; a fault becomes a toast and what was open stays open."""

        def load(_: object) -> Any:
            from tuiwb import recipe
            from tuiwb.recipe.reading import read_text

            file = recipe.locate(source)
            return recipe.load(source), "" if file is None else read_text(file)

        def opened(found: Any) -> None:
            recipe, text = found
            path = Path(source) if Path(source).is_file() else None
            self._set(replace(self.now, recipe=recipe, source=source, path=path, text=text, changed=False))

        self.app.start("open recipe", load, opened)

    def restore(self, text: str, source: str, path: Path | None) -> None:
        """Open the unsaved recipe of last time."""

        def load(_: object) -> Any:
            from tuiwb import recipe

            return recipe.loads(text, source=source)

        def opened(recipe: Any) -> None:
            self._set(replace(self.now, recipe=recipe, source=source, path=path, text=text, changed=True))

        self.app.start("open recipe", load, opened)

    def take(self, recipe: Any, name: str) -> None:
        """Open a recipe that is in no file yet.

        Args:
            name: what the header calls it.
        """
        self._set(replace(self.now, recipe=recipe, source=name, path=None, text="", changed=True))

    def change(self, recipe: Any, text: str | None = None) -> None:
        """Put an edited recipe in the place of the open one.

        Args:
            text: what was typed, where the recipe was edited as text.
        """
        text = self.now.text if text is None else text
        if recipe != self.now.recipe or text != self.now.text:
            self._set(replace(self.now, recipe=recipe, text=text, changed=True))

    def save(self, path: Path) -> None:
        """Write the open recipe to `path`, in a thread; comments stay."""
        recipe, text = self.now.recipe, self.now.text

        def write(_: object) -> Any:
            from tuiwb.base import atomic, paths
            from tuiwb.base.errors import EnvironmentFault, reason_of
            from tuiwb.recipe.keeping import kept

            paths.private_folder(path.parent)
            saved = kept(text, recipe, folder=path.parent.absolute())
            try:
                atomic.write_text(path, saved, mode=0o644)
            except OSError as error:
                raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=path) from error
            return saved

        def written(saved: str) -> None:
            still = self.now.recipe == recipe and self.now.text == text
            kept_text = saved if still else self.now.text
            self._set(replace(self.now, path=path, source=str(path), text=kept_text, changed=not still))
            self.app.notify(f"saved to {path}")

        self.app.start("save recipe", write, written)

    def select_run(self, run_id: str | None) -> None:
        if run_id != self.now.run_id:
            self._set(replace(self.now, run_id=run_id))

    def _set(self, new: Workspace) -> None:
        before = getattr(self.now.recipe, "model_name_or_path", None)
        wanted = getattr(new.recipe, "model_name_or_path", None)
        if wanted != before:
            new = replace(new, model=None, model_problem="")
        self.now = new
        self.app.workspace_changed()
        if wanted and wanted != before:
            self._open_model(wanted)

    def reopen_model(self) -> None:
        """Try again, after a download for example."""
        if wanted := getattr(self.now.recipe, "model_name_or_path", None):
            self._open_model(wanted)

    def _open_model(self, wanted: str) -> None:
        def read(task: Any) -> Any:
            from tuiwb import models

            return models.open_model(wanted, task=task)

        def opened(model: Any) -> None:
            self._set(replace(self.now, model=model, model_problem=""))

        def failed(error: TuiwbError) -> None:
            self._set(replace(self.now, model=None, model_problem=str(error)))

        self.app.start("open model", read, opened, failed)
