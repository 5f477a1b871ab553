"""`tuiwb eval WHOM --data FILE`: measure a model, the tuned one against its base. `tuiwb eval show RUN` reports."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.base.text import gate_line
from tuiwb.cli import output

if TYPE_CHECKING:
    from tuiwb.evaluate import Subject
    from tuiwb.rundir import RunDir


def configure(parser: argparse.ArgumentParser) -> None:
    words: Any = parser.add_argument(
        "words",
        metavar="WHOM",
        nargs="+",
        help="a run (its base and what it trained are compared), a model, or an endpoint; `show RUN` prints a report",
    )
    words.completer = _complete
    what = parser.add_argument_group("what to measure")
    what.add_argument("--data", action="append", default=[], metavar="FILE", help="rows to measure on (repeatable)")
    what.add_argument(
        "--general", action="append", default=[], metavar="FILE", help="rows that tell what was forgotten (repeatable)"
    )
    what.add_argument("--format", metavar="NAME", help="of the rows, where it cannot be told")
    what.add_argument(
        "--metric",
        action="append",
        metavar="NAME",
        help="loss, perplexity, exact, contains, rouge1, rouge2, rougeL, bleu, json, fields, calls, call_names, "
        "tokens, regex=PATTERN, code, judge, mt_bench (repeatable; loss)",
    )
    what.add_argument(
        "--task", action="append", default=[], metavar="NAME", help="of lm-eval, or a YAML file of one (repeatable)"
    )
    what.add_argument(
        "--no-task-template", action="store_true", help="ask tasks without the chat template, as for base models"
    )
    what.add_argument("--judge", metavar="ENDPOINT", help="who compares the answers with the first subject's")
    what.add_argument("--criteria", default="", metavar="TEXT", help="what the judge looks at above all")
    who = parser.add_argument_group("who")
    who.add_argument("--beside", action="append", default=[], metavar="WHOM", help="one more, as `tuiwb chat` takes it")
    who.add_argument("--only", action="append", default=[], metavar="NAME", help="of these subjects alone: base, tuned")
    who.add_argument("--adapter", action="append", default=[], metavar="FOLDER")
    who.add_argument("--chat-template", metavar="NAME", help="template for a model that has none")
    how = parser.add_argument_group("how")
    how.add_argument("--max-examples", type=int, metavar="N", help="of each file, evenly spread")
    how.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="longest answer (256)")
    how.add_argument("--batch-size", type=int, default=8, metavar="N", help="answers generated together (8)")
    how.add_argument(
        "--window", type=int, default=1024, metavar="N", help="tokens of a window of the perplexity (1024)"
    )
    how.add_argument("--stride", type=int, default=512, metavar="N", help="tokens by which it moves on (512)")
    how.add_argument("--seed", type=int, default=42, metavar="N", help="of the bootstrap (42)")
    how.add_argument("--name", default="", metavar="NAME", help="of the run")
    how.add_argument("--follow", action="store_true", help="stay until it has ended, then print the report")
    show = parser.add_argument_group("show")
    show.add_argument("--worst", type=int, metavar="N", help="the N worst rows instead of the report")
    output.add_json(parser)


def _complete(prefix: str, **_: Any) -> list[str]:
    from tuiwb import models, runs

    names = [run.run_id for run in runs.run_dirs()] + [info.name for info in models.installed()]
    return [name for name in names if name.startswith(prefix)]


def run(args: argparse.Namespace) -> int:
    first, *rest = args.words
    if first == "show":
        if len(rest) != 1:
            raise UsageFault("show takes one run")
        return _show(rest[0], args)
    if rest:
        raise UsageFault(f"`{rest[0]}` is one word too many: more models are given with --beside")
    return _launch(first, args)


def _launch(whom: str, args: argparse.Namespace) -> int:
    from tuiwb import evaluate
    from tuiwb.cli import runs

    spec = evaluate.Spec(
        subjects=_subjects(whom, args),
        datasets=tuple(_dataset(path, args.format, general=path in args.general) for path in args.data + args.general),
        metrics=tuple(args.metric or (["loss"] if args.data or args.general else [])),
        tasks=tuple(_task(each) for each in args.task),
        task_template=not args.no_task_template,
        max_examples=args.max_examples,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
        window=args.window,
        stride=args.stride,
        seed=args.seed,
        judge=args.judge,
        criteria=args.criteria,
    )
    for name in ("max_examples", "max_new_tokens", "batch_size"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise InputFault("must be at least 1", key="--" + name.replace("_", "-"))
    if args.judge is not None:
        from tuiwb import endpoints

        endpoints.key_of(endpoints.find(args.judge))  # told now rather than in the run
    run = evaluate.launch(spec, name=args.name)
    if not args.follow:
        if args.json:
            output.print_json({"run_id": run.run_id, "run_dir": str(run.path)})
        else:
            output.write(run.run_id)
        output.say(f"it lives on without this terminal; `tuiwb eval show {run.run_id}` prints what it found")
        return 0
    code = runs.follow(run, as_json=False) if not args.json else _silently(run)
    if code == 0:
        return _report(run, args)
    return code


def _silently(run: "RunDir") -> int:
    """Wait for the end, with nothing on stdout but the report."""
    from tuiwb import runs
    from tuiwb.base.errors import RunFault

    for _ in runs.tail(run):
        pass
    view = runs.view(run)
    if view.state == "finished":
        return 0
    raise RunFault(f"{run.run_id} is {view.state}" + (f": {view.reason}" if view.reason else ""))


def _subjects(whom: str, args: argparse.Namespace) -> "tuple[Subject, ...]":
    from tuiwb import chat

    target = chat.target_of(whom, adapters=args.adapter, template=args.chat_template)
    for ref in args.beside:
        target = chat.Target(target.title, (*target.lanes, chat.further(target, ref)), target.run_id)
    known = {lane.name: lane for lane in target.lanes}
    for name in args.only:
        if name not in known:
            raise InputFault(f"there is no subject `{name}`; there are {', '.join(known)}", key="--only")
    return tuple(_subject(lane) for name, lane in known.items() if not args.only or name in args.only)


def _subject(lane: Any) -> "Subject":
    from tuiwb import chat, evaluate

    if isinstance(lane, chat.EndpointLane):
        # By what it is found again: an address for one that has no profile.
        return evaluate.Subject(name=lane.endpoint.ref)
    return evaluate.Subject(
        name=lane.name,
        model=lane.model,
        adapter=lane.adapter,
        template=lane.template,
        stop_ids=lane.stop_ids,
        context=lane.context,
        quantization=lane.quantization,
    )


def _dataset(path: str, form: str | None, *, general: bool) -> Any:
    from tuiwb import data, evaluate
    from tuiwb.evaluate import turns

    place = Path(path).expanduser().absolute()
    if turns.are_turns(place):
        return evaluate.Dataset(path=str(place), name=place.stem, general=general, turns=True)
    data.open(place, name=form).close()  # what is no dataset is told before there is a run
    return evaluate.Dataset(path=str(place), name=place.stem, format=form, general=general)


def _task(name: str) -> str:
    """A task's name, or the absolute path of its file."""
    from tuiwb.evaluate import tasks

    if not name.endswith((".yaml", ".yml")):
        return name
    file = Path(name).expanduser().absolute()
    tasks.name_in(file)  # what is no task is told before there is a run
    return str(file)


def _show(ref: str, args: argparse.Namespace) -> int:
    from tuiwb import runs

    run = runs.find(ref)
    return _report(run, args) if args.worst is None else _worst(run, args)


def _report(run: "RunDir", args: argparse.Namespace) -> int:
    from tuiwb import evaluate

    report = evaluate.read_report(run)
    if args.json:
        output.print_json({"run_id": run.run_id, **report})
        return 0
    names = report["subjects"]
    headers = ["DATA", "METRIC", *names, *(f"{name} - {names[0]}" for name in names[1:]), "BETTER/WORSE/EQUAL"]
    rows = []
    for each in report["results"]:
        label = each["dataset"] + (" (general)" if each["general"] else "")
        changes = [each["differences"].get(name) for name in names[1:]]
        last = changes[-1] if changes else None
        counted = f"{last['better']}/{last['worse']}/{last['equal']}" if last and each["metric"] != "bleu" else ""
        rows.append(
            [
                label,
                each["metric"],
                *(_interval(each["values"].get(name)) for name in names),
                *(_interval(change, signed=True) for change in changes),
                counted,
            ]
        )
    output.print_table(headers, rows)
    for found in report.get("judge") or ():
        output.say(_biases(found))
    output.say("intervals: 95 %, paired bootstrap over rows; `--worst 10` shows the worst rows")
    return 0


def _interval(found: dict[str, Any] | None, *, signed: bool = False) -> str:
    if found is None:
        return "—"
    value, low, high = (_written(found[name], "+" if signed else "") for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _written(value: float, sign: str) -> str:
    return f"{value:{sign},.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:{sign}.4g}"


def _biases(found: dict[str, Any]) -> str:
    def share(name: str) -> str:
        return "?" if found[name] is None else f"{found[name]:.0%}"

    return (
        f"judge on {found['dataset']}: {found['subject']} wins {found['win']}, ties {found['tie']}, loses "
        f"{found['loss']}, unclear {found['unclear']}; the first place won {share('first_place')} of verdicts, the "
        f"longer answer {share('longer')}, {share('flipped')} flipped; at equal length it wins "
        f"{share('win_rate_at_equal_length')}"
    )


def _worst(run: "RunDir", args: argparse.Namespace) -> int:
    from tuiwb import evaluate

    report = evaluate.read_report(run)
    metric = (args.metric or [report["results"][0]["metric"]])[0]
    found = evaluate.cases_of(run, metric)[: max(args.worst, 0)]
    if args.json:
        output.print_json({"run_id": run.run_id, "metric": metric, "cases": found})
        return 0
    for case in found:
        scores = "  ".join(f"{name} {score:.4g}" for name, score in case["scores"].items())
        output.write(f"{case['path']} row {case['row']}  {metric}: {scores}")
        for label, text in [
            ("asked", case["question"]),
            ("right", case["reference"]),
            *((name, text) for name, text in case["answers"].items()),
        ]:
            if text is not None:
                output.write(f"    {label}: {gate_line(' '.join(str(text).split()), 200)}")
    return 0
