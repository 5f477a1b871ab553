"""What text gives away: refusals, leftovers of templates, answers that were cut off, characters that hide."""

import re
from collections.abc import Iterator

_REFUSAL_WITHIN = 200
"""Characters at the beginning of an answer: later, such words are usually about something else."""
_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bi(?:'m| am) (?:just )?an? (?:ai|language model)\b"
    r"|\bi(?:'m| am) (?:really |very |so )?sorry,? but (?:i|as)\b"
    r"|\bi (?:can(?:no|')t|can not|am (?:not able|unable) to|won't|will not|(?:do not|don't) feel comfortable)"
    r" (?:to )?(?:assist|help|fulfil|provide|comply|answer|support|engage|create|generate|offer|discuss|do that)"
    r"|\b(?:against|violates?) my (?:programming|guidelines|ethical)"
    r"|\bmy programming (?:does not|doesn't|prohibits)",
    re.IGNORECASE,
)

_REFUSAL_MARKS = ("sorry", " ai", "language model", "i can", "i am ", "i won", "i will", "i do", "my ")

ARTEFACT = re.compile(
    r"<\|(?:im_start|im_end|im_sep|endoftext|eot_id|end_of_text|begin_of_text|start_header_id|end_header_id|user|"
    r"assistant|system|end|eom_id|end_of_turn|channel|message|start)\|>|\[/?INST\]|<</?SYS>>|</?s>|"
    r"<(?:start|end)_of_turn>|^### (?:Instruction|Response|Input|Human|Assistant|System|User):|"
    r"^(?:Human|Assistant|USER|ASSISTANT): |<｜(?:User|Assistant|end▁of▁sentence|begin▁of▁sentence)｜>",
    re.MULTILINE,
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
HIDDEN = re.compile("[\u200b\u2060\ufeff\U000e0000-\U000e007f]")
# UTF-8 that was read as Windows-1252 or Latin-1, and text that was lost.
_MOJIBAKE = re.compile(
    "\ufffd|Ã[\u0080-\u00bf©¨ª«¬®¯°±²³´¶·¸¹º»¼½¾¿‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\u0080-\u009f™œ\u009d“”¢¦]|Â[ °»«·£©®]"
)

_NOT_CLOSED = re.compile(r"(?:[,:;(\[{]|\b(?:and|or|the|a|an|of|to|with|because|that|which))$")
_ENOUGH = 40
_ENDS = frozenset(".!?\"'`)]}*|")


def refusal(answer: str) -> str:
    """The words by which an answer refuses, or nothing."""
    begin = answer[: _REFUSAL_WITHIN + 60].replace("’", "'")
    low = begin.lower()
    if not any([mark in low for mark in _REFUSAL_MARKS]):  # noqa: C419 - a list is twice as fast as a generator here
        return ""
    found = _REFUSAL.search(begin)
    return found[0] if found and found.start() < _REFUSAL_WITHIN else ""


def artefact(text: str) -> str:
    """A piece of a chat template that stands in the text, or nothing."""
    # Most texts hold none of these, and looking for a few characters is much faster than the expression.
    if not ("<" in text or "INST]" in text or "### " in text or "n: " in text or "t: " in text or "R: " in text
            or "T: " in text):  # fmt: skip
        return ""
    found = ARTEFACT.search(text)
    return found[0].strip() if found else ""


def hidden(text: str) -> Iterator[tuple[str, str]]:
    """The first character of each kind that hides or does harm, as (problem code, its number)."""
    if text.isprintable() or text.replace("\n", "").replace("\t", "").isprintable():
        return
    kinds = {"control_characters": CONTROL}
    if not text.isascii():
        kinds |= {"bidi_characters": BIDI, "hidden_characters": HIDDEN}
    for code, kind in kinds.items():
        if found := kind.search(text):
            yield code, f"U+{ord(found[0]):04X}"


def mojibake(text: str) -> str:
    """Letters that were read in a wrong encoding, or nothing."""
    if text.isascii():
        return ""
    found = _MOJIBAKE.search(text)
    return found[0] if found else ""


def open_fence(text: str) -> bool:
    """Whether a code block is opened and never closed, or closed and never opened."""
    return "```" in text and text.count("```") % 2 == 1


def cut_off(answer: str) -> str:
    """The last words of an answer that ends in the middle of a sentence, or nothing. A list, code or a bare value
    needs no full stop, so only an end that cannot be one counts."""
    text = answer.rstrip()
    if len(text) < _ENOUGH or text[-1] in _ENDS:
        return ""
    return text[-30:] if _NOT_CLOSED.search(text[-40:]) else ""
