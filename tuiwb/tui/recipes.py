"""The global dialogs about the open recipe: open another, take one from another tool, save it; and what a screen shows
while none is open."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tuiwb.base import paths
from tuiwb.tui.dialogs import Ask, Choose, Confirm, Reader
from tuiwb.tui.fitting import fit_dialog
from tuiwb.tui.widgets.start import Offer, Start

if TYPE_CHECKING:
    from tuiwb.hardware import GpuStatus, Host
    from tuiwb.recipe.imports import Imported
    from tuiwb.runs import RunView
    from tuiwb.tui.app import Workbench

FIRST = ("demo", "sft-lora", "sft-qlora", "dpo-lora")
"""The presets that most people begin with come first."""


def offers() -> list[Offer]:
    """The recipes in the current folder and in the config folder, then the presets."""
    from tuiwb import recipe

    found = []
    for folder in (Path.cwd(), paths.config_home() / "recipes"):
        files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]) if folder.is_dir() else []
        found += [Offer(str(path), path.name, str(path.parent)) for path in files]
    presets = [Offer(preset.name, preset.name, preset.summary) for preset in recipe.presets()]
    presets.sort(key=lambda offer: FIRST.index(offer.name) if offer.name in FIRST else len(FIRST))
    return found + presets


def facts_and_offers(_: object) -> tuple[list[tuple[str, str]], list[Offer]]:
    """What there is to begin with: the machine, the models, the runs; and the recipes that can be opened."""
    from tuiwb import hardware, models, runs

    here = ", ".join(model.name for model in models.installed())
    facts = [
        ("this machine", machine(hardware.gpu_status(), hardware.host())),
        ("models here", here or "none yet: Models brings them"),
        ("runs", past(runs.scan())),
    ]
    return facts, offers()


def machine(gpus: "GpuStatus", host: "Host") -> str:
    """What a run can use: `2 × NVIDIA A100 80GB (79.1, 12.0 GiB free)`, or the processors."""
    from tuiwb.base.units import gib

    if gpus.gpus:
        names = list(dict.fromkeys(gpu.name for gpu in gpus.gpus))
        told = []
        for name in names:
            same = [gpu for gpu in gpus.gpus if gpu.name == name]
            free = ", ".join(gib(gpu.memory_free).removesuffix(" GiB") for gpu in same)
            told.append(f"{len(same)} × {name} ({free} GiB free)" if len(same) > 1 else f"{name} ({free} GiB free)")
        return ", ".join(told)
    units = " with bfloat16 units" if host.bf16_units else ""
    return f"no GPU; {host.cpus} processors{units}, {gib(host.memory_available)} of memory free"


def past(views: "Sequence[RunView]") -> str:
    """How many runs there are, and how the newest does."""
    if not views:
        return "none yet"
    newest = max(views, key=lambda view: view.created)
    one = f"{newest.name or newest.run_id} {newest.state}"
    return one if len(views) == 1 else f"{len(views)}, the newest: {one}"


class RecipeStart(Start):
    """What Plan and Train show while no recipe is open."""

    def __init__(self) -> None:
        super().__init__("No recipe is open. Begin with one of these (↑↓, enter):", id="empty")

    @property
    def bench(self) -> "Workbench":
        return cast("Workbench", self.app)

    def on_show(self) -> None:
        # That of last time may be on its way.
        if self.bench.task_of("open recipe") is None:
            self.bench.start("what is here", facts_and_offers, self._found)

    def _found(self, found: tuple[list[tuple[str, str]], list[Offer]]) -> None:
        if self.is_attached:
            self.show(*found)

    def on_start_chosen(self, event: Start.Chosen) -> None:
        event.stop()
        open_source(self.bench, event.source)


def open_dialog(bench: "Workbench") -> None:
    """Offer the presets, the recipes in the current folder and in the config folder, and any path."""

    def show(found: list[Offer]) -> None:
        options = [(offer.name, offer.about) for offer in found] + [
            ("a file…", "type the path of a recipe"),
            ("make one fit…", "every stage and method made to fit a model and a GPU: what gives way, and why"),
            ("import…", "from LLaMA-Factory, Axolotl or TRL, or a script with a command line in it"),
        ]

        def chosen(position: int | None) -> None:
            if position is None:
                return
            if position < len(found):
                open_source(bench, found[position].source)
            elif position == len(found) + 1:
                fit_dialog(bench, lambda recipe, name: unless_lost(bench, lambda: bench.keeper.take(recipe, name)))
            elif position == len(found) + 2:
                hint = "path of another tool's YAML file, or of a script with a command line in it"
                bench.push_screen(Ask("Import a recipe", hint=hint), imported)
            else:
                bench.push_screen(Ask("Open a recipe", hint="path of a YAML file"), typed)

        def typed(path: str | None) -> None:
            if path and path.strip():
                open_source(bench, str(Path(path.strip()).expanduser()))

        def imported(path: str | None) -> None:
            if path and path.strip():
                unless_lost(bench, lambda: _import(bench, Path(path.strip()).expanduser()))

        bench.push_screen(Choose("Open a recipe or a preset", options), chosen)

    bench.start("list recipes", lambda _: offers(), show)


def open_source(bench: "Workbench", source: str) -> None:
    """Open a recipe file or a preset, after asking where changes would be lost."""
    unless_lost(bench, lambda: bench.keeper.open(source))


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


def unless_lost(bench: "Workbench", then: Callable[[], None]) -> None:
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
