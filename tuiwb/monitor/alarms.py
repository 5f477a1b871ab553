"""What should wake somebody: rules over what a run logs and over how long it is silent. Pure functions of what they are
given; `MetricWatch` holds the windows for those that need a past. The rules on the machine are in machine_alarms.py.

An alarm is told once: who evaluates the rules (the wrapper of the run) tells it when it begins to hold.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from tuiwb.base.units import count, duration

Severity = Literal["warning", "critical"]

KNOWN_AFTER = 20
"""Values before a spike or a divergence can be told from what is usual."""

ZEROS = 5
"""Losses of exactly zero, one after the other, that are no chance."""

OVERFLOWS = 10
"""Gradients in a row that are no numbers, which with fp16 is more than its loss scaling looking for its scale."""

LONGEST_S: Mapping[str, float] = {
    "load": 900.0,
    "data": 900.0,
    "compile": 1800.0,
    "train": 900.0,
    "eval": 600.0,
    "save": 600.0,
}
"""How long each phase may do nothing that shows, where nothing is known yet. For train it is the first step."""

_GRADIENT_FACTOR = 20.0
_WINDOW = 50
_SPEED_WINDOW = 10
_SLOWER = 0.6


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something is wrong.

    Attributes:
        rule: which rule found it, such as `not_finite`.
        message: one sentence.
        fix: what can be done about it, "" when nothing is known.
        subject: of what it is told where there are several: a metric, a GPU, a process.
        step: optimizer steps that were complete; None when it is about no step.
    """

    rule: str
    message: str
    severity: Severity = "warning"
    fix: str = ""
    subject: str = ""
    step: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Two alarms with the same key are about the same thing."""
        return self.rule, self.subject

    def to_json(self) -> dict[str, Any]:
        """As events.jsonl has it."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}


def not_finite(
    name: str, value: float, *, before: int = 0, fp16: bool = False, step: int | None = None
) -> Alarm | None:
    """A loss or a gradient that is no number.

    Args:
        before: how many values of this metric just before were none either.
        fp16: with it a gradient now and then overflows, and the loss scaling leaves that step out.
    """
    if math.isfinite(value) or (fp16 and name == "grad_norm" and before + 1 < OVERFLOWS):
        return None
    return Alarm(
        "not_finite",
        f"{_called(name)} is {'NaN' if math.isnan(value) else 'infinite'}" + _at(step),
        "critical",
        "lower learning_rate, set max_grad_norm, and look at the rows of this step",
        name,
        step,
    )


def zero_loss(recent: Sequence[float], *, step: int | None = None) -> Alarm | None:
    """The loss has been exactly zero for a while: nothing is learned.

    Args:
        recent: the newest losses, oldest first.
    """
    if len(recent) < ZEROS or any(recent[-ZEROS:]):
        return None
    return Alarm(
        "zero_loss",
        f"the loss is 0 since {ZEROS} logged steps" + _at(step),
        "critical",
        "look at the mask of the examples: most likely no token is trained",
        "loss",
        step,
    )


def spike(name: str, value: float, before: Sequence[float], *, step: int | None = None) -> Alarm | None:
    """A value far above what was usual: eight times the spread of the values before, and half as much again as their
    median; for the gradient's norm twenty times the median.

    Args:
        before: the finite values before it, oldest first.
    """
    if len(before) < KNOWN_AFTER or not math.isfinite(value):
        return None
    middle = median(before)
    if name == "grad_norm":
        limit = _GRADIENT_FACTOR * middle
    else:
        limit = middle + max(8 * _spread(before, middle), 0.5 * abs(middle))
    if value <= limit or middle <= 0:
        return None
    return Alarm(
        "spike", f"{_called(name)} jumped from {middle:.3g} to {value:.3g}" + _at(step), subject=name, step=step
    )


def divergence(losses: Sequence[float], best: float, *, step: int | None = None) -> Alarm | None:
    """The loss has gone up and stays up: the median of the newest values is half as much again as the best one was, and
    further from it than they, or those before them, are from each other.

    Args:
        losses: oldest first.
        best: the least median of `KNOWN_AFTER` values so far.
    """
    if len(losses) < KNOWN_AFTER or best < 0:
        return None
    recent, before = losses[-KNOWN_AFTER:], losses[:-KNOWN_AFTER]
    now = median(recent)
    spread = max(_spread(each, median(each)) for each in (recent, before) if each)
    if now <= best + max(0.5 * best, 3 * spread) + 0.05:
        return None
    return Alarm(
        "divergence",
        f"the loss goes up: {now:.3g} where it had been {best:.3g}" + _at(step),
        "critical",
        "lower learning_rate and go on from a checkpoint of before",
        "loss",
        step,
    )


def slower(speeds: Sequence[float], *, step: int | None = None) -> Alarm | None:
    """Training goes at less than three fifths of its usual speed.

    Args:
        speeds: tokens or steps a second, oldest first.
    """
    if len(speeds) < 3 * _SPEED_WINDOW:
        return None
    now, usual = median(speeds[-_SPEED_WINDOW:]), median(speeds[:-_SPEED_WINDOW])
    if now >= _SLOWER * usual:
        return None
    return Alarm(
        "slower",
        f"training has become slow: {100 * now / usual:.0f} % of its usual speed" + _at(step),
        fix="look who else uses the machine, and whether a GPU is throttled",
        step=step,
    )


def silent(
    phase: str, still_s: float, step_s: float | None, *, patience: float = 10.0, least_s: float = 60.0
) -> Alarm | None:
    """Nothing has moved for much longer than it takes.

    Args:
        phase: of the newest beat.
        still_s: seconds since a step, a batch or a byte of a checkpoint.
        step_s: of the median step; None before there were any.
        patience: so many median steps may one step take.
        least_s: what is shorter is never told.
    """
    known = phase == "train" and step_s is not None
    limit = max(patience * (step_s or 0.0), least_s) if known else LONGEST_S.get(phase)
    if limit is None or still_s < limit:
        return None
    usual = f", where a step takes {duration(step_s)}" if known and step_s is not None else ""
    return Alarm(
        "no_progress",
        f"nothing has moved in {phase} for {duration(still_s)}{usual}",
        "critical",
        "look at the stacks of its processes; pause or cancel it and resume",
    )


class MetricWatch:
    """The rules on the lines of metrics.jsonl of one part.

    Args:
        fp16: see `not_finite`.
        rewarded: the stage learns from rewards, so that its loss may be zero or go up while all is well.
    """

    def __init__(self, *, fp16: bool = False, rewarded: bool = False) -> None:
        self._fp16, self._rewarded = fp16, rewarded
        self._values: dict[str, deque[float]] = {}
        self._speeds: deque[float] = deque(maxlen=100 + _SPEED_WINDOW)
        self._step_s: deque[float] = deque(maxlen=_WINDOW)
        self._odd: dict[str, int] = {}
        self._best = math.inf
        self._step = -1

    @property
    def step_s(self) -> float | None:
        """Seconds of the median step; None before there were any."""
        return median(self._step_s) if self._step_s else None

    def take(self, line: Mapping[str, Any]) -> list[Alarm]:
        """The alarms that hold at a line of metrics.jsonl."""
        step = line.get("current_steps")
        step = step if isinstance(step, int) else None
        if step is not None and step < self._step:
            self._values.clear()  # a resumed run went back
        self._step = self._step if step is None else step
        found = [self._odd_value(name, value, step) for name, value in line.items() if _counts(name, value)]
        for name in ("loss", "grad_norm"):
            value = line.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                found += self._value(name, float(value), step)
        found.append(self._speed(line, step))
        return [alarm for alarm in found if alarm is not None]

    def _odd_value(self, name: str, value: float, step: int | None) -> Alarm | None:
        before = self._odd.get(name, 0)
        self._odd[name] = 0 if math.isfinite(value) else before + 1
        return not_finite(name, value, before=before, fp16=self._fp16, step=step)

    def _value(self, name: str, value: float, step: int | None) -> list[Alarm | None]:
        values = self._values.setdefault(name, deque(maxlen=_WINDOW))
        if self._rewarded and name == "loss":
            return []
        found = [spike(name, value, values, step=step)]
        values.append(value)
        if name == "loss":
            recent = list(values)[-KNOWN_AFTER:]
            found += [zero_loss(recent, step=step), divergence(list(values), self._best, step=step)]
            if len(recent) == KNOWN_AFTER:
                self._best = min(self._best, median(recent))
        return found

    def _speed(self, line: Mapping[str, Any], step: int | None) -> Alarm | None:
        seconds, speed = line.get("step_s"), line.get("tokens_per_s")
        if isinstance(seconds, int | float) and seconds > 0:
            self._step_s.append(float(seconds))
            speed = speed or 1.0 / seconds
        if not isinstance(speed, int | float) or not math.isfinite(speed) or speed <= 0:
            return None
        self._speeds.append(float(speed))
        return slower(list(self._speeds), step=step)


def _spread(values: Sequence[float], middle: float) -> float:
    """From the median of their distances to their median; the standard deviation, were they normal."""
    return 1.4826 * median(abs(each - middle) for each in values)


def _counts(name: str, value: Any) -> bool:
    """Whether a metric must be a number: losses and the gradient."""
    return isinstance(value, float) and (name == "grad_norm" or name.endswith("loss"))


def _called(name: str) -> str:
    return {"loss": "the loss", "grad_norm": "the gradient's norm", "eval_loss": "the loss of the evaluation"}.get(
        name, name
    )


def _at(step: int | None) -> str:
    return "" if step is None else f" at step {count(step)}"
