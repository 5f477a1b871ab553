"""Several runs side by side: in what their recipes differ, and how far each metric came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuiwb import rundir
from tuiwb.monitor import RunMetrics, Series
from tuiwb.monitor.groups import GROUPS, group_of
from tuiwb.rundir import RunDir

_HIGHER = ("accuracy", "accuracies", "reward", "margin", "score", "exact", "f1", "bleu", "rouge", "pass")
_LOWER = ("loss", "perplexity", "kl")
_NAMES_DIFFER = frozenset({"name", "notes", "tags", "run_name"})


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a metric came: its newest value, and the best one with its step where it is known which way is
    better."""

    last: float
    best: float | None = None
    best_step: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """See `compare`. `runs`: ids, in the order in which they were given; every tuple below is in that order.

    Attributes:
        differences: by key of the recipe, `versions.<package>`, or `git`; None where a run does not have it.
        metrics: by name, of the last part that logged; None where a run does not have it.
    """

    runs: tuple[str, ...]
    names: tuple[str, ...]
    differences: dict[str, tuple[Any, ...]]
    metrics: dict[str, tuple[Reached | None, ...]]

    def to_json(self) -> dict[str, Any]:
        """As `tuiwb runs compare --json` prints it."""
        return {
            "runs": [{"run_id": run, "name": name} for run, name in zip(self.runs, self.names, strict=True)],
            "differences": {key: dict(zip(self.runs, values, strict=True)) for key, values in self.differences.items()},
            "metrics": {
                name: {
                    "better": better(name),
                    **{
                        run: rundir.strict({"last": each.last, "best": each.best, "best_step": each.best_step})
                        for run, each in zip(self.runs, values, strict=True)
                        if each is not None
                    },
                }
                for name, values in self.metrics.items()
            },
        }


def compare(runs: Sequence[RunDir]) -> Comparison:
    """Compare the resolved recipes, versions and metrics of these runs. Reads their metrics whole."""
    jobs = [rundir.read_job(run) for run in runs]
    found = []
    for run in runs:
        metrics = RunMetrics(run)
        metrics.read()
        part = metrics.current
        found.append(part.series if part is not None else {})
    known = dict.fromkeys(name for series in found for name in series)
    names = sorted(known, key=lambda name: GROUPS.index(group_of(name)))
    return Comparison(
        runs=tuple(run.run_id for run in runs),
        names=tuple(str(job.get("name") or "") for job in jobs),
        differences=differences(jobs),
        metrics={name: tuple(_reached(series[name]) if name in series else None for series in found) for name in names},
    )


def differences(jobs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The keys in which jobs differ, with the value of each. What people call a run is no difference."""
    flat = [_flat(job) for job in jobs]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    values = {key: tuple(each.get(key) for each in flat) for key in keys if key not in _NAMES_DIFFER}
    return {key: each for key, each in values.items() if any(value != each[0] for value in each)}


def better(name: str) -> Literal["lower", "higher"] | None:
    """Which way a metric is better; None where nobody can say."""
    words = name.lower()
    if any(word in words for word in _HIGHER):
        return "higher"
    return "lower" if any(word in words for word in _LOWER) else None


def _reached(series: Series) -> Reached | None:
    if not series.values:
        return None
    way = better(series.name)
    if way is None:
        return Reached(series.values[-1])
    best = (min if way == "lower" else max)(series.values)
    return Reached(series.values[-1], best, int(series.xs["step"][series.values.index(best)]))


def _flat(job: Mapping[str, Any]) -> dict[str, Any]:
    git = job.get("git") or {}
    return {
        **_leaves(job.get("input") or {}, ""),
        **_leaves(job.get("versions") or {}, "versions."),
        "git": f"{str(git.get('commit'))[:12]}{' with changes' if git.get('dirty') else ''}" if git else None,
    }


def _leaves(value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        if isinstance(each, Mapping):
            found |= _leaves(each, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = each
    return found
