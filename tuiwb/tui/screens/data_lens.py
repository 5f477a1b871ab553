"""With which eyes the Data screen looks at rows: the model's tokenizer and template, and the recipe's mask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.tui.screens.data_detail import Lens
from tuiwb.tui.workspace import Workspace

if TYPE_CHECKING:
    from tuiwb.tui.screens.data import DataScreen

_NONE = "No model is open: m chooses one, and its chat template shows what it sees."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a lens is made of: the model (opened, or by name) and the recipe."""

    model: Any
    name: str
    recipe: Any
    problem: str


def wanted(workspace: Workspace, chosen: str) -> Wanted:
    """The model of the open recipe, unless one was chosen here."""
    if chosen:
        return Wanted(None, chosen, workspace.recipe, "")
    return Wanted(workspace.model, "", workspace.recipe, workspace.model_problem)


def load(what: Wanted, task: Task) -> Lens:
    """Read tokenizer and template; whatever is wrong becomes the lens's sentence."""
    from tuiwb import models
    from tuiwb.data.prepare import PrepareSettings
    from tuiwb.data.render import Renderer

    try:
        model = models.open_model(what.name, config_only=True, task=task) if what.name else what.model
        if model is None:
            return Lens(problem=what.problem or _NONE)
        resolved = _resolved(what.recipe, model) if what.recipe else None
        tokenizer = models.load_tokenizer(model).with_tokens((resolved and resolved.added_tokens) or ())
        given = getattr(what.recipe, "chat_template", None)
        has_template = given or tokenizer.chat_template
        template = tokenizer.template(given) if has_template else None
        settings = PrepareSettings.of(resolved) if resolved else PrepareSettings()
    except TuiwbError as error:
        if task.cancelled:
            raise
        return Lens(problem=str(error))
    how: dict[str, Any] = {
        "train_roles": settings.train_roles,
        "train_on_eos": settings.train_on_eos,
        "max_length": settings.max_length,
        "truncation": settings.truncation,
        "response_marker": settings.response_marker,
    }
    of = (model.name, tokenizer.fingerprint, template.fingerprint if template else "", *map(str, how.values()))
    return Lens(Renderer(tokenizer, template, **how), model.name, of=of)


def ask_model(screen: "DataScreen", then: Callable[[str], None]) -> None:
    """Let one of the models that are here be chosen, or any path; the recipe's, when one is open, becomes it too."""

    def show(found: list[Any]) -> None:
        options = [(info.hub_id if info.kind == "hub" else info.name, info.architecture) for info in found]
        options.append(("another…", "type a name, a folder, a .gguf file or a hub id"))

        def chosen(position: int) -> None:
            if position < len(found):
                take(options[position][0])
            else:
                screen.ask("Model", take, hint="a name, a folder, a .gguf file or a hub id")

        def take(name: str) -> None:
            if not name.strip():
                return
            recipe = screen.workspace.recipe
            if recipe is None:
                then(name.strip())
                return
            from tuiwb.recipe import with_settings

            then("")
            screen.bench.keeper.change(with_settings(recipe, {"model_name_or_path": name.strip()}))

        screen.choose("Model", options, chosen)

    def find(_: Task) -> list[Any]:
        from tuiwb import models

        return models.installed()

    screen.start("models", find, show)


def _resolved(recipe: Any, model: Any) -> Any:
    from tuiwb import hardware, resolve

    return resolve.resolve(recipe, model=model, host=hardware.host(), gpus=[]).recipe
