"""The cleaning steps that look for something in a text: repetition, language, personal data, words, refusals."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.data.checks import findings
from tuiwb.data.clean import measures, patterns, pii
from tuiwb.data.clean.steps import STAYS, Judge, Judgement, RowStep, Share
from tuiwb.data.clean.texts import Side, Texts, pattern
from tuiwb.data.rows import Value


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


RULES: tuple[type[RowStep], ...] = (Repetition, Language, Pii, Terms, Refusals, Regex, Problems)
