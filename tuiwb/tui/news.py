"""Runs that ended, and alarms that began, while the user looked at something else. Pure: what to say follows from two
looks at the runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tuiwb.runs import RunView

Severity = Literal["information", "warning", "error"]

_SEVERITY: dict[str, Severity] = {"failed": "error", "lost": "error", "interrupted": "error", "stopped": "information"}


class RunNews:
    """Compares each look at the runs with the one before."""

    def __init__(self) -> None:
        self._active: set[str] = set()
        self._alarms: set[tuple[str, str]] = set()

    @property
    def active(self) -> bool:
        """Some run was under way at the last look."""
        return bool(self._active)

    def take(self, views: "Sequence[RunView]") -> list[tuple[str, Severity]]:
        """A sentence and its weight for each run that ended, and each alarm that began, since the last look. Of alarms
        that held before the first look, too: whoever opens the workbench has not heard of them."""
        from tuiwb.tui.run_texts import title

        ended = [view for view in views if view.run_id in self._active and not view.active]
        self._active = {view.run_id for view in views if view.active}
        before = self._alarms
        now = {(view.run_id, str(alarm.get("rule"))): (view, alarm) for view in views for alarm in view.alarms_now}
        self._alarms = set(now)
        began: list[tuple[str, Severity]] = [
            (f"{title(view)}: {alarm.get('message')}", "error" if alarm.get("severity") == "critical" else "warning")
            for key, (view, alarm) in now.items()
            if key not in before
        ]
        return began + [
            (
                f"{title(view)}: {view.state}{'. ' + view.reason if view.reason else ''}",
                _SEVERITY.get(view.state, "information"),
            )
            for view in ended
        ]
