"""Rows corrected, judged, tagged and compared on the Data screen; the journal beside the source keeps it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tuiwb.base.tasks import Task
from tuiwb.base.text import gate, gate_line

if TYPE_CHECKING:
    from tuiwb.data import View
    from tuiwb.data.journal import Change, Mark, Verdict
    from tuiwb.tui.screens.data import DataScreen

_LONGEST = 200_000
"""Characters of a row that can be edited in a text field."""

_STARS = [("none", ""), ("1", "useless"), ("2", "poor"), ("3", "usable"), ("4", "good"), ("5", "as it should be")]


def reason(view: "View", action: str) -> str | None:
    """Why a change cannot be made now."""
    journal = view.journal
    if action == "undo" and (journal is None or journal.last is None):
        return "Nothing was changed by hand."
    if action == "redo" and (journal is None or journal.next is None):
        return "Nothing was taken back."
    return None


def judge(screen: "DataScreen", what: "Verdict") -> None:
    """Accept or reject the row, and go to the next one; the same key again takes it back and stays."""
    from tuiwb.data import journal

    view, row = screen.view, screen.row
    if view is None or row is None:
        return
    mark = view.mark(row)
    again = mark is not None and mark.verdict == what
    _change(screen, row, journal.verdict(what), step=0 if again else 1)


def ask_rating(screen: "DataScreen") -> None:
    def chosen(position: int) -> None:
        from tuiwb.data import journal

        if row is not None:
            _change(screen, row, journal.rating(position or None))

    row = screen.row
    mark = screen.view.mark(row) if screen.view and row is not None else None
    screen.choose("Rate the row", _STARS, chosen, current=(mark.rating or 0) if mark else 0)


def ask_tags(screen: "DataScreen") -> None:
    def typed(text: str) -> None:
        from tuiwb.data import journal

        if row is not None:
            _change(screen, row, journal.tags(tuple(name.strip() for name in text.split(","))))

    row = screen.row
    mark = screen.view.mark(row) if screen.view and row is not None else None
    screen.ask("Tags", typed, value=", ".join(mark.tags) if mark else "", hint="names with commas between them")


def edit(screen: "DataScreen") -> None:
    """Correct the row as JSON."""
    view, row = screen.view, screen.row
    if view is None or row is None:
        return

    def read(_: Task) -> str:
        import orjson

        found = view.row(row)
        if found.fault:
            return view.raw(row, _LONGEST + 1).decode("utf-8", "replace")
        options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(found.value, default=str, option=options).decode("utf-8", "replace")

    def show(text: str) -> None:
        if len(text) > _LONGEST:
            screen.problem(f"row {row:,} is too long for a text field; correct it with `tuiwb data edit --set`")
            return
        screen.app.push_screen(RowEditor(f"Row {row:,}", text), corrected)

    def corrected(value: dict[str, Any] | None) -> None:
        from tuiwb.data import edits

        if value is not None:
            _run(screen, lambda: edits.correct(view, row, value))

    screen.start("edit", read, show)


def undo(screen: "DataScreen") -> None:
    _take_back(screen, again=False)


def redo(screen: "DataScreen") -> None:
    _take_back(screen, again=True)


def compare(screen: "DataScreen") -> None:
    """The first press remembers the row; the next, on another one, shows both answers."""
    view, row = screen.view, screen.row
    if view is None or row is None:
        return
    first, screen.compared = screen.compared, None
    if first is None or first[0] is not view or first[1] == row:
        screen.compared = (view, row)
        screen.notify(f"Row {row:,} is one answer. Go to the other one with the same prompt and press the key again.")
        return
    other = first[1]

    def read(_: Task) -> tuple[str, str, str]:
        from tuiwb.data import edits

        pair = edits.pair_of(view, other, row)
        return _said(pair["prompt"]), _said(pair["chosen"]), _said(pair["rejected"])

    def chosen(position: int | None) -> None:
        from tuiwb.data import edits

        if position is not None:
            better, worse = (other, row) if position == 0 else (row, other)
            _run(screen, lambda: edits.prefer(view, better, worse))

    def show(texts: tuple[str, str, str]) -> None:
        screen.app.push_screen(Compare(other, row, *texts), chosen)

    screen.start("compare", read, show)


def _said(turns: Any) -> str:
    return turns if isinstance(turns, str) else "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _change(screen: "DataScreen", row: int, make: "Callable[[Mark], Mark]", step: int = 0) -> None:
    from tuiwb.data import edits

    view = screen.view
    assert view is not None
    _run(screen, lambda: edits.change(view, row, make), step)


def _take_back(screen: "DataScreen", *, again: bool) -> None:
    view = screen.view
    journal = view.journal if view else None
    if journal is None:
        return

    def done(change: "Change | None") -> None:
        _made(screen, change, "Again: " if again else "Taken back: ")
        if change is not None and view is screen.view:
            screen.go(change.row)

    screen.start("change", lambda _: journal.redo() if again else journal.undo(), done)


def _run(screen: "DataScreen", change: "Callable[[], Change | None]", step: int = 0) -> None:
    """Write a change in a thread; then show it, and go so many rows on."""
    view = screen.view

    def done(made: "Change | None") -> None:
        if view is screen.view:
            _made(screen, made, "")
            if step:
                screen.move(step)

    screen.start("change", lambda _: change(), done)


def _made(screen: "DataScreen", change: "Change | None", how: str) -> None:
    view = screen.view
    if change is None or view is None or view.journal is None:
        return
    screen.marked(change.row)
    said = f"{how}{change.words}."
    if len(view.journal) == 1 and not how:
        said += f" Kept in {gate_line(str(view.journal.path))}; the file itself stays as it is."
    screen.notify(said[0].upper() + said[1:], timeout=3)
    _into_recipe(screen, view)


def _into_recipe(screen: "DataScreen", view: "View") -> None:
    """The open recipe learns from the rows as they were edited."""
    import msgspec

    recipe = screen.workspace.recipe
    entries = tuple(getattr(recipe, "datasets", None) or ())
    assert view.journal is not None
    if not any(entry.path == str(view.path) and entry.journal is None for entry in entries):
        return
    changed = tuple(
        msgspec.structs.replace(entry, journal=str(view.journal.path))
        if entry.path == str(view.path) and entry.journal is None
        else entry
        for entry in entries
    )
    screen.bench.keeper.change(msgspec.structs.replace(recipe, datasets=changed))
    screen.notify("The open recipe learns from the rows as they are edited (journal).")


class RowEditor(ModalScreen[dict[str, Any] | None]):
    """A row as JSON to be corrected; its value, or None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [("ctrl+s", "keep"), ("escape", "leave")]
    DEFAULT_CSS = """
    RowEditor {
        align: center middle;
        & TextArea { height: 1fr; border: none; padding: 0; }
    }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text
        self._warned = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(gate_line(self._title))
            # Characters that would move the cursor stand in JSON as escapes; the rest of the invisible ones is kept.
            area = TextArea(_escaped(self._text), show_line_numbers=False, tab_behavior="focus")
            area.cursor_blink = False
            yield area
            yield Static(Content.styled("ctrl+s: keep   esc: leave it as it was", "dim"), classes="detail")

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()

    def action_keep(self) -> None:
        import orjson

        try:
            value = orjson.loads(self.query_one(TextArea).text)
        except orjson.JSONDecodeError as error:
            self._say(f"This is not valid JSON: {error}", "$text-error")
            self.query_one(TextArea).move_cursor((error.lineno - 1, max(error.colno - 1, 0)))
            return
        if not isinstance(value, dict):
            self._say('A row is an object: {"column": "value"}', "$text-error")
            return
        self.dismiss(value)

    def action_leave(self) -> None:
        if self.query_one(TextArea).text != _escaped(self._text) and not self._warned:
            self._warned = True
            self._say("esc again gives up the changes   ctrl+s: keep", "$text-warning")
            return
        self.dismiss(None)

    def _say(self, text: str, style: str) -> None:
        self.query_one(".detail", Static).update(Content.styled(gate_line(text), style))


def _escaped(text: str) -> str:
    """JSON in which every character that is not shown as itself is an escape, so that editing keeps it."""
    kept = []
    for character in text:
        if character in "\n" or gate(character) == character:
            kept.append(character)
        else:
            code = character.encode("utf-16-be", "surrogatepass").hex()
            kept.append("".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4)))
    return "".join(kept)


class Compare(ModalScreen[int | None]):
    """Two answers to one prompt: 0 when the first is better, 1 when the second is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("1,left", "better(0)"),
        ("2,right", "better(1)"),
        ("j,down", "scroll(2)"),
        ("k,up", "scroll(-2)"),
        ("escape,q", "leave"),
    ]
    DEFAULT_CSS = """
    Compare {
        align: center middle;
        & .prompt { height: auto; max-height: 30%; }
        & Horizontal { height: 1fr; }
        & .answer { width: 1fr; border: round $foreground 40%; padding: 0 1; }
    }
    """

    def __init__(self, first: int, second: int, prompt: str, one: str, two: str) -> None:
        super().__init__()
        self._rows, self._prompt, self._answers = (first, second), prompt, (one, two)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Which answer is better?"
            with VerticalScroll(classes="prompt", can_focus=False):
                yield Static(Content.styled(gate(self._prompt[:20_000]), "dim"))
            with Horizontal():
                for number, (row, text) in enumerate(zip(self._rows, self._answers, strict=True)):
                    with VerticalScroll(classes="answer", can_focus=False) as side:
                        side.border_title = f"{number + 1}: row {row:,}"
                        yield Static(Content(gate(text[:60_000])))
            hint = "1: the first is better   2: the second is better   j k: scroll   esc: neither"
            yield Static(Content.styled(hint, "dim"), classes="detail")

    def action_better(self, which: int) -> None:
        self.dismiss(which)

    def action_scroll(self, by: int) -> None:
        for side in self.query(".answer").results(VerticalScroll):
            side.scroll_relative(y=by, animate=False)

    def action_leave(self) -> None:
        self.dismiss(None)
