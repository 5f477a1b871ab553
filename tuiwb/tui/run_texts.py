"""A run in words and bars: what the Runs screen and the header write about it. Pure functions."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tuiwb.base.text import gate_line
from tuiwb.base.units import count, duration, size, written
from tuiwb.tui.widgets.braille import number
from tuiwb.tui.widgets.table import Cell

if TYPE_CHECKING:
    from tuiwb.monitor import Progress
    from tuiwb.runs import CheckpointView, Comparison, RunView

TONES = {
    "queued": "dim",
    "starting": "accent",
    "running": "good",
    "saving": "good",
    "stopping": "warn",
    "paused": "warn",
    "stopped": "",
    "finished": "",
    "failed": "bad",
    "cancelled": "dim",
    "interrupted": "bad",
    "lost": "bad",
}
_MARKS = {
    "running": "●",
    "saving": "●",
    "starting": "◐",
    "stopping": "◐",
    "queued": "○",
    "paused": "‖",
    "finished": "✓",
}
_PHASES = {
    "wait": "waiting for the machine",
    "load": "loading the model",
    "data": "preparing the data",
    "compile": "compiling",
    "train": "the first step",
}
_REASON_LINES = 3
_COLOURS = {"good": "$text-success", "warn": "$text-warning", "bad": "$text-error", "accent": "$text-accent"}


def title(view: "RunView") -> str:
    """The name that people gave it, or its id."""
    return view.name or view.run_id


def mark(state: str) -> str:
    """A sign for a state, of one cell."""
    return _MARKS.get(state, "✗" if TONES.get(state) == "bad" else "·")


def row(view: "RunView", now: float, *, marked: bool = False) -> tuple[Cell, ...]:
    """The run in the list: name, state, steps, loss, tags, age."""
    loss = view.metrics.get("loss")
    steps = "" if view.step is None else f"{view.step}/{view.total_steps}" if view.total_steps else str(view.step)
    return (
        ("!", "bad") if view.alarms_now else (mark(view.state), TONES.get(view.state, "")),
        (f"+ {title(view)}", "accent") if marked else title(view),
        (view.state, TONES.get(view.state, "")),
        steps,
        number(loss) if isinstance(loss, int | float) else "",
        (" ".join(view.tags), "dim"),
        (age(now - view.created), "dim"),
    )


def entry(entry: "RunView | str", now: float, marked: Sequence[str]) -> tuple[Cell, ...]:
    """A row of the list: a run, or the heading of a group."""
    if isinstance(entry, str):
        return ("", (entry, "accent"), "", "", "", "", "")
    return row(entry, now, marked=entry.run_id in marked)


def labels(text: str) -> tuple[str, tuple[str, ...]]:
    """What the user typed as notes: the words with # are tags."""
    words = text.split()
    tags = tuple(dict.fromkeys(word[1:] for word in words if word[:1] == "#" and word[1:]))
    return " ".join(word for word in words if word[:1] != "#"), tags


def labels_text(view: "RunView") -> str:
    """The opposite of `labels`."""
    return " ".join([*([view.notes] if view.notes else []), *(f"#{tag}" for tag in view.tags)])


def compared(found: "Comparison") -> str:
    """Runs side by side, for reading: differences, then the metrics with their best values."""
    names = [name or run for name, run in zip(found.names, found.runs, strict=True)]
    lines = [f"{chr(65 + at)}  {name}  {run}" for at, (name, run) in enumerate(zip(names, found.runs, strict=True))]
    if len(names) > 1:
        lines += ["", "In what they differ" if found.differences else "Their recipes and versions are the same."]
    for key, values in found.differences.items():
        lines.append(f"  {key}")
        lines += [f"    {chr(65 + at)}  {written(value) or '–'}" for at, value in enumerate(values)]
    lines += ["", "Last values, and the best ones with their steps"]
    for name, reached in found.metrics.items():
        lines.append(f"  {name}")
        for at, each in enumerate(reached):
            if each is not None:
                best = "" if each.best is None else f"   best {number(each.best)} at {each.best_step}"
                lines.append(f"    {chr(65 + at)}  {number(each.last)}{best}")
    return "\n".join(lines)


def age(seconds: float) -> str:
    """Roughly how long ago, in four cells: `12 s`, `5 m`, `3 h`, `2 d`."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def bar(fraction: float, width: int) -> str:
    """A bar of `width` cells, in eighths."""
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width, "░")


def summary(view: "RunView", progress: "Progress | None", last: Mapping[str, Any], width: int) -> list[Content]:
    """What is said above the pages: state, how far, how long, and why, in some lines."""
    colour = _COLOURS.get(TONES.get(view.state, ""), "$foreground")
    lines = [
        Content.assemble(
            (gate_line(title(view), max(width // 2, 10)), "bold"),
            (f"  {mark(view.state)} {view.state}", f"bold {colour}"),
            (f"  {_place(view)}", "dim"),
        )
    ]
    if progress is not None or view.step is not None:
        lines.append(_how_far(view, progress, width))
    if values := _values(last):
        lines.append(values)
    if said := labels_text(view):
        lines.append(Content.styled(gate_line(said, width), "dim"))
    if view.reason:
        lines += [Content.styled(each, colour) for each in _folded(view.reason, width)]
    for alarm in view.alarms_now[-2:]:
        lines.append(Content.styled(gate_line(f"! {alarm.get('message')}", width), "bold $text-error"))
    return lines


def _folded(text: str, width: int) -> list[str]:
    """A sentence in at most `_REASON_LINES` lines."""
    return [
        gate_line(each, width)
        for each in textwrap.wrap(
            gate_line(text), width, max_lines=_REASON_LINES, placeholder=" …", break_on_hyphens=False
        )
    ]


def _place(view: "RunView") -> str:
    words = [view.kind, view.part]
    if view.phase and view.active:
        words.append(view.phase)
    if view.attempt > 1:
        words.append(f"attempt {view.attempt}")
    if view.supervised is None:
        words.append(f"on {view.host}")
    return " · ".join(gate_line(word) for word in words if word)


def _how_far(view: "RunView", progress: "Progress | None", width: int) -> Content:
    step, total = view.step or 0, view.total_steps
    parts: list[tuple[str, str]] = []
    if total:
        parts += [
            (bar(step / total, min(max(width // 4, 8), 30)), "$primary"),
            (f" {100 * step / total:3.0f} % ", "bold"),
        ]
    parts.append((f" step {count(step)} of {count(total)}" if total else f"step {count(step)}", ""))
    if progress is not None and view.active:
        if progress.remaining_s is not None:
            parts.append((f"  {duration(progress.remaining_s)} left", ""))
        if progress.tokens_per_s:
            parts.append((f"  {progress.tokens_per_s:,.0f} tokens/s", "dim"))
    return Content.assemble(*parts)


def _values(last: Mapping[str, Any]) -> Content:
    parts: list[tuple[str, str]] = []
    for name, label in (
        ("loss", "loss"),
        ("eval_loss", "eval"),
        ("lr", "lr"),
        ("grad_norm", "grad"),
        ("epoch", "epoch"),
    ):
        value = last.get(name)
        if isinstance(value, int | float):
            parts += [(f"{label} ", "dim"), (f"{number(value)}  ", "")]
    return Content.assemble(*parts) if parts else Content("")


def event_row(event: Mapping[str, Any], start: float) -> tuple[Cell, ...]:
    """An event: when (since the launch), what, by whom, and the rest."""
    when = event.get("time")
    rest = ", ".join(
        str(value) if name in ("message", "problem") else f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in event.items()
        if name not in ("time", "event", "by", "part") and value not in (None, "")
    )
    tone = "bad" if event.get("event") in ("failed", "alarm", "lost") else ""
    return (
        (f"+{duration(max(when - start, 0))}" if isinstance(when, int | float) else "", "dim"),
        (str(event.get("event", "")), tone),
        (str(event.get("by", "")), "dim"),
        rest,
    )


def tabs(pages: Sequence[str], shown: str) -> Content:
    """The names of the pages, the shown one marked."""
    return Content.assemble(*((f" {name.capitalize()} ", "reverse bold" if name == shown else "dim") for name in pages))


def lost_by_cancel(kind: str, checkpoints: Sequence["CheckpointView"]) -> str:
    """What ending the run at once costs."""
    if kind == "watch":
        return "Only the watching ends; the training goes on."
    if any(each.valid for each in checkpoints):
        return "What came after its last checkpoint is lost."
    return "It has no checkpoint: all its work is lost."


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)


def event_text(event: Mapping[str, Any]) -> str:
    """The event whole, for reading: a line for each of its fields."""
    return "\n".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in event.items() if name != "time")


_ASK = "sample_prompts of the recipe says what is asked"


def nothing(view: "RunView | None", page: str) -> str:
    """What a page says that has nothing to show."""
    if view is None:
        return "No run is selected."
    if view.kind == "eval" and page in ("curves", "answers", "checkpoints"):
        if page == "checkpoints":
            return "An evaluation saves no checkpoint."
        return f"It is {view.state}; what it found are its results.\nR: results, row by row"
    if not view.active:
        return {
            "curves": f"It is {view.state}; no step was logged.\n]: the log and the events",
            "log": "It printed nothing.",
            "answers": f"Its model was asked nothing.\n{_ASK}",
            "checkpoints": "It saved no checkpoint.",
        }.get(page, "")
    phase = _PHASES.get(view.phase, view.phase or view.state)
    return {
        "curves": f"The curves begin with the first step.\nnow: {phase}   ·   ]: the log and the events",
        "log": "It has printed nothing yet.",
        "answers": f"Its model answers at each evaluation, or else at each checkpoint.\n{_ASK}",
        "checkpoints": "There is no checkpoint yet.\nw: save one now",
    }.get(page, "")


def status(views: Sequence["RunView"]) -> str:
    """For the right of the header: the run that is under way, or how many are."""
    active = [view for view in views if view.active]
    if not active:
        return ""
    if alarmed := sum(bool(view.alarms_now) for view in active):
        return f"! {alarmed} of {len(active)} runs in alarm" if len(active) > 1 else f"! {title(active[0])}: alarm"
    if len(active) > 1:
        return f"● {len(active)} runs"
    view = active[0]
    percent = f" {100 * view.step / view.total_steps:.0f} %" if view.step is not None and view.total_steps else ""
    return f"{mark(view.state)} {view.state}{percent}"


def checkpoint_row(found: "CheckpointView") -> tuple[Cell, ...]:
    """A checkpoint: step, losses, size, whether it is whole, where."""
    state = (
        ("whole" if found.resumable else "weights only", "good") if found.valid else (found.problem or "broken", "bad")
    )
    losses = ("" if value is None else number(value) for value in (found.loss, found.eval_loss))
    step = "" if found.step is None else count(found.step)
    return (step, *losses, size(found.bytes), state, (found.path, "dim"))


_OF_CURVES = ("metrics", "zoom_in", "zoom_out")


def reason(view: "RunView", action: str, has_curves: bool) -> str | None:
    """Why `action` of the Runs screen cannot be done to this run now; None when it can."""
    name, state = title(view), view.state
    if action in ("mark", "note", "compare"):
        return None
    if action in ("axis", "smooth", "log_scale", "cursor_left", "cursor_right", "more_charts", "group", *_OF_CURVES):
        return None if has_curves else "This run has logged no metrics yet."
    if action == "chat":
        return None if view.kind == "train" else f"{name} is a run of kind {view.kind}: there is nobody to talk to."
    if action == "change":
        return None if view.kind == "train" else f"{name} is a run of kind {view.kind}: it has no recipe."
    if action == "rows":
        return None if view.kind == "train" else f"{name} is a run of kind {view.kind}: it learned from no rows."
    if action == "results":
        return None if view.kind == "eval" else f"{name} is a run of kind {view.kind}: `tuiwb eval` makes results."
    if action == "clone":
        return None
    if view.supervised is None:
        return f"{name} runs on {view.host}: ask there."
    if view.kind == "watch" and view.active and action in ("save", "pause"):
        return f"{name} was not started here: it cannot be asked to {action}."
    if action in ("save", "stop", "pause", "cancel"):
        return None if view.active else f"{name} is {state}: there is nothing to {action}."
    if action == "hold":
        return None if state == "queued" else f"{name} is {state}: only a run that waits can be held."
    if action == "resume":
        if state == "finished":
            return f"{name} has finished: there is nothing to go on with."
        return f"{name} is {state} already." if view.active and state != "queued" else None
    if action == "delete":
        return f"{name} is {state}: stop or cancel it first." if view.active else None
    return None
