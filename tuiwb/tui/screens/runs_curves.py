"""How the curves of the Runs screen are looked at: axis, smoothing, scale, zoom, cursor, which of them."""

import re
from abc import abstractmethod

from tuiwb.monitor import AXES
from tuiwb.tui.screens.runs_actions import RunActions
from tuiwb.tui.watch import Watch
from tuiwb.tui.widgets.charts import Charts

HALF_LIVES = (0.0, 3.0, 10.0, 30.0, 100.0)
"""Of the smoothing, in steps."""


class RunCurves(RunActions):
    """The part of the Runs screen that is about its curves."""

    _watch: Watch

    @property
    @abstractmethod
    def _charts(self) -> Charts: ...

    @abstractmethod
    def _after_drawing(self) -> None: ...

    def action_metrics(self) -> None:
        def take(text: str) -> None:
            try:
                self._charts.pattern = re.compile(text.strip(), re.IGNORECASE) if text.strip() else None
            except re.error as error:
                self.problem(f"`{text}` is no pattern: {error}")
                return
            self._charts.draw()
            self._after_drawing()

        pattern = self._charts.pattern
        self.ask(
            "Show only these curves",
            take,
            value=pattern.pattern if pattern else "",
            hint="a regular expression, such as eval|reward; empty shows all",
        )

    def action_zoom_in(self) -> None:
        self._zoom(0.5)

    def action_zoom_out(self) -> None:
        self._zoom(2.0)

    def _zoom(self, by: float) -> None:
        zoom = min(max(self._watch.wanted.zoom * by, 1 / 256), 1.0)
        self._watch.want(zoom=zoom, at=self._charts.cursor if zoom < 1 else None)

    def _moved(self) -> None:
        """What is shown follows the cursor."""
        if self._watch.wanted.zoom < 1:
            self._watch.want(at=self._charts.cursor)

    def action_axis(self) -> None:
        axis = AXES[(AXES.index(self._watch.wanted.axis) + 1) % len(AXES)]
        self._charts.forget_cursor()
        self._watch.want(axis=axis, at=None)

    def action_smooth(self) -> None:
        half = HALF_LIVES[(HALF_LIVES.index(self._watch.wanted.half_life) + 1) % len(HALF_LIVES)]
        self._watch.want(half_life=half)
        self.app.notify(f"smoothed: half-life {half:.0f} steps" if half else "not smoothed", timeout=2)

    def action_log_scale(self) -> None:
        self._charts.log_scale = not self._charts.log_scale
        self._charts.draw()

    def action_cursor_left(self) -> None:
        self._charts.move_cursor(-1)
        self._moved()

    def action_cursor_right(self) -> None:
        self._charts.move_cursor(1)
        self._moved()

    def action_more_charts(self) -> None:
        self._charts.rotate()

    def action_group(self) -> None:
        self._charts.next_group()
        self._after_drawing()
