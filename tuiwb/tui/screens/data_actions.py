"""What can be done on the Data screen, one method for each row of the key table; the work is in modules of its own."""

from typing import TYPE_CHECKING, cast

from tuiwb.base.units import count
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.screens import (
    data_charts,
    data_check,
    data_clean,
    data_edit,
    data_find,
    data_format,
    data_lens,
    data_mix,
    data_open,
    data_parts,
)
from tuiwb.tui.screens.data_detail import DIFFERENCE, VIEWS
from tuiwb.tui.screens.data_problems import ProblemsPane
from tuiwb.tui.widgets.pieces import PieceView
from tuiwb.tui.widgets.start import Start

if TYPE_CHECKING:
    from tuiwb.tui.screens.data import DataScreen

_WITHOUT_ROWS = ("open", "model")
_OF_A_ROW = ("edit", "accept", "reject", "tag", "rate", "compare")


class DataActions(RoomScreen):
    """See the top of this file."""

    @property
    def _me(self) -> "DataScreen":
        return cast("DataScreen", self)

    def reason(self, action: str) -> str | None:
        me = self._me
        if action in _WITHOUT_ROWS:
            return None
        if me.view is None:
            opening = me.task_of("open") or me.bench.task_of("open recipe")
            return "The dataset is being opened." if opening else "No dataset is open: press o."
        if action in ("next", "previous") and not me.query_text:
            return "Nothing was searched for yet: press /."
        if action in ("problems", "fix") and not me.query_one(ProblemsPane).problems:
            return "No problem is known." if me.view.verdict else "None in the rows sampled; c checks all."
        if action == "use" and me.workspace.recipe is None:
            return "No recipe is open: ctrl+o opens one."
        if action == "check":
            return data_check.reason(me)
        if action in _OF_A_ROW and me.row is None:
            return "There is no row."
        if action in ("convert", "split", "mix") and me.view.format.name is None:
            return "The format of the rows is not known: t names it."
        if action in ("next_source", "previous_source", "mix") and len(me.sources) < 2:
            return "One dataset is open: o opens another beside it."
        return data_edit.reason(me.view, action)

    # Sources

    def on_start_chosen(self, event: Start.Chosen) -> None:
        if event.source:
            self._me.open(event.source)
        else:
            self.action_open()

    def action_open(self) -> None:
        data_open.ask(self._me)

    def action_next_source(self) -> None:
        data_open.switch(self._me, 1)

    def action_previous_source(self) -> None:
        data_open.switch(self._me, -1)

    def action_reload(self) -> None:
        data_open.reload(self._me)

    def action_format(self) -> None:
        view = self._me.view
        assert view is not None  # `reason` sees to it, here and below
        data_format.ask_format(self._me, view)

    def action_use(self) -> None:
        view = self._me.view
        assert view is not None
        data_format.use(self._me, view)

    def action_model(self) -> None:
        data_lens.ask_model(self._me, self._me.choose_model)

    # Rows

    def action_view(self) -> None:
        me = self._me
        if me.has_class("-charts"):
            data_charts.leave(me)
            return
        looks = (*VIEWS, DIFFERENCE) if me.pages and me.pages.twins else VIEWS
        me.look = looks[(looks.index(me.look) + 1) % len(looks)] if me.look in looks else looks[0]
        me.show_row()

    def action_charts(self) -> None:
        data_charts.show(self._me)

    def action_check(self) -> None:
        data_check.check(self._me)

    def action_fix(self) -> None:
        data_check.fix(self._me)

    def action_clean(self) -> None:
        data_clean.show(self._me)

    def action_release_focus(self) -> None:
        if self.maximized is None and self.has_class("-charts"):
            data_charts.leave(self._me)
        else:
            super().action_release_focus()

    def show_all(self) -> None:
        me = self._me
        if me.pages is not None and me.pages.what:
            data_find.show_matching(me, "")

    def action_goto(self) -> None:
        me = self._me

        def typed(text: str) -> None:
            digits = text.strip().replace(",", "")
            if me.view and digits.isdigit() and int(digits) < me.view.known:
                me.go(int(digits))
            elif me.view is not None:
                me.problem(f"{text.strip()!r} is no row: they go from 0 to {count(me.view.known - 1)}")

        self.ask("Go to row", typed, hint="a number from 0")

    def action_search(self) -> None:
        data_find.ask_search(self._me)

    def action_next(self) -> None:
        data_find.search(self._me, 1)

    def action_previous(self) -> None:
        data_find.search(self._me, -1)

    def action_filter(self) -> None:
        data_find.ask_filter(self._me)

    def action_sort(self) -> None:
        data_find.ask_sort(self._me)

    def action_sample(self) -> None:
        data_find.ask_sample(self._me)

    def action_export(self) -> None:
        data_find.ask_export(self._me)

    def action_convert(self) -> None:
        data_parts.convert(self._me)

    def action_split(self) -> None:
        data_parts.split(self._me)

    def action_mix(self) -> None:
        data_mix.show(self._me)

    def action_scroll_down(self) -> None:
        self.query_one(PieceView).scroll_lines(3)

    def action_scroll_up(self) -> None:
        self.query_one(PieceView).scroll_lines(-3)

    def action_columns_right(self) -> None:
        self._me.shift(1)

    def action_columns_left(self) -> None:
        self._me.shift(-1)

    # By hand

    def action_edit(self) -> None:
        data_edit.edit(self._me)

    def action_accept(self) -> None:
        data_edit.judge(self._me, "accepted")

    def action_reject(self) -> None:
        data_edit.judge(self._me, "rejected")

    def action_tag(self) -> None:
        data_edit.ask_tags(self._me)

    def action_rate(self) -> None:
        data_edit.ask_rating(self._me)

    def action_compare(self) -> None:
        data_edit.compare(self._me)

    def action_undo(self) -> None:
        data_edit.undo(self._me)

    def action_redo(self) -> None:
        data_edit.redo(self._me)
