"""The Chat screen: talk to a model, or to what a run trained with its base beside it."""

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from tuiwb.base.errors import TuiwbError
from tuiwb.base.text import gate_line
from tuiwb.chat.protocol import Sampling
from tuiwb.chat.session import MOST_LANES, Chat
from tuiwb.chat.target import Target
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.screens.chat_judge import JUDGING, JudgeActions
from tuiwb.tui.screens.chat_past import PastActions
from tuiwb.tui.screens.chat_whom import NEWER_S, WhomActions
from tuiwb.tui.widgets.chat_lane import LaneView
from tuiwb.tui.widgets.frame import Empty, Pane
from tuiwb.tui.widgets.markdown import warm_up
from tuiwb.tui.widgets.prompt import Prompt

REFRESH_S = 0.118
"""Between two looks at what the engine said: eight a second are smooth for reading, and light on a slow link."""


class ChatScreen(WhomActions, PastActions, JudgeActions, RoomScreen):
    ROOM: ClassVar[str] = "chat"
    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        self.chat: Chat | None = None
        self._whom: dict[str, Any] = {}
        self._side = True
        self._sampling = Sampling()
        self._system: str | None = None
        self._columns: list[tuple[str, str]] = []
        self.current = ""
        self._drawing = False
        self._said = Content()
        self._hinted: tuple[bool, int] | None = None

    def compose_body(self) -> ComposeResult:
        yield Empty("Nobody to talk to yet.", "o: choose a run or a model", id="nobody")
        yield Horizontal(id="lanes")
        prompt = Prompt(id="prompt", show_line_numbers=False, soft_wrap=True, compact=True)
        prompt.cursor_blink = False
        yield Pane(prompt, title="You", note="enter: send   ctrl+j: new line   esc: leave", id="ask")

    def opened(self) -> None:
        self.set_class(True, "-nobody")
        self.start("warm up", lambda _: warm_up(), lambda _: None)
        self.every(REFRESH_S, self._look)
        self.every(NEWER_S, self.look_for_newer)

    # Whom to talk to

    def layout_state(self) -> dict[str, Any]:
        return {
            "side": self._side,
            "system": self._system,
            "sampling": msgspec.to_builtins(self._sampling),
            **{key: value for key, value in self._whom.items() if key != "start"},
        }

    def on_resize(self) -> None:
        if self.is_open:
            self.call_after_refresh(self._say)

    def restore_layout(self, state: dict[str, Any]) -> None:
        self._side = bool(state.get("side", True))
        self._system = state.get("system") or None
        try:
            self._sampling = msgspec.convert(state.get("sampling") or {}, Sampling)
        except msgspec.ValidationError:
            self._sampling = Sampling()
        if state.get("whom"):
            self._find(
                {
                    key: state[key]
                    for key in ("whom", "template", "adapters", "beside", "draft", "start")
                    if state.get(key)
                },
                quiet=not state.get("start"),
            )

    def _meet(self, target: Target) -> None:
        if self.chat is not None:
            self.chat.stop_engine()
            self.keep()
        self.chat = Chat(target, draft=self._whom.get("draft"))
        self.chat.sampling = self._sampling
        self.chat.set_system(self._system)
        self.chat.asked = tuple(self.chat.lanes)[-MOST_LANES:] if self._side else (target.best.name,)
        self.current, self._newer = target.best.name, None
        self.forget_past()
        self.set_class(False, "-nobody")
        self._arrange()
        self.query_one("#prompt").focus()

    def _arrange(self) -> None:
        """One column for each lane that is asked."""
        assert self.chat is not None
        names, title = self.places(self.chat.asked), self.chat.target.title
        if self.current not in names:
            self.current = names[-1]
        self._columns = [
            (name, title if len(names) == 1 and name == self.chat.target.best.name else self.title_of(name))
            for name in names
        ]
        self._draw()

    # Talking

    def propose(self, question: str) -> bool:
        """Put a question into the text field for the user to send.

        Returns:
            whether it is there: not before somebody was found to talk to.
        """
        if self.chat is None:
            return False
        prompt = self.query_one("#prompt", Prompt)
        prompt.text = question
        prompt.move_cursor(prompt.document.end)
        prompt.focus()
        return True

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        if self.chat is None:
            self.problem("Choose a run or a model first (Escape, then o).")
        elif self.chat.answering:
            self.app.notify("The answer is still coming; Escape stops it.", severity="warning")
        elif event.text.strip():
            text = event.text.strip()
            self.query_one("#prompt", Prompt).text = ""
            if not self.take_rewritten(text):
                self._safely(lambda: self._chat.say(text))

    @property
    def _chat(self) -> Chat:
        assert self.chat is not None
        return self.chat

    def _start(self) -> None:
        self._chat.start()

    def _safely(self, act: Callable[[], None]) -> None:
        try:
            act()
        except TuiwbError as error:
            self.problem(error)
        self._draw()

    def _look(self) -> None:
        if self.chat is not None and self.chat.drain():
            if not self.chat.answering:
                self.keep()
            self._draw()

    def _draw(self) -> None:
        """Draw the chat as it is; where other lanes are to be seen, as soon as they are there."""
        self._say()
        if (now := (self.chat is not None and self.chat.answering, len(self._columns))) != self._hinted:
            self._hinted = now
            self.refresh_hints()
        views = list(self.query(LaneView))
        if self._drawing or [(view.lane, view.title_text) for view in views] == self._columns:
            self._show(views)
        else:
            self._drawing = True
            self.run_worker(self._mount())

    def _show(self, views: list[LaneView]) -> None:
        if self.chat is None or self._drawing:
            return
        for view in views:
            if view.lane in self.chat.lanes:
                lane, loading = self.chat.lanes[view.lane], self.chat.state == "loading"
                view.show(lane, loading=loading, blind=self.is_blind)

    async def _mount(self) -> None:
        """Make the lanes anew. Asked for again meanwhile, it is done again: the latest wins."""
        try:
            columns: list[tuple[str, str]] | None = None
            while columns != self._columns:
                columns = self._columns
                lanes = self.query_one("#lanes", Horizontal)
                await lanes.remove_children()
                await lanes.mount(*(LaneView(name, title) for name, title in columns))
        finally:
            self._drawing = False
        self._show(list(self.query(LaneView)))

    def _say(self) -> None:
        """The line on the border of the text field: whom, and what the engine is doing."""
        pane = self.query_one("#ask", Pane)
        if self.chat is None:
            pane.border_title = Content("You")
            return
        chat = self.chat
        state = {
            "off": "engine off: a question starts it",
            "loading": f"{chat.doing} …",
            "ready": chat.doing,
            "answering": "answering …",
            "dead": f"{chat.doing} — e: start it again",
        }[chat.state]
        colour = {"dead": "$text-error", "loading": "$text-warning", "ready": "$text-success"}.get(
            chat.state, "$text-muted"
        )
        misfit = "  the template does not fit" if chat.target.warnings else ""
        newer = f"  step {self._newer:,} is newer: a" if self._newer is not None else ""
        room = max(self.size.width - 12 - len(misfit + newer), 20)
        title = gate_line(chat.target.title, room // 2)
        said = Content.assemble(
            (f"You to {title}", "bold"),
            (misfit, "$text-warning"),
            (newer, "$text-accent"),
            "  ",
            (gate_line(state, room - len(title) - 8), colour),
        )
        if said != self._said:  # a new title draws the whole pane again
            self._said = pane.border_title = said

    # Actions

    def reason(self, action: str) -> str | None:
        if action in ("whom", "write", "history"):
            return None
        if self.chat is None:
            return "There is nobody to talk to: choose a run or a model first (o)."
        if action == "stop" and not self.chat.answering:
            return "No answer is under way."
        if action in ("again", "new", "edit", "branches", "tokens", "add", "remove", *JUDGING) and self.chat.answering:
            return "An answer is under way; x stops it."
        if (why := self.past_reason(action) or self.judge_reason(action)) is not None:
            return why
        if action == "again" and not next(iter(self.chat.lanes.values())).conversation.turns:
            return "Nothing was asked yet."
        if action == "side" and len(self.chat.lanes) < 2:
            return "This model has no tuned partner: choose a run (o) to see base and tuned side by side."
        if action == "side" and self.chat.answering:
            return "An answer is under way; x stops it."
        return None

    def action_write(self) -> None:
        self.query_one("#prompt").focus()

    def action_release_focus(self) -> None:
        if self.chat is not None and self.chat.state == "answering":
            self.chat.cancel()
        elif self.leave_rewriting():
            self._draw()
        else:
            super().action_release_focus()

    def action_stop(self) -> None:
        self._chat.cancel()

    def action_again(self) -> None:
        self._safely(self._chat.again)

    def action_new(self) -> None:
        def clear() -> None:
            self._safely(self._chat.clear)
            self.query_one("#prompt").focus()

        self.keep()
        self.forget_past()
        clear()

    def action_side(self) -> None:
        self._side = not self._side
        chat = self._chat
        chat.asked = tuple(chat.lanes)[-MOST_LANES:] if self._side else (chat.target.best.name,)
        self._arrange()

    def action_system(self) -> None:
        def take(text: str) -> None:
            self._system = text.strip() or None
            self._chat.set_system(self._system)

        self.ask(
            "System prompt",
            take,
            value=self._system or "",
            hint="Comes before the conversation from the next question on; empty leaves it to the template.",
        )

    def action_sampling(self) -> None:
        from tuiwb.base.fielddocs import field_docs

        docs = field_docs(Sampling)
        names = list(Sampling.__struct_fields__)
        shown = [(f"{name} = {_written(getattr(self._sampling, name))}", docs[name]) for name in names]
        self.choose("Sampling", shown, lambda at: self._change_sampling(names[at], docs[names[at]]))

    def _change_sampling(self, name: str, doc: str) -> None:
        def take(text: str) -> None:
            given: Any = text.strip() or None
            if name == "stop":
                given = [each for each in text.split(",") if each]
            values = msgspec.to_builtins(self._sampling) | {name: given}
            if name != "seed" and values[name] is None:
                values[name] = getattr(Sampling(), name)
            try:
                sampling = msgspec.convert(values, Sampling, strict=False)
            except msgspec.ValidationError:
                self.ask(name, take, value=text, hint=f"`{text}` is not a number")
                return
            if fault := sampling.problem():
                self.ask(name, take, value=text, hint=f"{fault[0]} {fault[1]}")
                return
            self._sampling = self._chat.sampling = sampling
            self.app.notify(f"{name} = {_written(getattr(sampling, name))}")

        self.ask(name, take, value=_written(getattr(self._sampling, name), ""), hint=doc)

    def action_engine(self) -> None:
        chat = self._chat
        if chat.state in ("off", "dead"):
            self._safely(self._start)
        elif chat.answering:
            self.confirm("Stop the engine?", lambda: self._safely(chat.stop_engine), detail="The answer is cut off.")
        else:
            self._safely(chat.stop_engine)

    def action_scroll_up(self) -> None:
        for view in self.query(LaneView):
            view.scroller.scroll_page_up(animate=False)

    def action_scroll_down(self) -> None:
        for view in self.query(LaneView):
            view.scroller.scroll_page_down(animate=False)

    def copyable(self) -> str:
        """The last answers."""
        if self.chat is None:
            return ""
        answers = {
            name: next((turn.content for turn in reversed(lane.conversation.turns) if turn.role == "assistant"), "")
            for name, lane in self.chat.lanes.items()
            if name in self.chat.asked
        }
        if len(answers) == 1:
            return next(iter(answers.values()))
        return "\n\n".join(f"{name}:\n{text}" for name, text in answers.items() if text)

    def on_unmount(self) -> None:
        if self.chat is not None:
            self.chat.stop_engine()
            self.keep()


def _written(value: object, none: str = "drawn anew") -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return none if value is None else f"{value:g}" if isinstance(value, float) else str(value)
