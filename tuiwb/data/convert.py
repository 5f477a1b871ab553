"""From one format to another, keeping everything that the other one can hold and saying what it cannot."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tuiwb.base import atomic
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.data.clean.texts import text_of
from tuiwb.data.example import Example, Message, Turns
from tuiwb.data.formats import FormatName
from tuiwb.data.problems import Problem, Tally
from tuiwb.data.subset import refuse
from tuiwb.data.turns import BadRow
from tuiwb.data.view import View

_DUMP = orjson.OPT_NON_STR_KEYS


@dataclass(frozen=True, slots=True)
class Conversion:
    """What came of it: rows read and written, why the others were left out, and what those written have lost."""

    read: int
    written: int
    left_out: tuple[Problem, ...]
    lost: tuple[Problem, ...] = ()


def convert(
    view: View, target: FormatName, output: Path, *, force: bool = False, task: Task | None = None
) -> Conversion:
    """Write the rows of a source in another format, as JSON lines or, where `output` ends in .json, as an array.

    A row that has the target's format already is written as it stands, byte by byte apart from line breaks around
    its values. Columns that play no part are kept.

    Raises:
        UsageFault: `output` is the source, or is there already without `force`.
        InputFault: the source's format is unclear, or nothing of it can be written so.
        EnvironmentFault: the file cannot be written; an old one is untouched.
    """
    if target not in TARGETS and target != view.format.name:
        raise UsageFault(f"rows cannot be written as {target}; choose one of {', '.join(TARGETS)}")
    refuse(output, view.store.files(), force=force)
    view.index(task)
    source = view.require_format()
    tally, lost, written = Tally(), Tally(), 0
    try:
        with atomic.replacing(output, mode=0o600) as file:
            lines = output.suffix != ".json"
            for row in _rows(view, source, target, tally, lost, task):
                file.write(b"" if lines else b",\n" if written else b"[\n")
                file.write(row + b"\n" if lines else row)
                written += 1
            if not written:
                raise InputFault(_nothing(tally, target), file=view.path)
            file.write(b"" if lines else b"\n]\n")
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=output) from error
    return Conversion(len(view), written, tally.problems(), lost.problems())


def from_example(example: Example, target: FormatName) -> Iterator[dict[str, Any]]:
    """The rows that an example is in another format; a preference pair is two KTO rows.

    Raises:
        BadRow: the format cannot hold it.
    """
    for row in TARGETS[target](example):
        yield {**row, **{name: value for name, value in example.extra.items() if name not in row}}


def _rows(
    view: View, source: FormatName, target: FormatName, tally: Tally, lost: Tally, task: Task | None
) -> Iterator[bytes]:
    for row in view.scan(task):
        try:
            if source == target:
                view.translate(row)
                yield view.raw(row.id).replace(b"\r", b" ").replace(b"\n", b" ") if _is_json(view) else _dump(row.value)
            else:
                example = view.translate(row)
                rows = [*map(_dump, from_example(example, target))]
                for code, detail in example.notes:
                    lost.add(code, detail, row.id, row.line)
                yield from rows
        except BadRow as fault:
            tally.add(fault.code, fault.detail, row.id, row.line)


def _is_json(view: View) -> bool:
    return view.store.kind.startswith("JSON")


def _dump(value: object) -> bytes:
    return orjson.dumps(value, default=str, option=_DUMP)


def _nothing(tally: Tally, target: str) -> str:
    first = next(iter(tally.problems()), None)
    why = f": {first.message}" if first else ""
    return f"not one row can be written as {target}{why}"


def _turns(example: Example, target: str) -> list[Message]:
    """The example as one conversation."""
    if example.messages is not None:
        return example.messages
    if example.completion is not None and example.label is None:
        return [*_as_turns(example.prompt or "", "user"), *_as_turns(example.completion, "assistant")]
    raise BadRow("cannot_convert", f"a row of the kind {example.kind} is no conversation that {target} could hold")


def _as_turns(turns: Turns, role: str) -> list[Message]:
    return [{"role": role, "content": turns}] if isinstance(turns, str) else turns


def _messages(example: Example) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {"messages": _turns(example, "messages")}
    yield row | ({"tools": example.tools} if example.tools else {})


def _sharegpt(example: Example) -> Iterator[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for turn in _turns(example, "sharegpt"):
        names = {"user": "human", "assistant": "gpt", "tool": "observation"}
        more = {key: value for key, value in turn.items() if key not in ("role", "content", "tool_calls")}
        if turn["content"] or not turn.get("tool_calls"):
            turns.append({"from": names.get(turn["role"], turn["role"]), "value": turn["content"], **more})
        if calls := turn.get("tool_calls"):
            functions = [call["function"] for call in calls]
            value = functions[0] if len(functions) == 1 else functions
            turns.append({"from": "function_call", "value": _dump(value).decode(), **more})
    row: dict[str, Any] = {"conversations": turns}
    yield row | ({"tools": _dump(example.tools).decode()} if example.tools else {})


def _alpaca(example: Example) -> Iterator[dict[str, Any]]:
    turns = list(_turns(example, "alpaca"))
    system = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else None
    roles = [turn["role"] for turn in turns]
    plain = all(set(turn) == {"role", "content"} for turn in turns)
    if not plain or example.tools or len(turns) < 2 or roles != ["user", "assistant"] * (len(turns) // 2):
        raise BadRow("cannot_convert", "alpaca holds plain questions and answers in turn, and no tools or switches")
    pairs = [[question["content"], answer["content"]] for question, answer in zip(turns[::2], turns[1::2], strict=True)]
    row: dict[str, Any] = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    yield row | ({"system": system} if system else {}) | ({"history": pairs[:-1]} if len(pairs) > 1 else {})


def _prompt_completion(example: Example) -> Iterator[dict[str, Any]]:
    if example.completion is not None and example.label is None:
        row: dict[str, Any] = {"prompt": example.prompt, "completion": example.completion}
    else:
        turns = _turns(example, "prompt_completion")
        if len(turns) < 2 or turns[-1]["role"] != "assistant":
            raise BadRow("cannot_convert", "prompt_completion holds a prompt and an assistant's last answer")
        row = {"prompt": turns[:-1], "completion": turns[-1:]}
    yield row | ({"tools": example.tools} if example.tools else {})


def _preference(example: Example) -> Iterator[dict[str, Any]]:
    if example.kind != "preference":
        raise BadRow("cannot_convert", f"a row of the kind {example.kind} has no rejected answer")
    row: dict[str, Any] = {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
    yield row | ({"tools": example.tools} if example.tools else {})


def _kto(example: Example) -> Iterator[dict[str, Any]]:
    tools = {"tools": example.tools} if example.tools else {}
    if example.kind == "unpaired":
        yield {"prompt": example.prompt, "completion": example.completion, "label": example.label, **tools}
    elif example.kind == "preference":
        yield {"prompt": example.prompt, "completion": example.chosen, "label": True, **tools}
        yield {"prompt": example.prompt, "completion": example.rejected, "label": False, **tools}
    else:
        raise BadRow("cannot_convert", f"a row of the kind {example.kind} does not say whether it is wanted")


def _qa(example: Example) -> Iterator[dict[str, Any]]:
    turns = list(_turns(example, "qa"))
    system = {"system": turns.pop(0)["content"]} if turns and turns[0]["role"] == "system" else {}
    plain = all(set(turn) == {"role", "content"} for turn in turns)
    if not plain or example.tools or [turn["role"] for turn in turns] != ["user", "assistant"]:
        raise BadRow("cannot_convert", "qa holds one question and its answer, and no tools or switches")
    yield {"question": turns[0]["content"], "answer": turns[1]["content"], **system}


def _prompt_only(example: Example) -> Iterator[dict[str, Any]]:
    """The prompt, and what answered it well as a column for rewards to compare with."""
    if example.kind == "prompt":
        row: dict[str, Any] = {"prompt": example.prompt}
    elif example.kind in ("preference", "unpaired"):
        good = example.chosen if example.label is None else example.completion if example.label else None
        row = {"prompt": example.prompt} | ({"solution": text_of(good)} if good else {})
    else:
        (pair,) = _prompt_completion(example)
        answer = pair["completion"]
        said = answer if isinstance(answer, str) else answer[-1]["content"]
        row = {"prompt": pair["prompt"], "solution": said}
    yield row | ({"tools": example.tools} if example.tools else {})


def _hh_rlhf(example: Example) -> Iterator[dict[str, Any]]:
    if example.kind != "preference":
        raise BadRow("cannot_convert", f"a row of the kind {example.kind} has no rejected answer")
    names = {"user": "Human", "assistant": "Assistant"}
    sides = {}
    for side in ("chosen", "rejected"):
        turns = [*_as_turns(example.prompt or "", "user"), *_as_turns(getattr(example, side), "assistant")]
        if example.tools or any(turn["role"] not in names or set(turn) != {"role", "content"} for turn in turns):
            raise BadRow(
                "cannot_convert", "hh_rlhf holds what a human and an assistant say, and no system turn or tools"
            )
        if any("\n\nHuman:" in turn["content"] or "\n\nAssistant:" in turn["content"] for turn in turns):
            raise BadRow("cannot_convert", "a turn holds Human: or Assistant: itself, which would cut it in two")
        sides[side] = "".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in turns)
    yield sides


TARGETS: dict[FormatName, Callable[[Example], Iterator[dict[str, Any]]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "preference": _preference,
    "kto": _kto,
    "qa": _qa,
    "prompt_only": _prompt_only,
    "hh_rlhf": _hh_rlhf,
}
