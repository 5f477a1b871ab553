"""From a row to a question and the right answer to it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import InputFault
from tuiwb.data.example import Example, Turns

if TYPE_CHECKING:
    from tuiwb.data.view import View

_REFERENCES = ("reference", "answer", "solution", "target", "ground_truth", "output")


_BLOCK = re.compile(r"```[A-Za-z0-9]*[ \t]*\n(.*?)(?:\n```|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Case:
    """One row to answer.

    Attributes:
        example: with the prompt alone, ready for `Renderer.prompt`.
        question: what is asked, for people and for the judge.
        reference: the right answer; None where the row has none.
        calls: the functions that the right answer calls, `[{"name", "arguments"}]`.
        tests: Python that fails where the answer's code is wrong; None where the row has none.
    """

    row: int
    example: Example
    question: str
    reference: str | None
    calls: tuple[Mapping[str, Any], ...] = ()
    tests: str | None = None


def case_of(example: Example) -> Case | None:
    """The question and its answer in an example; None where nothing is asked."""
    if example.messages is not None:
        answers = [number for number, each in enumerate(example.messages) if each["role"] == "assistant"]
        prompt = example.messages[: answers[-1]] if answers else example.messages
        if not prompt:
            return None
        answer = example.messages[answers[-1]] if answers else None
        return _case(example, prompt, [answer] if answer else None)
    if example.chosen is not None:
        return None if example.prompt is None else _case(example, example.prompt, example.chosen)
    if example.completion is not None and example.prompt is not None:
        return _case(example, example.prompt, None if example.label is False else example.completion)
    if example.prompt is not None:
        given = next((example.extra[name] for name in _REFERENCES if isinstance(example.extra.get(name), str)), None)
        return _case(example, example.prompt, given)
    return None


def spread(total: int, wanted: int | None) -> Iterator[int]:
    """`wanted` numbers below `total`, evenly spread."""
    count = total if wanted is None else min(wanted, total)
    return (number * total // count for number in range(count))


def examples(view: "View", wanted: int | None) -> Iterator[Example]:
    """Some rows of a dataset that can be used.

    Raises:
        InputFault: the format is not clear, or there is no row.
    """
    from tuiwb.data import BadRow

    view.require_format()
    total = len(view)
    if not total:
        raise InputFault("there are no rows", file=view.path)
    for number in spread(total, wanted):
        try:
            yield view.example(view.row(number))
        except BadRow:
            continue


def _case(example: Example, prompt: Turns, answer: Turns | None) -> Case:
    last = answer[-1] if isinstance(answer, list) and answer else None
    reference = answer if isinstance(answer, str) else str(last.get("content") or "") if last else None
    calls = tuple(each["function"] for each in (last or {}).get("tool_calls") or ())
    if calls and not reference:
        reference = json.dumps([dict(call) for call in calls], ensure_ascii=False)
    asked = prompt if isinstance(prompt, str) else str(prompt[-1].get("content") or "")
    bare = Example(id=example.id, prompt=prompt, tools=example.tools)
    return Case(example.id, bare, asked, reference, calls, tests_of(example.extra))


def tests_of(extra: Mapping[str, Any]) -> str | None:
    """The tests that a row brings along: `test` or `tests` as text (with HumanEval's `entry_point`), or MBPP's
    `test_list`."""
    text = next((extra[name] for name in ("test", "tests", "test_list") if extra.get(name)), None)
    if isinstance(text, list):
        setup = extra.get("test_setup_code") or ""
        text = "\n".join([str(setup), *map(str, text)])
    if not isinstance(text, str):
        return None
    entry = extra.get("entry_point")
    return f"{text}\n\ncheck({entry})" if isinstance(entry, str) and "def check(" in text else text


def program_of(case: Case, answer: str) -> str:
    """The program that an answer comes to: its last block of code; where it has none, what it goes on from where the
    prompt was plain text, or the answer itself."""
    blocks = _BLOCK.findall(answer)
    code = blocks[-1] if blocks else answer
    if not blocks and isinstance(case.example.prompt, str):
        code = case.example.prompt + answer
    return f"{code}\n\n{case.tests or ''}\n"
