"""`tuiwb recipe presets`: every stage with every method, made to fit a size of model and a GPU."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.base.units import GIB, gib
from tuiwb.cli import output

if TYPE_CHECKING:
    from tuiwb.resolve.sizing import Fitted, Fitter, Target


def configure(parser: argparse.ArgumentParser) -> None:
    from tuiwb.cli.recipe_port import add_output

    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a preset (dpo-lora), a stage (dpo) or a method (qlora); all without"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model-size", metavar="SIZE", help="a class of models: 1B, 8B, 32B or 70B")
    which.add_argument("--model", metavar="MODEL", help="a model: a folder, or a name or id; its configuration will do")
    parser.add_argument(
        "--gpu",
        metavar="GIB|NAME|cpu",
        help="a GPU sold with so many GiB, one by name, or cpu; without, this machine's",
    )
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="how many of them (1)")
    parser.add_argument("--memory", type=float, metavar="GIB", help="with --gpu cpu: the machine's memory (this one's)")
    add_output(parser, "write the recipe of the one preset there")
    output.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    wanted = _wanted(args.names)
    if args.model_size is None and args.model is None:
        if args.gpu is not None or args.output:
            raise UsageFault("say which model too, such as --model-size 8B", key="--model-size")
        return _pairs(args, wanted)
    fitter = _fitter(args)
    fitted = [fitter.fit(name) for name in wanted]
    only = fitted[0] if len(fitted) == 1 else None
    if args.output and only is None:
        raise UsageFault("one recipe is written at a time: name one preset, such as sft-lora", key="--output")
    if only is not None and args.output and only.ok:
        _save(args, only)
    if args.json:
        output.print_json(only.to_json() if only else [one.to_json() for one in fitted])
    elif only is not None:
        _print_one(only)
    else:
        _print_grid(fitted)
    if only is not None and not only.ok:
        raise InputFault(only.refusal)
    return 0


def _wanted(names: Sequence[str]) -> list[str]:
    """The presets that names of presets, stages and methods mean.

    Raises:
        InputFault: one is none, or a pair that cannot work; with the reason.
    """
    from tuiwb.recipe import locate, pairs

    found: dict[str, None] = {}
    for name in names or [""]:
        meant = [pair for pair in pairs.names() if name in ("", pair, *pairs.split(pair))]
        if not meant:
            locate(name)  # says what is wrong with it
            meant = [name]
        found |= dict.fromkeys(meant)
    return list(found)


def _fitter(args: argparse.Namespace) -> "Fitter":
    from tuiwb import hardware, models
    from tuiwb.resolve.sizing import Fitter, model_class

    named = args.model is not None
    model = models.open_model(args.model, config_only=True) if named else model_class(args.model_size)
    return Fitter(model, _target(args), hardware.host())


def _target(args: argparse.Namespace) -> "Target":
    from tuiwb import hardware
    from tuiwb.hardware.catalogue import GpuSpec, gpu_named
    from tuiwb.resolve.sizing import Target, card

    wanted, number = args.gpu, args.gpus
    if not 1 <= number <= 1024:
        raise UsageFault(f"{number} is no number of GPUs", key="--gpus")
    here = hardware.gpus() if wanted is None else []
    if wanted is None and here:
        gpu = max(here, key=lambda one: one.memory_free)
        return Target.of(GpuSpec(gpu.name, gpu.memory_total, 0.0, gpu.compute_capability), number)
    if wanted is None or wanted.lower() == "cpu":
        if number > 1:
            raise UsageFault("there is one CPU; --gpus goes with --gpu", key="--gpus")
        if args.memory is not None and not 1 <= args.memory < 100_000:
            raise UsageFault(f"{args.memory:g} GiB is not a possible size", key="--memory")
        return Target.of_cpu(int(args.memory * GIB) if args.memory else hardware.host().memory_total)
    if args.memory is not None:
        raise UsageFault("it is for --gpu cpu; a GPU has its own", key="--memory")
    plain = wanted.lower().removesuffix("gib").removesuffix("gb").strip()
    if plain.replace(".", "", 1).isdecimal():
        return Target.of(card(float(plain)), number)
    return Target.of(gpu_named(wanted), number)


def _pairs(args: argparse.Namespace, wanted: list[str]) -> int:
    """Which pairs there are, and why the others cannot be."""
    from tuiwb.recipe import pairs, presets

    known = {one.name: one for one in presets()}
    refused = {f"{stage}-{method}": why for (stage, method), why in pairs.UNFIT.items()} if not args.names else {}
    if args.json:
        rows = [{"preset": name, "summary": known[name].summary, "refusal": ""} for name in wanted]
        output.print_json(rows + [{"preset": name, "summary": "", "refusal": why} for name, why in refused.items()])
        return 0
    rows_ = [(name, known[name].summary) for name in wanted]
    output.print_table(
        ["preset", "when to use it"], rows_ + [(name, f"cannot be: {why}") for name, why in refused.items()]
    )
    output.say("--model-size 8B --gpu 24 makes them fit")
    return 0


def _print_one(fitted: "Fitted") -> None:
    if not fitted.ok:
        return
    output.print_table(["key", "value", "why"], [(one.key, one.value, one.why) for one in fitted.choices])
    fits = fitted.plan.fits
    if fits is not None:
        output.say(f"{gib(fits.needed_bytes)} of {gib(fits.memory_bytes)} are needed, context and slack included")


def _print_grid(fitted: "Sequence[Fitted]") -> None:
    rows = []
    for one in fitted:
        recipe, fits = one.recipe, one.plan.fits
        batch = f"{recipe.per_device_train_batch_size} × {recipe.gradient_accumulation_steps}"
        how = [choice for choice in one.choices if choice.key in ("load_in_4bit", "optim", "max_length")]
        more = ["checkpointing"] if recipe.gradient_checkpointing else []
        more += [f"{choice.key}={choice.value}" for choice in how]
        needs = gib(fits.needed_bytes) if fits else ""
        said = ", ".join(more) if one.ok else one.short_refusal
        rows.append((one.preset, batch if one.ok else "–", str(one.plan.recipe.max_length), needs, said))
    output.print_table(["preset", "batch", "length", "needs", "with, or why not"], rows, right=[2, 3])


def _save(args: argparse.Namespace, fitted: "Fitted") -> None:
    """The recipe's file: what was derived stands in comments above it."""
    from tuiwb.cli.recipe_port import write_new
    from tuiwb.recipe import dumps

    write_new(Path(args.output), described(fitted) + dumps(fitted.recipe), force=args.force)
    output.say(f"written to {args.output}; `tuiwb train {args.output} --set datasets.0.path=…` launches it")


def described(fitted: "Fitted") -> str:
    """Comment lines: what the recipe is made for, and why each value was derived."""
    head = f"# {fitted.preset} for {fitted.plan.model.name} on {getattr(fitted.plan.gpu, 'title', '')}\n"
    return head + "".join(f"# {one.key}: {one.value} ({one.why})\n" for one in fitted.choices)
