"""`tuiwb export WHOM --output FOLDER`: one whole model of a base and what was trained on it."""

import argparse
from pathlib import Path
from typing import Any

from tuiwb.base.errors import InputFault, RunFault, UsageFault
from tuiwb.cli import output


def configure(parser: argparse.ArgumentParser) -> None:
    whom: Any = parser.add_argument("whom", metavar="WHOM", help="a run, or the folder of an adapter")
    whom.completer = _complete
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, metavar="FOLDER", help="merge it into its base there; a new folder")
    what.add_argument("--vllm", action="store_true", help="print what serves it as an adapter beside its base")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="of the merged weights (the base's own)"
    )
    output.add_json(parser)


def _complete(prefix: str, **_: Any) -> list[str]:
    from tuiwb import runs

    return [run.run_id for run in runs.run_dirs() if run.run_id.startswith(prefix)]


def run(args: argparse.Namespace) -> int:
    from tuiwb import chat

    lane = chat.target_of(args.whom).best
    if isinstance(lane, chat.EndpointLane):
        raise UsageFault(f"`{args.whom}` is an endpoint, whose weights are elsewhere")
    return _serve(lane, args) if args.vllm else _merge(lane, args)


def _serve(lane: Any, args: argparse.Namespace) -> int:
    from tuiwb import export

    if lane.adapter is None:
        raise InputFault("it is a whole model, which vLLM serves as it is", file=lane.model)
    found = export.vllm(Path(lane.adapter), lane.model, lane.name)
    if args.json:
        output.print_json({"command": found.command, "problems": list(found.problems)})
    elif not found.problems:
        output.write(found.command)
    if found.problems:
        raise InputFault("; ".join(found.problems) + ": merge it with --output", file=lane.adapter)
    return 0


def _merge(lane: Any, args: argparse.Namespace) -> int:
    from tuiwb import export, rundir, runs

    run = export.launch(export.spec_of(lane, args.output, args.dtype))
    output.say(f"{run.run_id} merges into {args.output}")
    for _ in runs.tail(run):
        pass
    result = rundir.read_result(run.part(1, export.PART)) or {}
    if result.get("outcome") != "finished":
        view = runs.view(run)
        raise RunFault(result.get("message") or f"{run.run_id} is {view.state}: {view.reason}")
    found = result["metrics"]
    if args.json:
        output.print_json({"run_id": run.run_id, **found})
        return 0
    output.write(found["output"])
    output.say(f"{found['dtype']}; {_apart(found)} from the adapter on its base")
    if "quantized" in found:
        output.say(
            f"{_apart(found['quantized'])} from the base in fewer bits, on which it was trained: measure it anew"
        )
    return 0


def _apart(found: dict[str, float]) -> str:
    return f"{found['kl']:.2g} nats a token, with {found['same_top']:.0%} of the likeliest tokens the same,"
