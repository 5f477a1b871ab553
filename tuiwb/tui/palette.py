"""The command palette: every row of the key table, searched; one of another screen goes there first."""

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tuiwb.tui import keys
from tuiwb.tui.screen import RoomScreen

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench


class Actions(Provider):
    """The actions of the shown screen first, then the global ones, then those of the other screens."""

    @property
    def bench(self) -> "Workbench":
        return cast("Workbench", self.app)

    def _rows(self) -> list[keys.Key]:
        here = self.bench.current_room
        there = [room.name for room in self.bench.rooms if room.name != here]
        rows = [*keys.rows(here), *keys.GLOBAL, *(row for name in there for row in keys.rows(name))]
        # A tab whose screen does not exist cannot be gone to.
        return [row for row in rows if row.group != "Screens" or row.action in self.bench.MODES or "_" in row.action]

    def _name(self, row: keys.Key) -> str:
        if row.where == keys.APP:
            return f"Go to {row.label}" if row.action in self.bench.MODES else row.label
        title = next((room.title for room in keys.ROOMS if room.name == row.where), row.where)
        return f"{title}: {row.label}"

    def _help(self, row: keys.Key) -> str:
        bound = ", ".join(keys.shown(key) for key in self.bench.keys_of(row.id))
        return f"{row.help}  {bound}" if bound else row.help

    async def discover(self) -> Hits:
        for row in self._rows():
            yield DiscoveryHit(self._name(row), partial(self._do, row), help=self._help(row))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for row in self._rows():
            name = self._name(row)
            score = max(matcher.match(name), matcher.match(row.help) * 0.6)
            if score > 0:
                yield Hit(score, matcher.highlight(name), partial(self._do, row), help=self._help(row))

    async def _do(self, row: keys.Key) -> None:
        bench = self.bench
        if row.where == keys.APP:
            await bench.action_do(row.action)
            return
        bench.go(row.where)
        room = bench.room
        if isinstance(room, RoomScreen):
            # After the first visit the screen has to be composed before its action can find its widgets.
            room.call_after_refresh(room.action_do, row.action)
