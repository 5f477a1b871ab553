"""Personal data in text: where it is, and text without it. Nothing is looked up anywhere; numbers are checked by the
libraries that know them (phonenumbers, python-stdnum)."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

from tuiwb.base.errors import EnvironmentFault

Kind = Literal["email", "ip", "key", "phone", "card", "iban"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Span = tuple[int, int, Kind]
Finder = Callable[[str], Iterator[tuple[int, int]]]

_EMAIL = re.compile(r"\b[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")
_NOBODY = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net|edu)|\w+\.(?:example|invalid|test)|localhost)$", re.I)
_IP = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{1,4}(?![\w:])"
)
_KEY = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{40,}|hf_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|glpat-[\w-]{20,})\b|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b")
_MAY_BE_PHONE = re.compile(r"\+?\(?\d[\d().\-/ ]{5,}\d")


def finder(kinds: tuple[Kind, ...]) -> Callable[[str], list[Span]]:
    """A function that finds these kinds, in order and without overlaps.

    Raises:
        EnvironmentFault: a kind needs a library that is not installed.
    """
    finders: list[tuple[Kind, Finder]] = [(kind, _FINDERS[kind]()) for kind in kinds]

    def find(text: str) -> list[Span]:
        found = sorted((start, end, kind) for kind, look in finders for start, end in look(text))
        spans: list[Span] = []
        for span in found:
            if not spans or span[0] >= spans[-1][1]:
                spans.append(span)
        return spans

    return find


def masked(text: str, find: Callable[[str], list[Span]]) -> str:
    """The text with `<EMAIL>` and the like in the places of what was found."""
    spans = find(text)
    if not spans:
        return text
    parts, at = [], 0
    for start, end, kind in spans:
        parts += [text[at:start], f"<{kind.upper()}>"]
        at = end
    return "".join([*parts, text[at:]])


def masked_value(value: Any, find: Callable[[str], list[Span]]) -> Any:
    """A value with every text in it masked, however deep; the same object where nothing was found."""
    if isinstance(value, str):
        return masked(value, find)
    if isinstance(value, dict):
        changed = {key: masked_value(part, find) for key, part in value.items()}
        return changed if any(changed[key] is not value[key] for key in value) else value
    if isinstance(value, list):
        parts = [masked_value(part, find) for part in value]
        return parts if any(new is not old for new, old in zip(parts, value, strict=True)) else value
    return value


def _emails() -> Finder:
    def look(text: str) -> Iterator[tuple[int, int]]:
        if "@" in text:
            yield from (found.span() for found in _EMAIL.finditer(text) if not _NOBODY.search(found[0]))

    return look


def _addresses() -> Finder:
    def look(text: str) -> Iterator[tuple[int, int]]:
        for found in _IP.finditer(text):
            try:
                public = ipaddress.ip_address(found[0]).is_global
            except ValueError:
                continue
            if public:
                yield found.span()

    return look


def _keys() -> Finder:
    return lambda text: (found.span() for found in _KEY.finditer(text))


def _phones() -> Finder:
    try:
        import phonenumbers
    except ImportError:
        raise _missing("phone", "phonenumbers") from None

    def look(text: str) -> Iterator[tuple[int, int]]:
        for found in _MAY_BE_PHONE.finditer(text):
            if not 7 <= sum(map(str.isdigit, found[0])) <= 15:
                continue
            # Numbers of the United States and Canada may stand without their country's code.
            for match in phonenumbers.PhoneNumberMatcher(found[0], "US"):
                yield found.start() + match.start, found.start() + match.end

    return look


def _cards() -> Finder:
    try:
        from stdnum import luhn
    except ImportError:
        raise _missing("card", "python-stdnum") from None

    def look(text: str) -> Iterator[tuple[int, int]]:
        for found in _CARD.finditer(text):
            digits = re.sub(r"\D", "", found[0])
            if digits[0] in "23456" and len(set(digits)) > 1 and luhn.is_valid(digits):
                yield found.span()

    return look


def _accounts() -> Finder:
    try:
        from stdnum import iban
    except ImportError:
        raise _missing("iban", "python-stdnum") from None

    def look(text: str) -> Iterator[tuple[int, int]]:
        for found in _IBAN.finditer(text):
            # The pattern may have taken the word behind it along.
            for end in range(found.end(), found.start() + 14, -1):
                if text[end - 1] != " " and iban.is_valid(text[found.start() : end], check_country=False):
                    yield found.start(), end
                    break

    return look


def _missing(kind: str, library: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{kind} needs {library}: pip install 'tuiwb[clean]', or leave {kind} out of the step's kinds", key="pii"
    )


_FINDERS: dict[Kind, Callable[[], Finder]] = {
    "email": _emails,
    "ip": _addresses,
    "key": _keys,
    "phone": _phones,
    "card": _cards,
    "iban": _accounts,
}
