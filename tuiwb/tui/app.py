"""The workbench: screens behind number keys, one open recipe that they share, the global actions.

A screen is imported at its first visit (its module is `tui/screens/<name>.py`); each has a mode of its own, that is a
stack of screens, so that a dialog of one does not stand over another.
"""

import copy
import importlib
import importlib.util
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.notifications import Notify
from textual.screen import Screen

from tuiwb.base import log
from tuiwb.base import settings as settings_module
from tuiwb.base.errors import TuiwbError
from tuiwb.base.text import gate
from tuiwb.tui import afterwards, hangup, keys, session, terminal
from tuiwb.tui.jobs import JobHost
from tuiwb.tui.news import RunNews
from tuiwb.tui.screen import Frame, RoomScreen, normal
from tuiwb.tui.widgets.frame import Header
from tuiwb.tui.workspace import Keeper, Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual.command import Provider
    from textual.widget import Widget

    from tuiwb.runs import RunView

_FRAME = "frame"


def _commands() -> "type[Provider]":
    from tuiwb.tui.palette import Actions

    return Actions


class Workbench(JobHost, App[None], inherit_bindings=False):
    """The app.

    Args:
        screen: the screen to open; None opens that of last time.
        recipe: a recipe file or preset to open; None opens that of last time.
        settings: None loads the user's.
    """

    TITLE = "tuiwb"
    CSS_PATH = "app.tcss"
    COMMANDS: ClassVar = {_commands}
    ENABLE_COMMAND_PALETTE = False  # our own key opens it, from the table
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "help_quit", show=False, system=True)]

    def __init__(
        self, screen: str | None = None, recipe: str | None = None, settings: settings_module.Settings | None = None
    ) -> None:
        self.settings = settings_module.load() if settings is None else settings
        self.session = session.load() if self.settings.screen.restore_session else session.Session()
        self.rooms = [room for room in keys.ROOMS if _exists(room.name)]
        names = [room.name for room in self.rooms]
        wanted = screen or self.session.screen
        self._first = wanted if wanted in names else names[0]
        # Textual reads both in its constructor. The frame is painted first, whatever the first screen needs to import.
        vars(self).update(
            MODES={_FRAME: partial(Frame, self._first), **{name: partial(self._make, name) for name in names}},
            DEFAULT_MODE=_FRAME,
        )
        self._status = ""
        self.last_problem = ""
        self._recipe = recipe
        self._begun = False
        self._news = RunNews()
        self._looks = 0
        self.keeper = Keeper(self)
        super().__init__()
        self._filters = terminal.mended(self._filters)
        self.apply_settings()

    # Shared state

    @property
    def workspace(self) -> Workspace:
        return self.keeper.now

    def workspace_changed(self) -> None:
        """The keeper has a new snapshot: the screen that is shown hears of it now, the others when they are shown."""
        if isinstance(room := self.room, RoomScreen):
            room.sync_workspace()

    @property
    def room(self) -> Screen[Any]:
        """The chosen screen, whatever dialog is above it."""
        return self.get_screen_stack(self.current_mode)[0]

    @property
    def ready(self) -> bool:
        """The first screen has taken the place of the frame, and its widgets are there."""
        return self.current_mode != _FRAME and isinstance(self.room, RoomScreen) and self.room.is_open

    @property
    def current_room(self) -> str:
        """The name of the chosen screen."""
        return self._first if self.current_mode == _FRAME else self.current_mode

    def open_screens(self) -> list[RoomScreen]:
        """The screens that were visited."""
        return [each for stack in self._screen_stacks.values() for each in stack if isinstance(each, RoomScreen)]

    @property
    def status(self) -> str:
        """What runs now, for the right of the header."""
        return self._status

    @status.setter
    def status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            for header in self.room.query(Header):
                header.redraw()

    def runs_seen(self, views: "Sequence[RunView]") -> None:
        """Somebody looked at all runs: the header and a toast tell what is new."""
        from tuiwb.tui.run_texts import status

        self.status = status(views)
        for sentence, severity in self._news.take(views):
            self.notify(sentence, severity=severity, timeout=8)
            if severity != "information" and self.settings.alarms.bell and self._driver is not None:
                self._driver.write(terminal.attention(sentence))

    def _look_at_runs(self) -> None:
        """Every few seconds, more often while a run is under way; the Runs screen looks for itself."""
        self._looks += 1
        if self.current_room != "runs" and (self._news.active or self._looks % 5 == 1):
            self.start("look at runs", _scan, self.runs_seen, lambda _: None)

    def lines(self) -> "Iterable[Widget]":
        """Further lines under the tabs of every screen."""
        return ()

    # Settings and keys

    def apply_settings(self) -> None:
        """Make the settings in force visible: theme, keys."""
        self.theme = self._theme_in_force
        self.animation_level = "full" if self.settings.screen.animation else "none"
        self._bindings = type(self)._merge_bindings()
        for row in keys.GLOBAL:
            for key in self.keys_of(row.id):
                self._bindings.bind(normal(key), f"do('{row.action}')", show=False, priority=key == "ctrl+q")
        for screen in self.open_screens():
            screen.bind_keys()
            if screen.is_open:
                screen.settings_changed()
                screen.refresh_frame()

    @property
    def _theme_in_force(self) -> str:
        """The theme of the settings; on a terminal of 16 colours, where blends cannot be read, our two give way to
        those in its own colours."""
        wanted = self.settings.screen.theme
        known = wanted if wanted in self.available_themes else "textual-dark"
        few = self.console.color_system == "standard"
        return {"textual-dark": "ansi-dark", "textual-light": "ansi-light"}.get(known, known) if few else known

    def keys_of(self, id_: str) -> tuple[str, ...]:
        """The keys of an action in force."""
        row = next((row for row in keys.rows(id_.partition(".")[0]) if row.id == id_), None)
        return keys.keys_of(row, self.settings.keys) if row else ()

    def save_setting(self, key: str, value: object) -> None:
        """Write one setting and put it in force; a fault becomes a toast."""

        def saved(settings: settings_module.Settings) -> None:
            before, self.settings = self.settings, settings
            if settings.screen.mouse != before.screen.mouse:
                from tuiwb.tui import actions

                actions.set_mouse(self, settings.screen.mouse)
            self.apply_settings()
            self._tell_key_faults()

        def write(_: object) -> settings_module.Settings:
            settings_module.save(key, value)
            return settings_module.load()

        self.start(f"save {key}", write, saved)

    def _tell_key_faults(self) -> None:
        for sentence in keys.faults(self.settings.keys) if self.settings.keys else ():
            self.problem(sentence)

    def _watch_theme(self, theme_name: str) -> None:
        super()._watch_theme(theme_name)
        if self.is_running and theme_name != self._theme_in_force:
            self.save_setting("screen.theme", theme_name)

    # Going from screen to screen

    def _make(self, name: str) -> RoomScreen:
        module = importlib.import_module(f"tuiwb.tui.screens.{name}")
        made = getattr(module, f"{name.title()}Screen")()
        assert isinstance(made, RoomScreen)
        made.bind_keys()
        return made

    def go(self, name: str) -> None:
        """Show a screen."""
        if name == self.current_mode:
            return
        before = self.room
        if isinstance(before, RoomScreen):
            self._remember_layout(before)
            before.leave()
        self.switch_mode(name)
        if isinstance(after := self.room, RoomScreen):
            after.enter()

    def action_go(self, name: str) -> None:
        self.go(name)

    async def action_do(self, action: str) -> None:
        """Run a global action of the table."""
        if action in self.MODES:
            self.go(action)
        elif action not in [room.name for room in keys.ROOMS]:
            from tuiwb.tui import actions

            actions.run(self, action)

    async def action_quit(self) -> None:
        await self.action_do("quit")

    # Life

    def begin(self) -> None:
        """The frame is on the screen: now everything else, once."""
        if self._begun:
            return
        self._begun = True
        log.start()
        if self.current_mode == _FRAME:
            self.go(self._first)
        self.remove_mode(_FRAME)
        if self._recipe:
            self.keeper.open(self._recipe)
        elif self.session.recipe_text:
            path = Path(self.session.recipe_path) if self.session.recipe_path else None
            self.keeper.restore(self.session.recipe_text, self.session.recipe, path)
        elif self.session.recipe:
            self.keeper.open(self.session.recipe)
        self.keeper.select_run(self.session.run_id)
        if (wanted := self.settings.screen.theme) not in self.available_themes:
            self.problem(f"screen.theme: there is no theme `{wanted}`; {self.theme} is used")
        self._tell_key_faults()
        hangup.begin(self)
        self.room.call_after_refresh(self._settle)
        self.set_interval(max(self.settings.screen.refresh_s, 2.0), self._look_at_runs)

    def _settle(self) -> None:
        afterwards.freeze()
        names = [room.name for room in self.rooms]
        self.start("import the screens", partial(afterwards.import_screens, names), lambda _: None)

    def _remember_layout(self, room: RoomScreen) -> None:
        if room.is_open and not isinstance(room, Frame):
            self.session.layout[room.ROOM] = room.layout_state()

    def restore_layout(self, room: RoomScreen) -> None:
        """Give a screen that opens what the session remembers of it."""
        if state := self.session.layout.get(room.ROOM):
            room.restore_layout(state)

    def brief(self, room: str, state: dict[str, Any]) -> None:
        """Give a screen what it is to show, now or when it opens."""
        self.session.layout[room] = state
        for screen in self.open_screens():
            if room == screen.ROOM and screen.is_open:
                screen.restore_layout(state)

    def remembered(self) -> session.Remembered | None:
        """What is to be restored next time; None where nothing is to be."""
        if not self.settings.screen.restore_session:
            return None
        if isinstance(room := self.room, RoomScreen):
            self._remember_layout(room)
        return session.Remembered(self.workspace, self.current_room, copy.deepcopy(self.session.layout))

    def save_session(self) -> None:
        """Write what is to be restored next time."""
        if (now := self.remembered()) is not None:
            session.keep(now)

    def leave(self) -> None:
        """End the workbench; what runs in threads is told to stop."""
        self.save_session()
        for host in (self, *self.open_screens()):
            host.cancel_jobs(kept=True)
        self.exit()

    # What Textual asks for

    def copy_to_clipboard(self, text: str) -> None:
        if self.settings.screen.clipboard == "off":
            self.notify("Copying is off (screen.clipboard).", severity="warning")
            return
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > terminal.COPY_LIMIT:
            self.problem(f"{size:,} bytes are too much for a terminal's clipboard ({terminal.COPY_LIMIT:,})")
            return
        self._clipboard = text
        if self._driver is not None:
            self._driver.write(terminal.osc52(text))
        self.notify(f"copied {size:,} bytes", timeout=2)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: Any = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A toast; text from outside is made safe and never parsed."""
        super().notify(gate(message), title=gate(title), severity=severity, timeout=timeout, markup=False)

    def on_notify(self, event: Notify) -> None:
        """What is said once more takes its own place: a key that is held down does not fill the screen."""
        for said in [each for each in self._notifications if each.message == event.notification.message]:
            self._unnotify(said, refresh=False)

    def problem(self, error: TuiwbError | str) -> None:
        """An error for the user: a toast, kept for the `problem` action."""
        self.last_problem = str(error)
        self.notify(self.last_problem, severity="error", timeout=8)

    def _handle_exception(self, error: Exception) -> None:
        """A bug of ours ends the workbench; its traceback goes to the log, not over the user's terminal."""
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()

    @property
    def failure(self) -> Exception | None:
        """The bug that ended the workbench."""
        return self._exception

    def job_failed(self, error: TuiwbError) -> None:
        self.problem(error)


def _exists(name: str) -> bool:
    return importlib.util.find_spec(f"tuiwb.tui.screens.{name}") is not None


def _scan(_: object) -> "list[RunView]":
    from tuiwb import runs

    return runs.scan()


def run(screen: str | None = None, recipe: str | None = None, layout: dict[str, dict[str, Any]] | None = None) -> None:
    """Open the workbench on this terminal and come back when the user leaves it.

    Args:
        layout: by screen, what its `restore_layout` gets in place of what the session remembers.
    """
    bench = Workbench(screen, recipe)
    bench.session.layout.update(layout or {})
    run_bench(bench)


def run_bench(bench: Workbench) -> None:
    """Open this workbench on the terminal.

    Raises:
        Exception: the bug that ended it.
    """
    with terminal.stderr_to_log():
        bench.run(mouse=bench.settings.screen.mouse)
    if bench.failure is not None:
        raise bench.failure
