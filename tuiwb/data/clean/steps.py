"""The cleaning steps: each a name with typed settings, and how it judges one row.

A step that looks at one row at a time is a `RowStep`; one that compares rows is in `compare`. `lists` reads and writes
lists of them.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.data.checks import findings
from tuiwb.data.clean import measures, patterns, pii
from tuiwb.data.clean.texts import Side, Texts, pattern
from tuiwb.data.rows import Value

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class Judgement(NamedTuple):
    """What a step says of a row. `near` says how near one that stays is to being left out: 1 is at the limit."""

    flagged: bool
    why: Callable[[], str]
    near: float = 0.0


def _nothing() -> str:
    return ""


STAYS = Judgement(False, _nothing)
Judge = Callable[[Texts], Judgement]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a list. Its fields are its settings."""

    name: ClassVar[str]
    summary: ClassVar[str]

    def check(self) -> str:
        """What is wrong with the settings together, or nothing."""
        return ""

    def words(self) -> str:
        """The step on one line, such as `words (min 10, max 2000)`."""
        settings = msgspec.to_builtins(self)
        inside = ", ".join(f"{key} {_shown(value)}" for key, value in settings.items())
        return f"{self.name} ({inside})" if inside else self.name


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class RowStep(Step, frozen=True, kw_only=True):
    """A step that looks at one row at a time."""

    def judge(self) -> Judge:
        """The function that judges a row; made once for all rows.

        Raises:
            EnvironmentFault: a library, model or file that it needs is not there.
            InputFault: a file that it reads is at fault.
        """
        raise NotImplementedError

    def change(self) -> Callable[[Value], Value] | None:
        """For a step that changes rows instead of leaving them out: the function; it returns the same object where
        there is nothing to change."""
        return None


class Measure(RowStep, frozen=True, kw_only=True):
    """A number of a text, with limits."""

    of: Side = "answer"

    def limits(self) -> tuple[float, float]:
        """The least and the greatest value that stays."""
        raise NotImplementedError

    def measure(self) -> Callable[[Texts], float]:
        raise NotImplementedError

    def describe(self, value: float) -> str:
        raise NotImplementedError

    def check(self) -> str:
        least, most = self.limits()
        if least > most:
            return f"min {least:g} is more than max {most:g}, so no row would stay"
        return "" if least > 0 or most < math.inf else "needs min or max"

    def judge(self) -> Judge:
        least, most = self.limits()
        measure, describe = self.measure(), self.describe

        def judge(text: Texts) -> Judgement:
            value = measure(text)
            if value > most:
                return Judgement(True, lambda: f"{describe(value)}, more than {describe(most)}")
            if value < least:
                return Judgement(True, lambda: f"{describe(value)}, less than {describe(least)}")
            near = max(value / most if most else 0.0, least / value if least else 0.0)
            return Judgement(False, lambda: describe(value), near)

        return judge


class _Length(Measure, frozen=True, kw_only=True):
    min: Amount | None = None
    max: Amount | None = None

    def limits(self) -> tuple[float, float]:
        return self.min or 0.0, math.inf if self.max is None else self.max


class Words(_Length, frozen=True, kw_only=True):
    name = "words"
    summary = "length in words"

    def measure(self) -> Callable[[Texts], float]:
        return lambda text: len(text.of(self.of).split())

    def describe(self, value: float) -> str:
        return f"{value:,.0f} words"


class Characters(_Length, frozen=True, kw_only=True):
    name = "characters"
    summary = "length in characters"

    def measure(self) -> Callable[[Texts], float]:
        return lambda text: len(text.of(self.of))

    def describe(self, value: float) -> str:
        return f"{value:,.0f} characters"


class Tokens(_Length, frozen=True, kw_only=True):
    name = "tokens"
    summary = "length in tokens of a model, without its chat template"
    model: str
    """A name, a folder, a .gguf file or a hub id."""
    of: Side = "example"

    def measure(self) -> Callable[[Texts], float]:
        from tuiwb import models

        tokenizer = models.load_tokenizer(models.open_model(self.model, config_only=True))
        return lambda text: len(tokenizer.encode(text.of(self.of)))

    def describe(self, value: float) -> str:
        return f"{value:,.0f} tokens"


class _Share(Measure, frozen=True, kw_only=True):
    def limits(self) -> tuple[float, float]:
        return 0.0, self.max  # type: ignore[attr-defined]


class Urls(_Share, frozen=True, kw_only=True):
    name = "urls"
    summary = "share of the characters that are URLs"
    max: Share = 0.3

    def measure(self) -> Callable[[Texts], float]:
        return lambda text: measures.url_share(text.of(self.of))

    def describe(self, value: float) -> str:
        return f"{value:.1%} URLs"


class Digits(_Share, frozen=True, kw_only=True):
    name = "digits"
    summary = "share of the characters that are digits"
    max: Share = 0.5

    def measure(self) -> Callable[[Texts], float]:
        return lambda text: measures.digit_share(text.prose(self.of))

    def describe(self, value: float) -> str:
        return f"{value:.1%} digits"


class Symbols(_Share, frozen=True, kw_only=True):
    name = "symbols"
    summary = "number signs and ellipses for each word (Gopher)"
    max: Amount = 0.1

    def measure(self) -> Callable[[Texts], float]:
        return lambda text: measures.symbol_share(text.prose(self.of))

    def describe(self, value: float) -> str:
        return f"{value:.2f} symbols a word"


class Repetition(RowStep, frozen=True, kw_only=True):
    name = "repetition"
    summary = "repeated lines and runs of words (Gopher)"
    of: Side = "answer"
    strength: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """Above 1 stricter than Gopher's limits, below 1 milder."""

    def judge(self) -> Judge:
        def judge(text: Texts) -> Judgement:
            share, rule = measures.repetition(text.prose(self.of))
            share *= self.strength
            return Judgement(share > 1, lambda: rule, min(share, 1.0))

        return judge


class Language(RowStep, frozen=True, kw_only=True):
    name = "language"
    summary = "keep some languages (py3langid)"
    keep: tuple[str, ...]
    """ISO 639-1 codes, such as en."""
    of: Side = "answer"
    least: Annotated[int, msgspec.Meta(ge=1)] = 40
    """Letters; shorter texts stay, because their language cannot be told."""
    sure: Share = 0.65
    """How likely another language must be."""

    def judge(self) -> Judge:
        try:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier
        except ImportError:
            raise EnvironmentFault("language needs py3langid: pip install 'tuiwb[clean]'", key="language") from None
        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        known = {str(code) for code in identifier.nb_classes}
        if unknown := [code for code in self.keep if code not in known]:
            raise InputFault(f"{unknown[0]!r} is no language that can be told; write a code such as en", key="language")

        def judge(text: Texts) -> Judgement:
            prose = text.prose(self.of)
            if sum(map(str.isalpha, prose)) < self.least:
                return STAYS
            code, likely = identifier.classify(prose[:5000])
            if code in self.keep:
                return STAYS
            return Judgement(likely >= self.sure, lambda: f"looks like {code} ({likely:.0%})", float(likely))

        return judge


class Pii(RowStep, frozen=True, kw_only=True):
    name = "pii"
    summary = "personal data: mask it, or leave the row out"
    action: Literal["mask", "drop"] = "mask"
    kinds: tuple[pii.Kind, ...] = ("email", "ip", "key", "phone", "card", "iban")

    def judge(self) -> Judge:
        find = pii.finder(self.kinds)
        if self.action == "mask":
            return lambda text: STAYS

        def judge(text: Texts) -> Judgement:
            found = find(text.of("example"))
            return Judgement(bool(found), lambda: "holds " + ", ".join(sorted({kind for _, _, kind in found})))

        return judge

    def change(self) -> Callable[[Value], Value] | None:
        if self.action == "drop":
            return None
        find = pii.finder(self.kinds)
        return lambda value: pii.masked_value(value, find)


class Terms(RowStep, frozen=True, kw_only=True):
    name = "terms"
    summary = "words of a list of yours, such as profanity"
    file: str
    """One word or phrase a line; lines that begin with # are comments."""
    of: Side = "answer"
    max: Share = 0.0
    """Share of the words that may be on the list."""

    def judge(self) -> Judge:
        listed = _lines(Path(self.file))
        phrases = "|".join(sorted(map(re.escape, listed), key=len, reverse=True))
        expression = re.compile(rf"(?<!\w)(?:{phrases})(?!\w)", re.IGNORECASE)

        def judge(text: Texts) -> Judgement:
            content = text.of(self.of)
            found = expression.findall(content)
            if not found:
                return STAYS
            share = sum(len(term.split()) for term in found) / max(len(content.split()), 1)
            why = f"{len(found)} of the list, the first is {found[0]!r}"
            return Judgement(share > self.max, lambda: why, min(share / self.max, 1.0) if self.max else 0.0)

        return judge


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputFault("the list is not valid UTF-8", file=path, key="terms") from None
    except OSError as error:
        raise InputFault(f"the list cannot be read ({reason_of(error)})", file=path, key="terms") from error
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise InputFault("the list is empty", file=path, key="terms")
    return found


class Refusals(RowStep, frozen=True, kw_only=True):
    name = "refusals"
    summary = "answers that refuse"

    def judge(self) -> Judge:
        def judge(text: Texts) -> Judgement:
            found = next((words for answer in text.answers if (words := patterns.refusal(answer))), "")
            return Judgement(bool(found), lambda: f"refuses: {found!r}")

        return judge


class Regex(RowStep, frozen=True, kw_only=True):
    name = "regex"
    summary = "texts that match a regular expression, or that do not"
    pattern: str
    of: Side = "answer"
    keep: bool = False
    """Keep the rows that match instead of leaving them out."""

    def check(self) -> str:
        try:
            re.compile(self.pattern)
        except re.error as error:
            return f"{self.pattern!r} is no regular expression: {error}"
        return ""

    def judge(self) -> Judge:
        expression = pattern(self.pattern)

        def judge(text: Texts) -> Judgement:
            found = expression.search(text.of(self.of))
            if self.keep:
                return STAYS if found else Judgement(True, lambda: "does not match")
            return Judgement(True, lambda: f"matches: {found[0][:80]!r}") if found else STAYS

        return judge


class Problems(RowStep, frozen=True, kw_only=True):
    name = "problems"
    summary = "rows that `tuiwb data inspect` warns of"
    codes: tuple[str, ...]
    """Codes of problems, such as truncated_answer."""

    def check(self) -> str:
        from tuiwb.data.problems import RULES, nearest

        unknown = next((code for code in self.codes if code not in RULES), None)
        return f"{unknown} is no problem that is looked for{nearest(unknown, RULES)}" if unknown else ""

    def judge(self) -> Judge:
        from tuiwb.data.lint import lint
        from tuiwb.data.problems import RULES

        wanted = frozenset(self.codes)

        def judge(text: Texts) -> Judgement:
            for look in (findings, lint):
                for code, detail in look(text.example):
                    if code in wanted:
                        return Judgement(True, lambda: RULES[code].message.format(detail=detail))  # noqa: B023
            return STAYS

        return judge


ROW_STEPS: tuple[type[RowStep], ...] = (
    Words, Characters, Tokens, Urls, Digits, Symbols, Repetition, Language, Pii, Terms, Refusals, Regex, Problems,
)  # fmt: skip


def changes(steps: tuple[Step, ...]) -> Callable[[Value], Value] | None:
    """All changes that steps make to a row, one after the other; None where they make none."""
    made: list[Callable[[Value], Value]] = []
    for step in steps:
        change = step.change() if isinstance(step, RowStep) else None
        if change is not None:
            made.append(change)
    if not made:
        return None

    def change_all(value: Value) -> Value:
        for change in made:
            value = change(value)
        return value

    return change_all


__all__: list[Any] = ["ROW_STEPS", "Judgement", "RowStep", "Step", "changes"]
