"""The dialogs that make a preset fit: which model, which GPU, which stage and method; then what gave way, and why."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tuiwb.base.units import count, gib, parameters
from tuiwb.tui.dialogs import Choose, Reader

if TYPE_CHECKING:
    from tuiwb.hardware import Gpu, Host
    from tuiwb.models import ModelInfo
    from tuiwb.recipe import Recipe
    from tuiwb.resolve.sizing import Fitted, Target
    from tuiwb.tui.app import Workbench

_KEPT = ("model_name_or_path", "datasets", "eval_datasets", "chat_template")


@dataclass(frozen=True, slots=True)
class Offered:
    """A line of the list: a preset that fits, or one that does not and why."""

    name: str
    about: str
    fitted: "Fitted | None"


def fit_dialog(bench: "Workbench", take: "Callable[[Recipe, str], None]") -> None:
    """Ask for a model and a device, and offer every stage with every method as it fits there.

    Args:
        take: opens the recipe, as made from the preset of this name.
    """
    known: ModelInfo | None = bench.workspace.model

    def look(_: object) -> "tuple[Host, list[Gpu]]":
        from tuiwb import hardware

        return hardware.host(), hardware.gpus()

    def asked(found: "tuple[Host, list[Gpu]]") -> None:
        host, gpus = found
        classes = _classes(known)
        targets = _targets(host, gpus)

        def model_chosen(at: int | None) -> None:
            if at is None:
                return
            model = classes[at][1]

            def target_chosen(place: int | None) -> None:
                if place is not None:
                    _offer(bench, model, targets[place][1], host, take)

            bench.push_screen(Choose("On which device?", [names for names, _ in targets]), target_chosen)

        bench.push_screen(Choose("Which model is it to fit?", [names for names, _ in classes]), model_chosen)

    bench.start("look at the machine", look, asked)


def _classes(known: "ModelInfo | None") -> "list[tuple[tuple[str, str], ModelInfo]]":
    from tuiwb.resolve.sizing import SIZES, model_class

    found = []
    if known is not None:
        size = parameters(known.parameters) if known.parameters else ""
        found.append(((known.name, f"the open recipe's, {size}" if size else "the open recipe's"), known))
    for size, name in SIZES.items():
        found.append(((size, f"any of about that size, planned as {name}"), model_class(size)))
    return found


def _targets(host: "Host", gpus: "list[Gpu]") -> "list[tuple[tuple[str, str], Target]]":
    from tuiwb.hardware.catalogue import GpuSpec
    from tuiwb.resolve.sizing import CARDS, Target, card

    found = []
    for gpu in gpus:
        spec = GpuSpec(gpu.name, gpu.memory_total, 0.0, gpu.compute_capability)
        found.append(((gpu.name, f"here, {gib(gpu.memory_total)}"), Target.of(spec)))
    found.append((("the CPU", f"here, {gib(host.memory_total)}"), Target.of_cpu(host.memory_total)))
    for size in CARDS:
        spec = card(size)
        found.append(((f"{size} GiB", f"any GPU sold with so much; {gib(spec.memory_total)} of it"), Target.of(spec)))
    return found


def _offer(
    bench: "Workbench",
    model: "ModelInfo",
    target: "Target",
    host: "Host",
    take: "Callable[[Recipe, str], None]",
) -> None:
    def fit(_: object) -> list[Offered]:
        return offered(model, target, host)

    def show(found: list[Offered]) -> None:
        def chosen(at: int | None) -> None:
            if at is None:
                return
            one = found[at]
            title = f"{one.name} for {model.name} on {target.title}"
            if one.fitted is None or not one.fitted.ok:
                bench.push_screen(Reader(title, one.fitted.refusal if one.fitted else one.about))
                return
            take(_for_open(one.fitted.recipe, bench.workspace.recipe), one.name)
            bench.push_screen(Reader(title, derived(one.fitted)))

        options = [(one.name, one.about) for one in found]
        bench.push_screen(Choose(f"What fits {target.title}, for {model.name}", options), chosen)

    bench.start("make presets fit", fit, show)


def offered(model: "ModelInfo", target: "Target", host: "Host") -> list[Offered]:
    """Every stage with every method: those that fit first, then those that do not, then what cannot be.

    Raises:
        InputFault: the model cannot be planned.
    """
    from tuiwb.recipe import pairs
    from tuiwb.resolve.sizing import Fitter

    fitter = Fitter(model, target, host)
    fits = [fitter.fit(name) for name in pairs.names()]
    found = [Offered(one.preset, _with(one), one) for one in fits if one.ok]
    found += [Offered(one.preset, one.short_refusal, one) for one in fits if not one.ok]
    return found + [
        Offered(f"{stage}-{method}", f"cannot be: {why}", None) for (stage, method), why in pairs.UNFIT.items()
    ]


def derived(fitted: "Fitted") -> str:
    """What was derived, a key a line, each with the reason."""
    fits = fitted.plan.fits
    lines = [f"{one.key}: {one.value}\n    {one.why}" for one in fitted.choices]
    if fits is not None:
        lines.append(f"\n{gib(fits.needed_bytes)} of {gib(fits.memory_bytes)} are needed, context and slack included.")
    return "\n".join([*lines, "The open recipe is this one now; v shows the difference to the preset."])


def _with(fitted: "Fitted") -> str:
    recipe, fits = fitted.recipe, fitted.plan.fits
    length = count(fitted.plan.recipe.max_length or 0)
    words = [f"{recipe.per_device_train_batch_size} × {recipe.gradient_accumulation_steps} of {length} tokens"]
    words += ["checkpointing"] if recipe.gradient_checkpointing else []
    words += [f"{one.key}={one.value}" for one in fitted.choices if one.key in ("load_in_4bit", "optim")]
    return ", ".join([*words, gib(fits.needed_bytes)] if fits else words)


def _for_open(recipe: "Recipe", now: "Recipe | None") -> "Recipe":
    """With the model and the data of the open recipe, where a fitted preset names none."""
    if now is None:
        return recipe
    stated = {key: getattr(now, key) for key in _KEPT if getattr(recipe, key) is None}
    if stated.get("eval_datasets") and recipe.eval_fraction is not None:
        stated["eval_fraction"] = None
    return msgspec.structs.replace(recipe, **stated)
