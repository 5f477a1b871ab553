"""The Models screen: what is here, what the catalogue and the hub offer; bring, look at, use, delete."""

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, Static

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Progress, Task
from tuiwb.base.text import gate_line
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.screens import models_rows
from tuiwb.tui.screens.models_rows import HERE, HUB, Row, Seen
from tuiwb.tui.widgets.frame import Empty, Pane
from tuiwb.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from tuiwb.models import ModelInfo, SearchHit

_SMALL = "smollm2-135m-instruct"
_PAUSE_S = 0.3
"""How long the cursor rests on a model of the hub before the hub is asked about it."""


class ModelsScreen(RoomScreen):
    ROOM: ClassVar[str] = "models"
    AUTO_FOCUS = "#models"

    def __init__(self) -> None:
        super().__init__()
        self._here: tuple[Row, ...] = ()
        self._free = 0
        self._hits: tuple[Row, ...] = ()
        self.rows: tuple[Row, ...] = ()
        self._looked = False
        self._wanted = ""
        self._note = ""
        self._selected = ""
        self._coming: list[str] = []
        self._details: dict[str, Row] = {}
        self._rest: Timer | None = None

    def compose_body(self) -> ComposeResult:
        with Horizontal():
            with Pane(title="Models", id="list"):
                yield Input(placeholder="/ to search here, in the catalogue and on the hub", compact=True, id="search")
                yield Table(
                    Column("", 1),
                    Column("model", 26, flex=1),
                    Column("params", 6, right=True),
                    Column("size", 9, right=True, from_width=44),
                    Column("context", 9, right=True, from_width=54),
                    Column("licence", 11, flex=1, from_width=66),
                    id="models",
                )
                yield Empty("", id="none")
            with Pane(title="About it", id="detail"):
                yield Static(id="about")
        yield Static(id="progress")

    # Coming and going

    def opened(self) -> None:
        self.every(0.5, self._tick)
        self._list()

    def shown(self) -> None:
        self._look()
        self._tick()

    def layout_state(self) -> dict[str, Any]:
        return {"selected": self._selected}

    def restore_layout(self, state: dict[str, Any]) -> None:
        self._selected = str(state.get("selected") or "")

    def copyable(self) -> str:
        return self.current.ref if self.current else ""

    # What the threads found

    def _look(self) -> None:
        self.start("look", _look, self._seen_here)

    def _seen_here(self, seen: Seen) -> None:
        self._here, self._free, self._looked = seen.rows, seen.free, True
        self._list()

    def _found(self, hits: "list[SearchHit]") -> None:
        self._hits = tuple(models_rows.from_hit(hit) for hit in hits)
        self._note = "" if hits else f"the hub has nothing named {self._wanted}"
        self._list()

    def _not_found(self, error: TuiwbError) -> None:
        self._note = str(error)
        self._list()

    def _described(self, info: "ModelInfo") -> None:
        row = models_rows.from_info(info)
        if row.hub_id:
            self._details[row.hub_id] = row
            self._about()

    # Drawing

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        at = self.query_one("#models", Table).cursor
        return self.rows[at] if at < len(self.rows) else None

    def _list(self) -> None:
        self.rows = models_rows.listed(self._here, self._hits, self._wanted)
        table = self.query_one("#models", Table)
        known = {row.ref: at for at, row in reversed(list(enumerate(self.rows)))}
        # Where nothing is here yet, the small model is the one to begin with.
        first = _SMALL if not self._here and not self._wanted else ""
        at = known.get(self._selected, known.get(first, 0 if self._wanted else None))
        table.fill(len(self.rows), self._cells, cursor=at)
        table.display = bool(self.rows)
        none = self.query_one("#none", Empty)
        none.display = not self.rows
        none.say(f"Nothing here or in the catalogue is named “{self._wanted}”.", self._note or "enter: search the hub")
        pane = self.query_one("#list", Pane)
        pane.border_subtitle = Content(gate_line(self._note, 60) if self._note and self.rows else self._totals())
        self._about()
        self._rest_on()
        self.refresh_hints()

    def _totals(self) -> str:
        if not self._looked:
            return "looking…"
        if not self._here:
            return f"none is here yet: b brings {_SMALL if self._selected in ('', _SMALL) else 'the highlighted one'}"
        return models_rows.totals(self._here, self._free)

    def _cells(self, at: int) -> Any:
        row = self.rows[at]
        return models_rows.cells(row, self._progress_of(row.ref))

    def _about(self) -> None:
        panel, row = self.query_one("#about", Static), self.current
        if row is None:
            panel.update("")
            return
        note = ""
        if row.where == HUB and row.hub_id in self._details:
            row = _merged(row, self._details[row.hub_id])
            note = "" if row.parameters else "The hub gives no parameter count."
        room = self.query_one("#detail", Pane).content_size
        panel.update(models_rows.detail(row, max(room.width, 24), room.height, note))

    def _progress_of(self, ref: str) -> Progress | None:
        task = self.task_of(f"get {ref}")
        return task.progress if task else None

    def _tick(self) -> None:
        line = self.query_one("#progress", Static)
        line.display = bool(self._coming)
        if not self._coming:
            return
        width = max(self.size.width - 2, 20)
        texts = [
            models_rows.progress_line(ref, progress, width)
            for ref in self._coming
            if (progress := self._progress_of(ref)) is not None
        ]
        line.update(Content("\n").join(texts))
        table = self.query_one("#models", Table)
        for at, row in enumerate(self.rows):
            if row.ref in self._coming:
                table.refresh_row(at)

    def on_resize(self) -> None:
        self.call_after_refresh(self._resized)

    def _resized(self) -> None:
        if self.is_open:
            self._about()
            self._tick()

    # What the user does

    def on_table_moved(self, event: Table.Moved) -> None:
        self._selected = self.rows[event.row].ref
        self._about()
        self._rest_on()
        self.refresh_hints()

    def _rest_on(self) -> None:
        """Once the cursor rests on a model that only the hub knows, ask about it."""
        if self._rest is not None:
            self._rest.stop()
            self._rest = None
        row = self.current
        if row is not None and row.where == HUB and row.hub_id not in self._details:
            self._rest = self.set_timer(_PAUSE_S, self._describe)

    def _describe(self) -> None:
        """Ask the hub for the configuration of the model that the cursor rests on."""
        row = self.current
        if row is None or row.where != HUB:
            return
        from tuiwb import models

        self.start("describe", lambda task: models.open_model(row.ref, config_only=True, task=task), self._described,
                   lambda _: None)  # fmt: skip

    async def on_table_chosen(self) -> None:
        await self.action_do("use")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted, self._note, self._selected = event.value, "", ""
        self._hits = ()
        self._list()

    def on_input_submitted(self) -> None:
        self.set_focus(self.query_one("#models", Table))
        query = self._wanted.strip()
        if not query:
            return
        from tuiwb import models

        self._note = "asking the hub…"
        self._list()
        self.start("search", lambda task: models.search(query, limit=50, task=task), self._found, self._not_found)

    def action_release_focus(self) -> None:
        if self.focused is self.query_one("#search"):
            table = self.query_one("#models", Table)
            if table.display:
                self.set_focus(table)
                return
            self.action_clear()
            return
        super().action_release_focus()

    def reason(self, action: str) -> str | None:
        if action in ("search", "refresh"):
            return None
        if action == "clear":
            return None if self._wanted else "There is no search to forget."
        row = self.current
        if row is None:
            return "No model is highlighted."
        coming = row.ref in self._coming
        match action:
            case "get" if coming:
                return "It is on its way."
            case "get" if row.where == HERE:
                return "It is here already."
            case "stop" if not coming:
                return "It is not being brought."
            case "delete" if row.where != HERE:
                return "It is not on this machine."
            case "template" if row.where != HERE:
                return "Its template is known once it is here: b brings it."
            case "template" if row.template is None:
                return "It has no chat template: set chat_template in the recipe."
            case "use" if self.workspace.recipe is None:
                return "No recipe is open: ^o opens one."
            case "use" if row.adapter_of is not None:
                return "It is an adapter; a recipe trains a whole model."
        return None

    def show_all(self) -> None:
        if self._wanted:
            self.action_clear()

    def action_search(self) -> None:
        self.set_focus(self.query_one("#search", Input))

    def action_clear(self) -> None:
        self.query_one("#search", Input).value = ""
        self.set_focus(self.query_one("#models", Table))

    def action_refresh(self) -> None:
        self._look()

    def action_get(self) -> None:
        row = self.current
        assert row is not None
        ref = row.ref
        from tuiwb import models

        def done(_: object) -> None:
            self._arrived(ref)
            self.app.notify(f"{gate_line(ref)} is here.")
            self.bench.keeper.reopen_model()

        def failed(error: TuiwbError) -> None:
            self._arrived(ref)
            self.problem(error)

        self._coming.append(ref)
        self.start(f"get {ref}", lambda task: models.get(ref, task=task), done, failed, keep=True)
        self._tick()
        self._list()

    def _arrived(self, ref: str) -> None:
        if ref in self._coming:
            self._coming.remove(ref)
        self._tick()
        self._look()

    def action_stop(self) -> None:
        row = self.current
        assert row is not None
        self.cancel(f"get {row.ref}")
        self._arrived(row.ref)
        self.app.notify("Stopped; what has arrived is kept, and b goes on.")

    def action_use(self) -> None:
        row = self.current
        assert row is not None
        import msgspec

        self.bench.keeper.change(msgspec.structs.replace(self.workspace.recipe, model_name_or_path=row.ref))
        self.app.notify(f"The open recipe uses {gate_line(row.ref)} now.")

    def action_template(self) -> None:
        row = self.current
        assert row is not None
        ref = row.ref
        self.start(
            "template",
            lambda _: models_rows.template_text(ref),
            lambda text: self.read(f"Chat template of {ref}", text),
        )

    def action_delete(self) -> None:
        row = self.current
        assert row is not None
        ref = row.ref

        def delete() -> None:
            from tuiwb import models

            def done(freed: int) -> None:
                self.app.notify(f"{gate_line(ref)} is deleted.")
                self._look()
                self.bench.keeper.reopen_model()

            self.start(f"delete {ref}", lambda _: models.delete(ref), done, keep=True)

        self.confirm(
            f"Delete {ref} from this machine?",
            delete,
            detail=f"{row.path}\nIt can be brought again; runs keep their own checkpoints.",
            yes="Delete",
        )


def _look(_: Task) -> Seen:
    """Runs in a thread."""
    import shutil

    from tuiwb import models
    from tuiwb.base import settings

    root = settings.models_root()
    place = next(parent for parent in (root, *root.parents) if parent.exists())
    return Seen(tuple(models_rows.from_info(info) for info in models.installed()), shutil.disk_usage(place).free)


def _merged(hit: Row, known: Row) -> Row:
    """A hit of the hub with what its configuration adds."""
    from dataclasses import fields, replace

    gaps = {field.name: getattr(known, field.name) for field in fields(Row) if getattr(hit, field.name) is None}
    return replace(hit, **gaps)
