"""What a person notices in a chat, as rows to train on: three files in `feedback/` of the data folder, in the formats
that the trainers take.

    preference.jsonl   better and worse of two answers (DPO, ORPO, reward), and a correction against what was said
    kto.jsonl          good and bad answers (KTO)
    sft.jsonl          corrected answers (SFT)

A row also says when it was judged, who answered, and whether that was hidden, in columns that no trainer reads.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tuiwb.base import paths
from tuiwb.base.errors import EnvironmentFault, UsageFault, reason_of
from tuiwb.chat.conversation import Conversation

Kind = Literal["preference", "kto", "sft"]
KINDS: tuple[Kind, ...] = ("preference", "kto", "sft")


def file_of(kind: Kind) -> Path:
    """Where rows of a kind are; `tuiwb data inspect` and the Data screen open it."""
    return paths.data_home() / "feedback" / f"{kind}.jsonl"


def judge(conversation: Conversation, good: bool, *, whom: str) -> Path:
    """Keep that the last answer is good, or bad (KTO).

    Returns:
        the file that it went to.

    Raises:
        UsageFault: nothing was answered yet.
        EnvironmentFault: it cannot be written.
    """
    prompt, answer = _last(conversation, worded=True)
    return _append("kto", {"prompt": prompt, "completion": _turn(answer), "label": good, "whom": whom})


def prefer(
    better: Conversation, worse: Sequence[Conversation], *, whom: str, instead_of: Sequence[str], blind: bool = False
) -> Path | None:
    """Keep that one answer is better than others to the same question, a row for each.

    Args:
        whom, instead_of: the lanes that answered.
        blind: the user could not know which was whose.

    Returns:
        the file; None where all answers are the same.

    Raises:
        UsageFault: the conversations before the answers differ, so that there is no common prompt, or nothing was
            answered yet.
        EnvironmentFault: it cannot be written.
    """
    prompt, chosen = _last(better, worded=True)
    pairs = [(name, *_last(each, worded=True)) for name, each in zip(instead_of, worse, strict=True)]
    if not all(_asked(each) == _asked(prompt) for _, each, _ in pairs):
        raise UsageFault("the questions differ, so the answers cannot be compared: start a new conversation")
    file = None
    for name, other, rejected in pairs:
        if other != prompt:
            raise UsageFault(
                "the answers before differ, so these have no common past: start a new conversation (n) to compare"
            )
        if rejected != chosen:
            row = {"prompt": prompt, "chosen": _turn(chosen), "rejected": _turn(rejected)}
            file = _append("preference", {**row, "whom": whom, "instead_of": name, "blind": blind})
    return file


def tie(conversation: Conversation, *, names: Sequence[str], blind: bool = False) -> None:
    """Keep that none of several answers is better: no row to train on, but it counts in `wins`."""
    prompt, _ = _last(conversation)
    _write(_ties(), {"prompt": prompt, "names": list(names), "blind": blind})


def correct(conversation: Conversation, text: str, *, whom: str) -> Path:
    """Keep what should have been answered: a row to learn (SFT), and one that prefers it to what was said.

    Returns:
        the file of the row to learn.

    Raises:
        UsageFault: nothing was answered yet, or nothing was corrected.
        EnvironmentFault: it cannot be written.
    """
    prompt, answer = _last(conversation)
    if not text.strip() or text == answer:
        raise UsageFault("nothing was corrected")
    if answer.strip():
        row = {"prompt": prompt, "chosen": _turn(text), "rejected": _turn(answer)}
        _append("preference", {**row, "whom": "corrected", "instead_of": whom})
    return _append("sft", {"messages": [*prompt, *_turn(text)], "whom": whom})


def wins(*, blind: bool) -> dict[tuple[str, str], dict[str, float]]:
    """What people's comparisons came to, the blind ones or the others, by pair of names in alphabetical order: `first`
    and `second` (won), `tie`, and the first one's win rate with its 95 % interval (Wilson), a tie counting half."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in _rows(file_of("preference")):
        names = str(row.get("whom")), str(row.get("instead_of"))
        if names[0] != "corrected" and bool(row.get("blind")) == blind:
            one, other = sorted(names)
            counts.setdefault((one, other), Counter())["first" if names[0] == one else "second"] += 1
    for row in _rows(_ties()):
        names_tied = sorted(map(str, row.get("names") or ())) if bool(row.get("blind")) == blind else []
        for number, one in enumerate(names_tied):
            for other in names_tied[number + 1 :]:
                counts.setdefault((one, other), Counter())["tie"] += 1
    return {pair: _rate(count) for pair, count in counts.items()}


def _rate(count: Counter[str]) -> dict[str, float]:
    total = sum(count.values())
    rate, z = (count["first"] + count["tie"] / 2) / total, 1.959964
    middle = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (rate * (1 - rate) / total + z * z / (4 * total * total)) ** 0.5
    return {
        **{name: float(count[name]) for name in ("first", "second", "tie")},
        "win_rate": rate,
        "low": middle - half,
        "high": middle + half,
    }


def _last(conversation: Conversation, *, worded: bool = False) -> tuple[list[dict[str, Any]], str]:
    """The last answer, and everything before it.

    Args:
        worded: an empty answer will not do: nothing can be learned from one, and trainers refuse the row.
    """
    if not conversation.turns or conversation.turns[-1].role != "assistant":
        raise UsageFault("there is no answer to judge yet")
    if worded and not conversation.turns[-1].content.strip():
        raise UsageFault("an empty answer teaches nothing: c writes what should have been answered")
    return conversation.question_of(len(conversation.turns) - 1).messages(), conversation.turns[-1].content


def _asked(messages: list[dict[str, Any]]) -> list[str]:
    return [each["content"] for each in messages if each["role"] != "assistant"]


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _ties() -> Path:
    return paths.data_home() / "feedback" / "ties.jsonl"


def _append(kind: Kind, row: dict[str, Any]) -> Path:
    _write(file_of(kind), row)
    return file_of(kind)


def _write(file: Path, row: dict[str, Any]) -> None:
    """One line, whole or not at all: one write at the end of the file."""
    line = json.dumps({**row, "judged": round(time.time(), 3)}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    paths.private_folder(file.parent)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(handle).st_size
            if os.write(handle, line) < len(line):
                os.ftruncate(handle, size)
                raise OSError(28, "No space left on device")
        finally:
            os.close(handle)
    except OSError as error:
        raise EnvironmentFault(f"the judgement cannot be kept ({reason_of(error)})", file=file) from error


def _rows(file: Path) -> list[dict[str, Any]]:
    rows = []
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
