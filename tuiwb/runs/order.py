"""Which runs are listed, and in which order: the same on the screen and on the command line. Pure functions."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from tuiwb.runs.views import RunView

ORDERS = ("age", "state", "loss", "recipe", "tag")
"""In which runs can be listed; by recipe and by tag they come in groups."""


def matches(view: RunView, wanted: str) -> bool:
    """Whether all words of `wanted` are found in what a run is called, or in what was said of it. A word with # is a
    whole tag."""
    named = " ".join((view.run_id, view.name, view.state, view.kind, view.notes, *view.tags)).lower()
    tags = {f"#{tag.lower()}" for tag in view.tags}
    return all(word in tags if word[0] == "#" and word[1:] else word in named for word in wanted.lower().split())


def ordered(views: Sequence[RunView], order: str) -> list[RunView | str]:
    """Runs in this order, with headings where it makes groups; those that are equal in it stay as they are, the newest
    first."""
    keys: dict[str, Callable[[RunView], Any]] = {
        "loss": _loss_of,
        "state": lambda view: (not view.active, view.state),
        "recipe": lambda view: _called(view).lower(),
        "tag": lambda view: (not view.tags, view.tags),
    }
    found = sorted(views, key=keys[order]) if order in keys else list(views)
    names: dict[str, Callable[[RunView], str]] = {
        "recipe": _called,  # a run is called after its recipe
        "tag": lambda view: " ".join(f"#{tag}" for tag in view.tags) or "without tags",
    }
    if order not in names:
        return [*found]
    entries: list[RunView | str] = []
    for name, group in groupby(found, key=names[order]):
        runs = list(group)
        entries += [f"{name} · {len(runs)}", *runs]
    return entries


def _called(view: RunView) -> str:
    return view.name or view.run_id


def _loss_of(view: RunView) -> float:
    loss = view.metrics.get("eval_loss", view.metrics.get("loss"))
    return float(loss) if isinstance(loss, int | float) and loss == loss else float("inf")
