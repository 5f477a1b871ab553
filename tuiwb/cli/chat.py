"""`tuiwb chat WHOM`: talk to it on the screen, or ask once with `--prompt`. `tuiwb chat serve WHOM` offers it to other
programs, `tuiwb chat history` finds and exports what was said."""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.base.text import gate, gate_line
from tuiwb.cli import output

if TYPE_CHECKING:
    from tuiwb.chat import Broken, Done, Sampling, Target


def configure(parser: argparse.ArgumentParser) -> None:
    whom = parser.add_argument(
        "words",
        metavar="WHOM",
        nargs="+",
        help="a run's id (or `last`), a model (name, folder, .gguf, hub id), an endpoint or its address; "
        "`serve WHOM` serves it, `history [search WORDS | show ID | export ID | delete ID]` is about what was said",
    )
    whom.completer = _complete  # type: ignore[attr-defined]
    parser.add_argument("--adapter", action="append", default=[], metavar="FOLDER", help="a PEFT adapter to put on it")
    parser.add_argument("--chat-template", metavar="NAME", help="template for a model that has none (chatml, alpaca …)")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="WHOM",
        help="one more that answers (repeatable): a checkpoint's step, an endpoint, another model or run",
    )
    parser.add_argument("--draft", metavar="MODEL", help="a small model of the same family that guesses ahead")
    parser.add_argument("--prompt", metavar="TEXT", help="ask this once, without a screen; `-` reads it from stdin")
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument("--side-by-side", action="store_true", help="ask the base model too")
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token (0.7)")
    sampling.add_argument("--top-p", type=float, metavar="P", help="of the likeliest with this probability (0.9)")
    sampling.add_argument("--top-k", type=int, metavar="K", help="of so many likeliest; 0 is all (0)")
    sampling.add_argument("--min-p", type=float, metavar="P", help="none below this share of the likeliest (0)")
    sampling.add_argument("--repetition-penalty", type=float, metavar="R", help="above 1 repeats less (1)")
    sampling.add_argument("--max-new-tokens", type=int, metavar="N", help="longest answer, tokens (512)")
    sampling.add_argument("--seed", type=int, metavar="N", help="the same seed, the same answer (drawn anew)")
    sampling.add_argument("--stop", action="append", metavar="TEXT", help="ends an answer (repeatable)")
    serving = parser.add_argument_group("serve")
    serving.add_argument("--port", type=int, metavar="N", help="on loopback; 0 takes a free one (8642)")
    serving.add_argument("--socket", metavar="FILE", help="a unix socket (0600) instead of a port")
    history = parser.add_argument_group("history")
    history.add_argument(
        "--format", choices=("markdown", "messages", "sharegpt"), help="of `history export` (markdown)"
    )
    output.add_json(parser)


def _complete(prefix: str, **_: Any) -> list[str]:
    """Runs, models and endpoints that are here, for argcomplete."""
    from tuiwb import endpoints, models, runs

    names = [run.run_id for run in runs.run_dirs()] + [info.name for info in models.installed()]
    names += endpoints.profiles()
    return [name for name in names if name.startswith(prefix)]


def run(args: argparse.Namespace) -> int:
    first, *rest = args.words
    if first == "history":
        from tuiwb.cli import chat_history

        return chat_history.run(rest, args)
    if first == "serve":
        if len(rest) != 1:
            raise UsageFault("serve takes one model or run")
        from tuiwb.cli import chat_serve

        return chat_serve.run(rest[0], args)
    if rest:
        raise UsageFault(f"`{rest[0]}` is one word too many; what is said goes behind --prompt")
    args.whom = first
    if args.prompt is None and not sys.stdin.isatty():
        args.prompt = "-"
    if args.prompt is None:
        if args.json:
            raise UsageFault("--json needs --prompt")
        return _on_screen(args)
    return _once(args)


def _on_screen(args: argparse.Namespace) -> int:
    from tuiwb.cli import workbench

    state = {
        "whom": args.whom,
        "template": args.chat_template,
        "adapters": args.adapter,
        "beside": args.beside,
        "draft": draft_of(args.draft),
        "side": args.side_by_side or bool(args.beside),
    }
    return workbench.run(None, screen="chat", layout={"chat": state | {"start": True}})


def _once(args: argparse.Namespace) -> int:
    from tuiwb import chat

    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    if not prompt.strip():
        raise UsageFault("the prompt is empty", key="--prompt")
    sampling = sampling_of(args)
    target = chat.target_of(args.whom, adapters=args.adapter, template=args.chat_template)
    for warning in target.warnings:
        output.say(f"warning: {warning}")
    names = tuple(lane.name for lane in target.lanes) if args.side_by_side else (target.best.name,)
    for ref in args.beside:
        lane = chat.further(target, ref)
        target = dataclasses.replace(target, lanes=(*target.lanes, lane))
        names = (*names, lane.name)
    say_whether_it_fits(dataclasses.replace(target, lanes=tuple(each for each in target.lanes if each.name in names)))
    streamed, begun = not args.json and len(names) == 1, False

    def show(_: str, text: str) -> None:
        nonlocal begun
        if streamed:
            begun = True
            sys.stdout.write(gate(text))
            sys.stdout.flush()

    answers = chat.answer_once(
        target,
        prompt,
        names=names,
        system=args.system,
        sampling=sampling,
        draft=draft_of(args.draft),
        on_text=show,
        on_doing=lambda doing: output.say(f"{doing} …"),
    )
    if args.json:
        documents = [_document(target, name, answer) for name, answer in answers.items()]
        output.print_json(documents[0] if len(documents) == 1 else {"model": target.title, "answers": documents})
    elif streamed:
        if begun:
            output.write("")  # what follows stands on a line of its own
    else:
        for name, answer in answers.items():
            output.write(f"── {name}\n{answer.text}\n")
    return _faults(answers)


def _faults(answers: "dict[str, Done | Broken]") -> int:
    """Tell what went wrong, whom with.

    Returns:
        the exit code: of the first that failed; 0 where all answered.
    """
    from tuiwb.chat import Broken

    code = 0
    for name, answer in answers.items():
        if isinstance(answer, Broken):
            who = "" if len(answers) == 1 or answer.message.startswith(name) else f"{name}: "
            output.say(f"tuiwb: {gate_line(who + answer.message)}")
            code = code or answer.exit_code
        elif answer.thoughts and not answer.text:
            output.say(f"{name} thought and did not come to an answer: give it more with --max-new-tokens")
    return code


def say_whether_it_fits(target: "Target") -> None:
    """Before it is loaded, where a training goes on beside or there is too little memory."""
    from tuiwb.chat.fits import fit_of

    fit = fit_of(target)
    if fit is not None and (fit.training is not None or not fit.ok):
        output.say(fit.sentence)


def draft_of(ref: str | None) -> str | None:
    """The path of the model that guesses ahead.

    Raises:
        InputFault: there is no such model here.
    """
    if ref is None:
        return None
    from tuiwb import models

    info = models.open_model(ref)
    if info.path is None:
        raise InputFault(f"{ref} is not on this machine: get it with `tuiwb models get {ref}`", key="--draft")
    return str(info.path)


def sampling_of(args: argparse.Namespace) -> "Sampling":
    """The sampling settings that the options say.

    Raises:
        InputFault: a value cannot be used.
    """
    from tuiwb.chat import Sampling

    given = {name: getattr(args, name) for name in Sampling.__struct_fields__ if getattr(args, name) is not None}
    if args.stop:
        given["stop"] = tuple(args.stop)
    sampling = Sampling(**given)
    if fault := sampling.problem():
        raise InputFault(fault[1], key="--" + fault[0].replace("_", "-"))
    return sampling


def _document(target: "Target", name: str, answer: "Done | Broken") -> dict[str, Any]:
    from tuiwb.chat import Broken

    if isinstance(answer, Broken):
        # What came before it broke off, and the fault as any verb's `--json` tells one.
        fault = {"error": answer.message, "exit_code": answer.exit_code}
        return {"model": target.title, "lane": name, "answer": answer.text, **fault}
    thought = {"reasoning": answer.thoughts} if answer.thoughts else {}
    return {
        "model": target.title,
        "lane": name,
        **thought,
        "answer": answer.text,
        "finish_reason": answer.reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "first_token_s": round(answer.first_token_s, 3),
        "tokens_per_s": None if answer.tokens_per_s is None else round(answer.tokens_per_s, 2),
    }
