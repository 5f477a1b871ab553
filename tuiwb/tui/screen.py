"""The base class of the screens. How a screen plugs in:

1. `tui/keys/<x>.py` holds `KEYS: tuple[Key, ...]` with ids `<x>.<action>`; nothing else is needed for the bindings, the
   footer, `?`, the palette and the user's own keys.
2. `tui/screens/<x>.py` holds `class <X>Screen(RoomScreen)` with `ROOM = "<x>"`, and `<x>.tcss` beside it is loaded by
   itself when it is there. The module is imported at the first visit; import rooms inside functions (in threads), never
   at the top, so that opening the workbench stays fast. The tab appears once the module exists.
3. The screen defines

       def compose_body(self) -> ComposeResult      # Panes; the header and the footer are there already
       def action_<action>(self) -> None            # one for each row of the table
       def reason(self, action) -> str | None       # why it cannot be done now: the key is dim, pressing it says this
       def show_workspace(self, workspace) -> None  # the shared state changed (also called at the first show)
       def opened(self) -> None                     # once, when the widgets are there (instead of on_mount)
       def shown(self) / def left(self) -> None     # another screen was left for this one / this one was left
       def copyable(self) -> str                    # what `y` copies
       def show_all(self) -> None                   # escape in the list: forget a filter
       def layout_state(self) / restore_layout(state)   # what of the layout the session remembers (JSON values)

4. Slow work, which is anything that reads a file or might take 20 ms:

       self.start("plan", lambda task: memory.plan(recipe, model), self._show_plan)        # latest wins

   `_show_plan` runs in the event loop with the result; errors become a toast unless a `failed` is given; see jobs.py.
   `self.every(seconds, function)` ticks only while the screen is shown. Shared state: `self.workspace` (read),
   `self.bench.keeper` (change). Settings: `self.bench.settings`.
5. Text from outside (rows, file names, model output, errors) goes through `base.text.gate` into `Content`, `Text` or a
   widget with `markup=False`, never into markup. Errors: `self.problem(error)`. Dialogs: `confirm`, `ask`, `choose`.
6. Looks: `Pane` with a title around everything; `Empty` where there is nothing yet, saying what to press; `Table`
   (widgets/table.py) for rows in any number; no LoadingIndicator, no animation, no blinking. Layout by the classes
   `-narrow` (under 100 columns), `-normal`, `-wide` (from 150) and `-short` (under 34 rows), `-tall` on the screen.

Tests (tests/tui/pilot.py): `async with bench(screen="plan", size=(80, 24)) as pilot:` then press keys, `await
pilot.until(lambda: ...)` for what follows from work in threads (never sleep), and assert on state and on
`pilot.messages` first, on `pilot.text()` (the screen as plain lines) second; at 80x24 and 120x40.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.containers import Container
from textual.geometry import Size
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget

from tuiwb.base.errors import TuiwbError
from tuiwb.tui import keys
from tuiwb.tui.compositing import Front
from tuiwb.tui.jobs import JobHost
from tuiwb.tui.widgets.frame import MINIMUM, Header, Hints, TooSmall, takes_text
from tuiwb.tui.workspace import Workspace

if TYPE_CHECKING:
    from tuiwb.tui.app import Workbench
    from tuiwb.tui.dialogs import Live

_WIDTHS = ((0, "-tiny"), (MINIMUM[0], "-narrow"), (100, "-normal"), (150, "-wide"))
_HEIGHTS = ((0, "-low"), (MINIMUM[1], "-short"), (34, "-tall"))


class RoomScreen(JobHost, Screen[None]):
    """One of the screens behind the number keys; see the top of this file."""

    ROOM: ClassVar[str]
    AUTO_FOCUS = "*"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        import inspect

        style = Path(inspect.getfile(cls)).with_suffix(".tcss")
        if "CSS_PATH" not in cls.__dict__ and style.is_file():
            cls.CSS_PATH = str(style)
        # Textual calls on_mount of every class, the most derived first: what follows from it would come too early.
        assert "on_mount" not in cls.__dict__, "use opened()"
        super().__init_subclass__(**kwargs)

    def __init__(self) -> None:
        super().__init__()
        self._compositor = Front()
        self._seen: Workspace | None = None
        self._is_open = False
        self._ticks: list[Timer] = []

    # What a screen defines

    def compose_body(self) -> ComposeResult:
        """The widgets between header and footer."""
        raise NotImplementedError

    def reason(self, action: str) -> str | None:
        """Why `action` cannot be done now, as a sentence for the user; None when it can."""
        return None

    def show_workspace(self, workspace: Workspace) -> None:
        """The shared state is new to this screen."""

    def opened(self) -> None:
        """The widgets are there for the first time; comes before the first `show_workspace` and `shown`."""

    def shown(self) -> None:
        """The user came to this screen."""

    def left(self) -> None:
        """The user went to another screen."""

    def settings_changed(self) -> None:
        """The user changed a setting or a key: `self.bench.settings` is new."""

    def show_all(self) -> None:
        """Escape, where nothing was gone into: forget what was searched for."""

    def copyable(self) -> str:
        """What `y` copies when no text is selected; empty when there is nothing."""
        return ""

    def layout_state(self) -> dict[str, Any]:
        """What the session remembers of this screen."""
        return {}

    def restore_layout(self, state: dict[str, Any]) -> None:
        """Bring back what `layout_state` gave, in this session or an earlier one; ignore what no longer fits."""

    # What a screen uses

    @property
    def bench(self) -> "Workbench":
        return cast("Workbench", self.app)

    @property
    def workspace(self) -> Workspace:
        return self.bench.workspace

    def problem(self, error: TuiwbError | str) -> None:
        """Show an error: a toast now, and `!` shows it again, whole and copyable."""
        self.bench.problem(error)

    def confirm(self, question: str, then: Callable[[], None], *, detail: str = "", yes: str = "Yes") -> None:
        """Ask before something is lost; `then` runs only on yes, and the default is no."""
        from tuiwb.tui.dialogs import Confirm

        def answered(answer: bool | None) -> None:
            if answer:
                then()

        self.app.push_screen(Confirm(question, detail, yes), answered)

    def ask(
        self, title: str, then: Callable[[str], None], *, value: str = "", hint: str = "", live: "Live | None" = None
    ) -> None:
        """Ask for a line of text; `then` runs unless the user left.

        Args:
            live: as `Ask` takes it.
        """
        from tuiwb.tui.dialogs import Ask

        def answered(answer: str | None) -> None:
            if answer is not None:
                then(answer)

        self.app.push_screen(Ask(title, value, hint, live), answered)

    def choose(
        self,
        title: str,
        options: Sequence[tuple[str, str]],
        then: Callable[[int], None],
        *,
        current: int = 0,
        behind: Sequence[str] = (),
        other: Callable[[str], None] | None = None,
    ) -> None:
        """Let one of `options` (name, what it is) be chosen; `then` gets its position unless the user left.

        Args:
            behind, other: as `Choose` takes them.
        """
        from tuiwb.tui.dialogs import Choose

        def answered(answer: int | None) -> None:
            if answer is not None:
                then(answer)

        self.app.push_screen(Choose(title, options, current, behind, other), answered)

    def read(self, title: str, text: str) -> None:
        """Show a text to scroll and copy."""
        from tuiwb.tui.dialogs import Reader

        self.app.push_screen(Reader(title, text))

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` now and then, only while this screen is the one that is shown."""
        self._ticks.append(self.set_interval(seconds, function, pause=not self.is_shown))

    @property
    def is_shown(self) -> bool:
        """This screen is the chosen one (a dialog may be above it)."""
        return self.bench.room is self

    @property
    def is_open(self) -> bool:
        """The body's widgets are there."""
        return self._is_open

    def refresh_frame(self) -> None:
        """Draw header and footer again."""
        for line in (*self.query(Header), *self.query(Hints)):
            line.redraw()

    def refresh_hints(self) -> None:
        """What can be done changed: draw the footer again."""
        for hints in self.query(Hints):
            hints.redraw()

    # Machinery

    def compose(self) -> ComposeResult:
        yield Header()
        yield from self.bench.lines()
        with Container(id="body"):
            yield from self.compose_body()
        yield Hints()
        yield TooSmall()

    def bind_keys(self) -> None:
        """Take the keys from the table and from the user's own."""
        keys_in_force = {row: self.bench.keys_of(row.id) for row in keys.rows(self.ROOM)}
        self._bindings = type(self)._merge_bindings()
        for row, bound in keys_in_force.items():
            for key in bound:
                self._bindings.bind(normal(key), f"do('{row.action}')", show=False)
        self._bindings.bind("escape", "release_focus", show=False)

    async def action_do(self, action: str) -> None:
        """Run an action of the table, or say why it cannot be."""
        why = self.reason(action)
        if why is not None:
            self.app.notify(why, severity="warning")
        else:
            await self.app.run_action(action, self)
            self.refresh_hints()

    def action_release_focus(self) -> None:
        """Escape: out of a zoomed pane, then back to the list that the screen begins with, then to all of it."""
        if self.maximized is not None:
            self.minimize()
        elif self.focused is not self.home:
            self.set_focus(self.home)
        else:
            self.show_all()

    @property
    def home(self) -> Widget | None:
        """What has the keys when nothing else was chosen: the first list or text in sight. None where there are only
        fields to type in, which would swallow the keys of the screen."""
        return next((each for each in self.focus_chain if not takes_text(each)), None)

    def on_mount(self) -> None:
        self._is_open = True
        self.bench.restore_layout(self)
        self.opened()
        self.enter()

    def on_descendant_focus(self) -> None:
        self.refresh_hints()

    def on_descendant_blur(self) -> None:
        self.refresh_hints()

    def sync_workspace(self) -> None:
        """Tell the screen about the shared state unless it has seen it."""
        if self._is_open and self._seen is not self.workspace:
            self._seen = self.workspace
            self.show_workspace(self.workspace)
        self.refresh_frame()

    def enter(self) -> None:
        """The screen is the chosen one and its body is there."""
        if not (self._is_open and self.is_shown):
            return
        for tick in self._ticks:
            tick.resume()
        self.sync_workspace()
        self.shown()

    def leave(self) -> None:
        """The app calls this when another screen is chosen."""
        for tick in self._ticks:
            tick.pause()
        self.cancel_jobs()
        if self._is_open:
            self.left()

    def _screen_resized(self, size: Size) -> None:
        # Textual's own breakpoints change the classes after the layout, which draws everything twice, and not at all
        # when a screen of another mode comes back after a resize. All three ways go through here.
        self.update_classes(size_classes(size), update=self.is_attached, animate=False)
        super()._screen_resized(size)

    def _compositor_refresh(self) -> None:
        # Textual renders during a batch too, throws the result away and forgets what was dirty.
        if self.app._batch_count:
            self._repaint_required = True
        else:
            super()._compositor_refresh()

    def job_failed(self, error: TuiwbError) -> None:
        self.problem(error)


class Frame(RoomScreen):
    """What is painted first, before a screen is even imported: the frame around it.

    Args:
        room: the name of the screen that takes its place at once.
    """

    def __init__(self, room: str) -> None:
        super().__init__()
        self.ROOM = room  # type: ignore[misc]

    def compose_body(self) -> ComposeResult:
        yield from ()

    def _compositor_refresh(self) -> None:
        super()._compositor_refresh()
        if not self.app._batch_count:
            self.app.call_later(self.bench.begin)


def size_classes(size: Size) -> dict[str, bool]:
    """Which of the classes for layout (see the top of this file) hold on a terminal of this size."""
    classes: dict[str, bool] = {}
    for cells, steps in ((size.width, _WIDTHS), (size.height, _HEIGHTS)):
        chosen = max(least for least, _ in steps if cells >= least)
        classes |= {name: least == chosen for least, name in steps}
    return classes


def normal(key: str) -> str:
    """A key by the name that Textual uses: `?` is `question_mark`."""
    from textual.keys import _character_to_key

    return _character_to_key(key) if len(key) == 1 else key
