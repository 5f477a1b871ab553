"""`tuiwb plan RECIPE`: how much memory it needs, phase by phase, whether it fits, and what to change."""

import argparse
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import UsageFault
from tuiwb.base.text import gate
from tuiwb.base.units import GIB, duration, gib, parameters
from tuiwb.cli import output
from tuiwb.cli.recipe import add_recipe, read_recipe

if TYPE_CHECKING:
    from tuiwb.hardware.catalogue import GpuSpec
    from tuiwb.memory import Plan

_SHOWN_REMEDIES = 6


def configure(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    where = parser.add_mutually_exclusive_group()
    gpu: Any = where.add_argument("--gpu", metavar="NAME", help="a GPU by name, such as A100-80GB, RTX-4090 or T4")
    gpu.completer = _gpu_names
    where.add_argument("--gpu-memory", type=float, metavar="GIB", help="a GPU with so many GiB that can be used")
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="answer a question that no recipe answers, such as loss=full_logits; the plan shows all that it assumed",
    )
    parser.add_argument("--inference", action="store_true", help="what the model needs to answer, instead of to train")
    parser.add_argument("--explain", action="store_true", help="print the formula and source of every component too")
    parser.add_argument(
        "--why", action="store_true", help="print the rules that people quote, and how far each is from this plan"
    )
    parser.add_argument("--history", action="store_true", help="what past runs here measured, beside their plans")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="do two real steps on the longest examples on this machine, and leave nothing behind",
    )
    form = parser.add_mutually_exclusive_group()
    output.add_json(form)  # type: ignore[arg-type]
    form.add_argument("--markdown", action="store_true", help="print the tables as Markdown")


def run(args: argparse.Namespace) -> int:
    if args.history:
        return _history(args)
    if args.measure:
        return _measure(args)
    plan = make_plan(args)
    if args.json:
        output.print_json(plan.to_json() | ({"rules": [rule.to_json() for rule in plan.rules]} if args.why else {}))
        return 0
    tables = _tables(plan, explain=args.explain or args.markdown)
    if args.why:
        tables.append(_rules(plan))
    if args.markdown:
        output.write(_markdown(plan, tables))
    else:
        _print(plan, tables)
    return 0


def _measure(args: argparse.Namespace) -> int:
    """Measure instead of planning: on this machine, and so for no other GPU."""
    from tuiwb import resolve
    from tuiwb.cli.progress import followed
    from tuiwb.cli.recipe import print_checks
    from tuiwb.runs.measuring import measure

    if args.gpu is not None or args.gpu_memory is not None or args.inference:
        raise UsageFault("what is measured is the training, on this machine", key="--measure")
    assessment = resolve.assess(read_recipe(args))
    print_checks(assessment)
    found = followed(lambda task: measure(assessment, task=task), in_steps=True)
    if args.json:
        output.print_json(found.to_json())
        return 0
    batch = found.first_batch
    what = "resident memory that came on top of the libraries'" if found.device == "cpu" else "allocated at most"
    rows = [["measured peak", gib(found.peak_bytes), what]]
    if found.planned_bytes is not None and found.off is not None:
        rows.append(["planned peak", gib(found.planned_bytes), f"{found.off:+.1%} of what was measured"])
    rows.append(["a step", f"{found.step_s:.2f} s", f"{batch['examples']} examples, the longest of the data"])
    rows.append(["first batch", f"{batch['trained_tokens']:,}", f"trained tokens of {batch['tokens']:,}"])
    rows.append(["first loss", f"{batch['loss']:.4f}", "a number" if batch["finite"] else "NOT a number"])
    output.print_table(["", "", ""], rows, right=[1])
    output.write(f"\nThe first example begins:\n{gate(batch['text'])}")
    return 0


def make_plan(args: argparse.Namespace) -> "Plan":
    """The plan that the arguments ask for.

    Raises:
        UsageFault, InputFault: an argument, the recipe or the model is at fault.
    """
    from tuiwb import memory, models
    from tuiwb.base.errors import InputFault
    from tuiwb.resolve.elsewhere import planning_target

    recipe = read_recipe(args)
    if recipe.model_name_or_path is None:
        raise InputFault("say which model, such as --set model_name_or_path=FOLDER", key="model_name_or_path")
    assume = {}
    for text in args.assume:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageFault(f"{text!r} is not NAME=VALUE", key="--assume")
        assume[name.strip()] = value.strip()
    spec = _spec(args)
    model = models.open_model(recipe.model_name_or_path, config_only=True)
    resolved, gpu = planning_target(recipe, model, spec)
    reached = None if spec is not None else _reached("cpu" if gpu is None else "cuda")
    return memory.plan(resolved.recipe, model, gpu=gpu, assume=assume, answers=args.inference, reached=reached)


def _reached(device: str) -> tuple[float, float] | None:
    from tuiwb.memory.history import speed
    from tuiwb.runs.past import past_here

    return speed(past_here(), device)


def _history(args: argparse.Namespace) -> int:
    from tuiwb.runs.past import past_here

    found = past_here()
    if args.json:
        output.print_json({"runs": [one.to_json() for one in found]})
        return 0
    if not found:
        output.say("no training that was planned has come to its end on this machine yet")
        return 0
    rows = [
        [one.run_id, one.method, one.device, gib(one.planned_bytes), gib(one.measured_bytes), f"{one.off:+.1%}"]
        for one in found
    ]
    output.print_table(["run", "method", "device", "planned", "measured", "off"], rows, right=[3, 4, 5])
    if any(one.device == "cpu" for one in found):
        output.say("on a CPU what is measured is the whole process, libraries and the C library's allocator included")
    return 0


def _spec(args: argparse.Namespace) -> "GpuSpec | None":
    from tuiwb.hardware.catalogue import GpuSpec, gpu_named

    if args.gpu is not None:
        return gpu_named(args.gpu)
    if args.gpu_memory is None:
        return None
    if not 0 < args.gpu_memory < 100_000:
        raise UsageFault(f"{args.gpu_memory:g} GiB is not a possible size", key="--gpu-memory")
    return GpuSpec(f"GPU with {args.gpu_memory:g} GiB", int(args.gpu_memory * GIB))


def _gpu_names(prefix: str, **_: object) -> list[str]:
    from tuiwb.hardware.catalogue import GPU_CATALOGUE

    return [gpu.name for gpu in GPU_CATALOGUE if gpu.name.lower().startswith(prefix.lower())]


# --------------------------------------------------------------------------------------------------------- for people


def _verdict(plan: "Plan") -> str:
    fits = plan.fits
    if fits is None:
        return "no GPU named: --gpu NAME or --gpu-memory GIB says whether it fits"
    if fits.ok:
        return f"fits {fits.gpu} ({gib(fits.memory_bytes)}) with {gib(fits.margin_bytes)} to spare"
    return f"does not fit {fits.gpu} ({gib(fits.memory_bytes)}): {gib(-fits.margin_bytes)} too much"


def _number(value: float) -> str:
    return f"{value / GIB:.3f}" if value else ""


# Title, headers, rows, and the columns that are aligned to the right.
_Table = tuple[str, list[str], list[list[str]], list[int]]


def _tables(plan: "Plan", *, explain: bool) -> list[_Table]:
    low, high = plan.device_bytes
    figures = [
        ["steady", gib(plan.steady_bytes), "allocated between two steps"],
        ["peak", gib(plan.peak_bytes), f"allocated at most; {plan.why}"],
        ["on the device", f"{gib(low)} to {gib(high)}", "what nvidia-smi shows, with context and cache"],
    ]
    if plan.time_s is not None and plan.inputs.stage != "inference":
        whole = (plan.recipe.max_steps or 0) > 0
        figures.append(["time", " to ".join(duration(one) for one in plan.time_s), "the run" if whole else "a step"])
    headers = ["GiB", *(phase.name for phase in plan.phases)]
    columns = list(range(1, len(headers)))
    phases = [
        [one.name, *(_number(phase.parts.get(one.name, 0.0)) for phase in plan.phases)] for one in plan.components
    ]
    phases.append(["sum", *(_number(phase.bytes) for phase in plan.phases)])
    tables = [("Figures", ["", "", ""], figures, [1]), ("Phases", headers, phases, columns)]
    if explain:
        parts = [[one.name, gib(one.bytes), one.formula, one.source] for one in plan.components]
        tables.append(("Components", ["component", "at most", "formula", "source"], parts, [1]))
    found = plan.search
    if plan.fits is not None:
        rows = [
            ["largest batch", _or_none(found.max_batch)],
            ["longest sequence", _or_none(found.max_length)],
            ["fewest GPUs (FSDP)", _or_none(found.min_gpus)],
        ]
        tables.append(("What fits", ["", ""], rows, [1]))
    if plan.remedies:
        rows = [[one.change, gib(one.saves_bytes), one.cost] for one in plan.remedies[:_SHOWN_REMEDIES]]
        tables.append(("What would help", ["change", "saves", "and it"], rows, [1]))
    assumed = [[one.name, one.value, one.reason] for one in plan.assumptions]
    tables.append(("Assumed", ["what", "value", "why"], assumed, []))
    return tables


def _or_none(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def _head(plan: "Plan") -> str:
    inputs = plan.inputs
    what = f"{inputs.stage} {inputs.method}, batch {inputs.batch} × {inputs.length} tokens"
    gpus = f", {inputs.ranks} GPUs ({_grid(plan)})" if inputs.ranks > 1 else ""
    share = plan.trainable / plan.parameters
    return (
        f"{plan.model.name}: {parameters(plan.parameters)} parameters, {parameters(plan.trainable)} trained "
        f"({share:.2%})\n{what}{gpus}"
    )


def _grid(plan: "Plan") -> str:
    grid = plan.inputs.grid
    kinds = (("tensor", grid.tensor), ("pipeline", grid.pipeline), ("context", grid.context), ("expert", grid.expert))
    return ", ".join([plan.inputs.sharding, *(f"{name} parallel {size}" for name, size in kinds if size > 1)])


def _rules(plan: "Plan") -> _Table:
    rows = []
    for one in plan.rules:
        says, planned = (parameters(int(value)) if one.counts else gib(value) for value in (one.says, one.planned))
        rows.append([one.rule, says, f"{one.distance:+.0%}", f"{planned}: {one.beside}", one.assumes])
    return "Why the rules disagree", ["rule", "says", "off by", "beside", "assumes"], rows, [1, 2]


def _print(plan: "Plan", tables: list[_Table]) -> None:
    output.write(_head(plan))
    output.write(_verdict(plan))
    for title, headers, rows, right in tables:
        output.write(f"\n{title}")
        output.print_table(headers, rows, right=right)


def _markdown(plan: "Plan", tables: list[_Table]) -> str:
    lines = [_head(plan).replace("\n", "  \n"), "", f"**{_verdict(plan)}**"]
    for title, headers, rows, right in tables:
        lines += ["", f"### {title}", "", "| " + " | ".join(headers) + " |"]
        lines.append("|" + "|".join("---:" if number in right else "---" for number in range(len(headers))) + "|")
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
