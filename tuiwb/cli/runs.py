"""`tuiwb runs …`: list, watch, save, stop, resume and delete runs."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb import rundir, runs
from tuiwb.base import units
from tuiwb.base.errors import RunFault, UsageFault
from tuiwb.cli import output
from tuiwb.cli.recipe import add_settings, read_settings
from tuiwb.runs import order

if TYPE_CHECKING:
    from tuiwb.rundir import RunDir
    from tuiwb.runs import RunView

_ASKED = {
    "save": "save a checkpoint now and go on",
    "stop": "save a checkpoint and end",
    "pause": "save a checkpoint and end for now; `resume` goes on",
    "cancel": "end at once, without saving",
}
_BAD_ENDS = ("failed", "interrupted", "lost")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = _action(actions, "list", "all runs, newest first", _list, run=False)
    listing.add_argument("words", metavar="WORD", nargs="*", help="only runs whose name, id, notes … have it; #TAG")
    states = sorted(rundir.ACTIVE | rundir.RESTING)
    listing.add_argument(
        "--state", action="append", choices=states, metavar="STATE", help="only runs in this state (may be repeated)"
    )
    listing.add_argument("--by", choices=order.ORDERS, default=order.ORDERS[0], help="sorted, or in groups, by this")
    listing.add_argument("-n", "--limit", type=int, metavar="N", help="only the newest N")

    _action(actions, "show", "how one run is doing: progress, checkpoints, processes", _show)

    tail = _action(actions, "tail", "metrics and events of a run", _tail)
    tail.add_argument("--until-end", action="store_true", help="follow, from the first line, until the run ends")
    tail.add_argument(
        "-n", "--lines", type=int, metavar="N", help="begin N lines before the end (20 when not following)"
    )
    tail.add_argument("--log", action="store_true", help="the raw output of the worker instead")

    _action(actions, "answers", "what the model said at each evaluation of the training", _answers)

    for verb, what in _ASKED.items():
        asked = _action(actions, verb, what, _ask)
        asked.add_argument("--wait", type=float, metavar="S", help="wait up to S seconds for what comes of it")

    resume = _action(
        actions, "resume", "go on with a run from its newest whole checkpoint, or let one go that is held", _resume
    )
    resume.add_argument("--step", type=int, metavar="N", help="from the checkpoint of this step instead")
    prune = _action(
        actions, "prune", "remove old checkpoints of a run: not the newest, the best and the result", _prune
    )
    prune.add_argument("--keep", type=int, default=1, metavar="N", help="keep the newest N (1)")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    _action(actions, "hold", "keep a run that waits from starting, until `resume`", _hold)
    clone = _action(actions, "clone", "launch the same run again as a new one, with other settings if wanted", _clone)
    add_settings(clone)
    compare = _action(
        actions, "compare", "how far runs came, with the best values, and how they differ", _compare, run=False
    )
    several = compare.add_argument("ids", metavar="ID", nargs="+", help="one run or several")
    several.completer = complete  # type: ignore[attr-defined]
    delete = _action(actions, "delete", "put a run into the trash", _delete)
    delete.add_argument("--purge", action="store_true", help="remove a run for good that is in the trash already")
    attach = _action(
        actions, "attach", "watch a training that was started elsewhere; it is touched in no way", _attach, run=False
    )
    attach.add_argument("pid", metavar="PID", nargs="?", type=int, help="its process")
    attach.add_argument(
        "--folder", type=Path, metavar="DIR", help="its output folder, where its command does not say it"
    )
    attach.add_argument("--name", default="", help="what to call it")
    note = _action(actions, "note", "say something of a run: notes, tags", _note)
    note.add_argument("text", metavar="TEXT", nargs="?", help="replaces its notes")
    note.add_argument("--tag", action="append", metavar="TAG", help="replaces its tags (may be repeated)")
    _action(actions, "restore", "bring a run back from the trash", _restore)


def run(args: argparse.Namespace) -> int:
    raise AssertionError("an action is required")


def _action(actions: Any, name: str, what: str, function: Any, *, run: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    if run:
        argument = parser.add_argument("id", metavar="ID", help="an id, a unique part of one, or `last`")
        argument.completer = complete  # type: ignore[attr-defined]
    output.add_json(parser)
    parser.set_defaults(run=function)
    return parser


def complete(prefix: str, **_: Any) -> list[str]:
    """Ids of runs, for argcomplete."""
    return [found.run_id for found in runs.run_dirs() if found.run_id.startswith(prefix)]


def _list(args: argparse.Namespace) -> int:
    seen = [view for view in runs.scan() if not args.state or view.state in args.state]
    found = [view for view in seen if order.matches(view, " ".join(args.words))][: args.limit]
    entries = order.ordered(found, args.by)
    if args.json:
        output.print_json([view.to_json() for view in entries if not isinstance(view, str)])
        return 0
    if not found:
        few = "no run is in that state" if args.state else "no runs yet; `tuiwb train RECIPE` starts one"
        output.say(f"none of {len(seen)} runs has all of these words" if seen and args.words else few)
        return 0
    rows: list[tuple[Any, ...]] = [
        (each,) + 6 * ("",)
        if isinstance(each, str)
        else (each.run_id, each.kind, each.state, _progress(each), _loss(each), _age(each), each.reason)
        for each in entries
    ]
    output.print_table(["run", "kind", "state", "step", "loss", "age", "reason"], rows, right=[3, 4, 5])
    return 0


def _show(args: argparse.Namespace) -> int:
    view = runs.show(args.id)
    if args.json:
        output.print_json(view.to_json())
        return 0
    supervised = {True: "by a wrapper", False: "no", None: f"on {view.host}"}[view.supervised]
    rows: list[tuple[Any, ...]] = [
        ("run", view.run_id),
        ("state", f"{view.state}: {view.reason}" if view.reason else view.state),
        ("phase", view.phase),
        ("step", _progress(view)),
        ("attempt", view.attempt),
        ("supervised", supervised if view.active else ""),
        ("last heard of", "" if view.beat_age_s is None else f"{units.duration(view.beat_age_s)} ago"),
        ("folder", view.run.path),
        *((name, f"{value:,}" if isinstance(value, int) else _number(value)) for name, value in view.metrics.items()),
        *((f"process, {name}", pids) for name, pids in view.pids.items() if pids),
    ]
    output.print_table(["", ""], [row for row in rows if row[1] not in ("", None)])
    if view.checkpoints:
        marks = [
            (
                _checkpoint_step(c.step),
                _number(c.loss),
                _number(c.eval_loss),
                units.size(c.bytes),
                c.problem or "whole",
                c.path,
            )
            for c in view.checkpoints
        ]
        output.print_table(["checkpoint", "loss", "eval loss", "size", "", "path"], marks, right=[0, 1, 2, 3])
    for alarm in view.alarms:
        at = time.strftime("%H:%M:%S", time.localtime(float(alarm.get("time") or 0)))
        fix = f"; {alarm['fix']}" if alarm.get("fix") else ""
        output.write(f"alarm at {at}: {alarm.get('message') or alarm.get('rule')}{fix}")
    return 0


def _tail(args: argparse.Namespace) -> int:
    run = runs.find(args.id)
    last = args.lines if args.lines is not None else None if args.until_end else 20
    try:
        if args.log:
            for text in runs.tail_log(run, last=last, follow=args.until_end):
                if args.json:
                    output.print_json({"type": "log", "line": text})
                else:
                    output.write(text)
        else:
            for record in runs.tail(run, last=last, follow=args.until_end):
                _print_record(record, as_json=args.json)
    except KeyboardInterrupt:
        return 130
    return _end(run) if args.until_end else 0


def _answers(args: argparse.Namespace) -> int:
    run = runs.find(args.id)
    found = runs.answers(run)
    if args.json:
        output.print_json({"run_id": run.run_id, "answers": [one.to_json() for one in found]})
        return 0
    if not found:
        output.say(f"{run.run_id} answered nothing; sample_prompts of the recipe says what is asked at each evaluation")
    for one in found:
        score = "" if one.score is None else f", score {one.score:.4g}"
        output.write(f"{one.part}, step {one.step}, {one.tokens} tokens{score}\n> {one.prompt}\n{one.answer}\n")
    return 0


def follow(run: "RunDir", *, as_json: bool) -> int:
    """Print a run's metrics and events from the first line until it ends.

    Returns:
        the exit code that says how it ended.
    """
    try:
        for record in runs.tail(run):
            _print_record(record, as_json=as_json)
    except KeyboardInterrupt:
        output.say(f"{run.run_id} goes on; `tuiwb runs tail {run.run_id} --until-end` watches it")
        return 130
    return _end(run)


def _end(run: "RunDir") -> int:
    view = runs.view(run)
    output.say(f"{view.run_id} {view.state}" + (f": {view.reason}" if view.reason else ""))
    return RunFault.exit_code if view.state in _BAD_ENDS else 0


def _print_record(record: runs.Record, *, as_json: bool) -> None:
    if as_json:
        named = {"part": record.part} if record.part else {}
        output.print_json({"type": record.source, **named, **rundir.strict(record.value)})
        return
    value = dict(record.value)
    at = time.strftime("%H:%M:%S", time.localtime(float(value.pop("time", 0) or 0)))
    words = [f"{name}={_number(item)}" for name, item in value.items() if name != "event" and item not in (None, "")]
    output.write(f"{at}  {value.get('event') or record.part}  {' '.join(words)}")


def _ask(args: argparse.Namespace) -> int:
    asked = runs.ask(args.id, args.action)
    run = runs.find(args.id)
    came = runs.answer(run, asked, wait_s=args.wait) if args.wait else None
    if args.json:
        output.print_json({"run_id": run.run_id, "request": asked.id, "verb": asked.verb, "answer": came})
    elif came is None:
        output.say(f"{run.run_id} was asked to {asked.verb}" + (", and has not answered yet" if args.wait else ""))
    else:
        words = [str(came.get(name)) for name in ("state", "reason", "checkpoint", "problem") if came.get(name)]
        output.write(f"{run.run_id} {'; '.join(words)}")
    failed = args.wait and (came is None or came.get("problem") or came.get("state") in _BAD_ENDS)
    return RunFault.exit_code if failed else 0


def _resume(args: argparse.Namespace) -> int:
    return _launched(runs.resume(args.id, step=args.step), args)


def _prune(args: argparse.Namespace) -> int:
    run = runs.find(args.id)
    found = runs.removable(run, keep=args.keep)
    freed = sum(each.bytes for each in found) if args.dry_run else runs.prune(run, found)
    if args.json:
        removed = [{"path": str(each.path), "why": each.why, "bytes": each.bytes} for each in found]
        output.print_json({"run_id": run.run_id, "removed": removed, "bytes": freed, "dry_run": args.dry_run})
        return 0
    if found:
        output.print_table(
            ["checkpoint", "why", "size"], [(e.path, e.why, units.size(e.bytes)) for e in found], right=[2]
        )
    would = "would be" if args.dry_run else "were"
    output.say(f"{len(found)} checkpoints {would} removed, {units.size(freed)}")
    return 0


def _hold(args: argparse.Namespace) -> int:
    run = runs.hold(args.id)
    if args.json:
        output.print_json({"run_id": run.run_id, "run_dir": str(run.path)})
    else:
        output.say(f"{run.run_id} is held; `tuiwb runs resume {run.run_id}` lets it go")
    return 0


def _clone(args: argparse.Namespace) -> int:
    return _launched(runs.clone(args.id, read_settings(args)), args)


def warn_of_logout() -> None:
    """Say so where a run that was started here would not outlive the logout."""
    from tuiwb.hardware.logout import logout_problem

    if problem := logout_problem():
        output.say(f"warning: {problem[0]}, and the run with it; {problem[1]}")


def _launched(run: "RunDir", args: argparse.Namespace) -> int:
    if args.json:
        output.print_json({"run_id": run.run_id, "run_dir": str(run.path)})
    else:
        output.write(run.run_id)
        output.say(f"it lives on without this terminal; `tuiwb runs tail {run.run_id} --until-end` watches it")
        warn_of_logout()
    return 0


def _compare(args: argparse.Namespace) -> int:
    found = runs.compare([runs.find(name) for name in args.ids])
    if args.json:
        output.print_json(found.to_json())
        return 0
    heads = ["", *(name or run for name, run in zip(found.names, found.runs, strict=True))]
    places = list(range(1, len(heads)))
    rows = [(key, *(_said(value) for value in values)) for key, values in found.differences.items()]
    output.print_table(heads, [("run", *found.runs), *rows], right=places)
    metrics = [(name, *(_reached(each) for each in values)) for name, values in found.metrics.items()]
    output.print_table(["metric, last and best", *heads[1:]], metrics, right=places)
    return 0


def _said(value: Any) -> str:
    return units.written(value) or "–"


def _reached(each: Any) -> str:
    if each is None:
        return "–"
    return _number(each.last) + ("" if each.best is None else f" ({_number(each.best)} at {each.best_step:,})")


def _delete(args: argparse.Namespace) -> int:
    run = runs.purge(args.id) if args.purge else runs.delete(args.id)
    words = (
        "was removed for good" if args.purge else f"is in the trash; `tuiwb runs restore {run.run_id}` brings it back"
    )
    return _moved(run, words, args)


def _attach(args: argparse.Namespace) -> int:
    if args.pid is None and args.folder is None:
        raise UsageFault("give the number of a process, or --folder with what a trainer wrote")
    return _launched(runs.attach(args.pid, args.folder, name=args.name), args)


def _note(args: argparse.Namespace) -> int:
    run = runs.annotate(args.id, notes=args.text, tags=args.tag)
    view = runs.view(run)
    if args.json:
        output.print_json({"run_id": view.run_id, "notes": view.notes, "tags": list(view.tags)})
    else:
        output.write(" ".join([view.notes, *(f"#{tag}" for tag in view.tags)]).strip())
    return 0


def _restore(args: argparse.Namespace) -> int:
    return _moved(runs.restore(args.id), "is back", args)


def _moved(run: "RunDir", words: str, args: argparse.Namespace) -> int:
    if args.json:
        output.print_json({"run_id": run.run_id, "run_dir": str(run.path)})
    else:
        output.say(f"{run.run_id} {words}")
    return 0


def _progress(view: "RunView") -> str:
    if view.step is None:
        return ""
    return f"{view.step:,}" if view.total_steps is None else f"{view.step:,}/{view.total_steps:,}"


def _loss(view: "RunView") -> str:
    return _number(view.metrics["loss"]) if "loss" in view.metrics else ""


def _age(view: "RunView") -> str:
    return units.duration(max(0.0, time.time() - view.created)) if view.created else ""


def _number(value: Any) -> str:
    return units.written(float(f"{value:.4g}") if isinstance(value, float) else value)


def _checkpoint_step(step: int | None) -> str:
    return "" if step is None else f"{step:,}"
