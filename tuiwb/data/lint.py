"""What should make one look twice at an example: findings as (problem code, detail), none of them an error.

`checks` says what cannot be trained on; this says what probably should not be. Each finding is cheap to look for,
because the whole file is read with it.
"""

import hashlib
from collections.abc import Iterator

from tuiwb.data.checks import Finding
from tuiwb.data.clean.patterns import artefact, cut_off, hidden, mojibake, open_fence, refusal
from tuiwb.data.clean.texts import Texts, excerpt, text_of, texts
from tuiwb.data.example import Example, Message

OVER_LONG = 100_000
"""Characters, some 25,000 tokens of English: more than most training takes."""

_LEAKED = 30
"""Characters of a prompt that an answer must repeat."""
_SHORT = 40
_MISSING = frozenset({"nan", "none", "null", "n/a", "na", "undefined", "<na>", "no output", "<no output>"})


def lint(example: Example, found: Texts | None = None) -> Iterator[Finding]:
    """Everything that is suspicious about an example, whose texts may be there already."""
    if example.input_ids is not None:
        return
    found = found or texts(example)
    yield from _answers(found)
    if example.messages is not None:
        yield from _repeated(example.messages)
        yield from _turns(example.messages)
    elif example.text is None:
        yield from _leaked(text_of(example.prompt), found.answers)
    everything = found.of("example")
    if piece := artefact(everything):
        yield "template_artefact", piece
    yield from hidden(everything)
    if letters := mojibake(everything):
        yield "mojibake", letters
    if len(everything) > OVER_LONG:
        yield "over_long", f"{len(everything):,}"


def digest(found: Texts) -> int:
    """A number that is the same for examples that say the same, apart from case and white space."""
    text = " ".join(found.of("example").lower().split())
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def _answers(found: Texts) -> Iterator[Finding]:
    for answer in found.answers:
        if words := refusal(answer):
            yield "refusal", words
            break
    if found.example.text is not None:
        return
    last = found.answers[-1] if found.answers else ""
    if open_fence(last):
        yield "open_fence", ""
    elif end := cut_off(last):
        yield "truncated_answer", excerpt(end)
    if len(last) < _SHORT and last.strip().lower() in _MISSING:
        yield "missing_value", last.strip()


def _turns(turns: list[Message]) -> Iterator[Finding]:
    before = ""
    for turn in turns:
        content = turn["content"]
        if turn["role"] == "assistant":
            yield from _leaked(before, (content,))
        before = content


def _leaked(prompt: str, answers: tuple[str, ...]) -> Iterator[Finding]:
    """An answer that begins by saying its prompt again."""
    prompt = prompt.strip()
    if len(prompt) >= _LEAKED and any(answer.lstrip().startswith(prompt) for answer in answers):
        yield "prompt_in_answer", ""


def _repeated(turns: list[Message]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for turn in turns:
        key = (turn["role"], turn["content"])
        if len(key[1]) >= _LEAKED and key in seen and turn["role"] != "tool":
            yield "repeated_turn", turn["role"]
            return
        seen.add(key)
