"""The cleaning steps that hold a number of a text to its limits: lengths, and shares of characters."""

import math
from collections.abc import Callable

from tuiwb.data.clean import measures
from tuiwb.data.clean.steps import Amount, Judge, Judgement, RowStep, Share
from tuiwb.data.clean.texts import Side, Texts


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


LIMITS: tuple[type[RowStep], ...] = (Words, Characters, Tokens, Urls, Digits, Symbols)
