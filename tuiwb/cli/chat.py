"""`tuiwb chat MODEL_OR_RUN`: talk to it on the screen, or ask once with `--prompt`."""

import argparse
import sys
from typing import Any

from tuiwb.base.errors import InputFault, UsageFault
from tuiwb.base.text import gate
from tuiwb.cli import output


def configure(parser: argparse.ArgumentParser) -> None:
    whom = parser.add_argument(
        "whom", metavar="MODEL_OR_RUN", help="a run's id (or `last`), or a model: name, folder, .gguf, hub id"
    )
    whom.completer = _complete  # type: ignore[attr-defined]
    parser.add_argument("--adapter", action="append", default=[], metavar="FOLDER", help="a PEFT adapter to put on it")
    parser.add_argument("--chat-template", metavar="NAME", help="template for a model that has none (chatml, alpaca …)")
    parser.add_argument("--prompt", metavar="TEXT", help="ask this once, without a screen; `-` reads it from stdin")
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument("--side-by-side", action="store_true", help="ask the base model too")
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token")
    sampling.add_argument("--top-p", type=float, metavar="P")
    sampling.add_argument("--top-k", type=int, metavar="K")
    sampling.add_argument("--min-p", type=float, metavar="P")
    sampling.add_argument("--repetition-penalty", type=float, metavar="R")
    sampling.add_argument("--max-new-tokens", type=int, metavar="N")
    sampling.add_argument("--seed", type=int, metavar="N")
    output.add_json(parser)


def _complete(prefix: str, **_: Any) -> list[str]:
    """Runs and models that are here, for argcomplete."""
    from tuiwb import models, runs

    names = [run.run_id for run in runs.run_dirs()] + [info.name for info in models.installed()]
    return [name for name in names if name.startswith(prefix)]


def run(args: argparse.Namespace) -> int:
    if args.prompt is None and not sys.stdin.isatty():
        args.prompt = "-"
    if args.prompt is None:
        if args.json:
            raise UsageFault("--json needs --prompt")
        return _on_screen(args)
    return _once(args)


def _on_screen(args: argparse.Namespace) -> int:
    from tuiwb.cli import workbench

    state = {"whom": args.whom, "template": args.chat_template, "adapters": args.adapter, "side": args.side_by_side}
    return workbench.run(None, screen="chat", layout={"chat": state | {"start": True}})


def _once(args: argparse.Namespace) -> int:
    from tuiwb import chat

    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    if not prompt.strip():
        raise UsageFault("the prompt is empty", key="--prompt")
    sampling = _sampling(args)
    target = chat.target_of(args.whom, adapters=args.adapter, template=args.chat_template)
    best = target.best.name
    names = tuple(lane.name for lane in target.lanes) if args.side_by_side else (best,)
    streamed = not args.json and len(names) == 1

    def show(_: str, text: str) -> None:
        if streamed:
            sys.stdout.write(gate(text))
            sys.stdout.flush()

    answers = chat.answer_once(
        target,
        prompt,
        names=names,
        system=args.system,
        sampling=sampling,
        on_text=show,
        on_doing=lambda doing: output.say(f"{doing} …"),
    )
    if args.json:
        documents = [_document(target, answer) for answer in answers.values()]
        output.print_json(documents[0] if len(documents) == 1 else {"model": target.title, "answers": documents})
    elif streamed:
        output.write("")
    else:
        for name, answer in answers.items():
            output.write(f"── {name}\n{answer.text}\n")
    return 0


def _sampling(args: argparse.Namespace) -> Any:
    from tuiwb.chat import Sampling

    given = {name: getattr(args, name) for name in Sampling.__struct_fields__ if getattr(args, name) is not None}
    sampling = Sampling(**given)
    if fault := sampling.problem():
        raise InputFault(fault[1], key="--" + fault[0].replace("_", "-"))
    return sampling


def _document(target: Any, answer: Any) -> dict[str, Any]:
    return {
        "model": target.title,
        "lane": answer.lane,
        "answer": answer.text,
        "finish_reason": answer.reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "first_token_s": round(answer.first_token_s, 3),
        "tokens_per_s": round(answer.tokens_per_s, 2),
    }
