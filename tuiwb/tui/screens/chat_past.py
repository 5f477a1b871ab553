"""The Chat screen's past: conversations kept and opened again, turns rewritten, branches, the prompt as tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.chat.protocol import Lane
from tuiwb.chat.session import Chat
from tuiwb.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from tuiwb.tui.screen import RoomScreen as Base
else:
    Base = object

_SHOWN_TOKENS = 4000


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A turn whose text stands in the text field. `correction`: it becomes a row to learn from."""

    turn: int
    lane: str | None
    correction: bool


class PastActions(Base):
    """Part of the Chat screen."""

    chat: Chat | None
    current: str
    _whom: dict[str, Any]
    _rewriting: Rewriting | None = None
    _id = ""
    """Under which the conversation is kept."""
    _kept_as: Any = None

    def past_reason(self, action: str) -> str | None:
        """Why something of this part cannot be done now."""
        assert self.chat is not None
        turns = self.chat.lanes[self.current].conversation.turns
        if action in ("edit", "export") and not turns:
            return "Nothing was said yet."
        if action == "tokens" and not turns and not self.chat.lanes[self.current].conversation.system:
            return "Nothing was said yet: there is no prompt."
        if action == "branches" and not self.chat.branches:
            return "There is one branch: r and E make others."
        if action == "tokens" and not isinstance(self.chat.lanes[self.current].lane, Lane):
            return "An endpoint renders its prompt itself."
        return None

    def forget_past(self) -> None:
        """A new conversation begins."""
        self._id, self._kept_as, self._rewriting = "", None, None

    def keep(self) -> None:
        """Write the conversation to disk, if it changed."""
        from tuiwb.chat import store

        chat = self.chat
        if chat is None:
            return
        now = {name: lane.conversation for name, lane in chat.lanes.items()}
        if not any(each.turns for each in now.values()) or now == self._kept_as:
            return
        self._id = self._id or store.new_id()
        try:
            store.save(
                self._id,
                str(self._whom.get("whom") or chat.target.title),
                now,
                branches=tuple(chat.branches),
                sampling=chat.sampling,
            )
            self._kept_as = now
        except TuiwbError as error:
            self._kept_as = now  # told once, not at every look
            self.problem(error)

    # Rewriting

    def action_edit(self) -> None:
        assert self.chat is not None
        turns = self.chat.lanes[self.current].conversation.turns
        shown = [("you" if turn.role == "user" else self.current, gate_line(turn.content, 60)) for turn in turns]

        def take(at: int) -> None:
            answer = turns[at].role == "assistant"
            self._rewrite(Rewriting(at, self.current if answer else None, correction=False), turns[at].content)

        last = max((at for at, turn in enumerate(turns) if turn.role == "user"), default=0)
        self.choose("Which turn", shown, take, current=last)

    def action_correct(self) -> None:
        assert self.chat is not None
        turns = self.chat.lanes[self.current].conversation.turns
        self._rewrite(Rewriting(len(turns) - 1, self.current, correction=True), turns[-1].content)

    def _rewrite(self, what: Rewriting, text: str) -> None:
        self._rewriting = what
        prompt = self.query_one("#prompt", Prompt)
        prompt.text = text
        prompt.move_cursor(prompt.document.end)
        prompt.focus()
        self.app.notify("enter: take it   ctrl+j: new line   esc: leave it as it was")

    def take_rewritten(self, text: str) -> bool:
        """Take the text field's text for the turn that is rewritten.

        Returns:
            whether one was.
        """
        what, self._rewriting = self._rewriting, None
        if what is None or self.chat is None:
            return False
        if what.correction:
            self.keep_correction(text)
        else:
            try:
                self.chat.edit(what.turn, text, lane=what.lane)
            except TuiwbError as error:
                self.problem(error)
        if what.lane is not None:
            self.set_focus(self.home)  # an answer was written: nothing is asked next, but judged
        self._draw()
        return True

    def leave_rewriting(self) -> bool:
        """Escape: the turn stays as it was.

        Returns:
            whether one was being rewritten.
        """
        if self._rewriting is None:
            return False
        self._rewriting = None
        self.query_one("#prompt", Prompt).text = ""
        return True

    def action_branches(self) -> None:
        assert self.chat is not None
        chat = self.chat
        shown = []
        for number, branch in enumerate(chat.branches, 1):
            turns = branch.get(self.current, next(iter(branch.values()))).turns
            shown.append((f"{number}: {len(turns)} turns", gate_line(turns[-1].content, 60) if turns else ""))

        def take(at: int) -> None:
            chat.branch(at)
            self._draw()

        self.choose("Go back to", shown, take, current=len(shown) - 1)

    # Kept conversations

    def action_history(self) -> None:
        self.keep()
        self.start("history", _history, self._choose_past)

    def _choose_past(self, hits: list[Any]) -> None:
        import time

        from tuiwb.chat import store

        if not hits:
            self.app.notify("No conversation was kept yet.")
            return
        shown = [
            (
                gate_line(hit.saved.title, 50),
                f"{time.strftime('%d %b %H:%M', time.localtime(hit.saved.updated))} · {hit.saved.turns} turns · "
                f"{gate_line(hit.saved.whom, 30)}",
            )
            for hit in hits
        ]
        said = ["\n".join(store.texts(hit.saved)) for hit in hits]
        self.choose("Conversations", shown, lambda at: self._open_past(hits[at].saved), behind=said)

    def _open_past(self, saved: Any) -> None:
        """Show a kept conversation: in the lanes of whom is talked to now, or of whom it was with."""
        chat = self.chat
        if chat is None or not set(saved.lanes) & set(chat.lanes):
            self._after_meeting = saved
            self._find({"whom": saved.whom})
            return
        chat.clear()
        for name, conversation in saved.lanes.items():
            if name in chat.lanes:
                chat.lanes[name].conversation = conversation
        chat.asked = tuple(name for name in chat.lanes if name in saved.lanes) or chat.asked
        chat.branches = list(saved.branches)
        self._id, self._kept_as = saved.id, {name: lane.conversation for name, lane in chat.lanes.items()}
        self._arrange()

    _after_meeting: Any = None

    def open_waiting(self) -> None:
        """Somebody was found to talk to: go on with the conversation that asked for it."""
        saved, self._after_meeting = self._after_meeting, None
        if saved is not None and self.chat is not None and set(saved.lanes) & set(self.chat.lanes):
            self._open_past(saved)

    def action_export(self) -> None:
        self.keep()
        self.ask(
            "Export to",
            self._export,
            value=f"{self._id}.md",
            hint=".md to read, .jsonl as rows of messages, .sharegpt.jsonl as ShareGPT",
        )

    def _export(self, text: str) -> None:
        from tuiwb.base import atomic
        from tuiwb.base.errors import reason_of
        from tuiwb.chat import store

        path = Path(text.strip()).expanduser()
        form: store.Format = "markdown"
        if path.suffix == ".jsonl":
            form = "sharegpt" if path.name.endswith(".sharegpt.jsonl") else "messages"
        if path.exists():
            self.problem(f"{path} is there already: choose another name")
            return
        try:
            atomic.write_text(path, store.export(store.load(self._id), form))
        except TuiwbError as error:
            self.problem(error)
        except OSError as error:
            self.problem(f"{path}: cannot be written ({reason_of(error)})")
        else:
            self.app.notify(f"written to {path}", markup=False)

    # The prompt

    def action_tokens(self) -> None:
        assert self.chat is not None
        lane = self.chat.lanes[self.current]
        conversation = lane.conversation
        spec = lane.lane
        assert isinstance(spec, Lane)

        def work(task: Task) -> Any:
            from tuiwb.chat.prompt import prompt_tokens

            return prompt_tokens(spec, conversation)

        self.start("tokens", work, lambda found: self._show_tokens(found, spec))

    def _show_tokens(self, found: Any, spec: Lane) -> None:
        from tuiwb.tui.dialogs import Reader

        pieces: list[tuple[str, str]] = [
            (f"{len(found.tokens):,} tokens, template {'of the run' if spec.adapter else 'of the model'}\n\n", "bold")
        ]
        for number, (token, text) in enumerate(found.tokens[:_SHOWN_TOKENS]):
            shown = gate_line(text.replace("\n", "⏎")).replace(" ", "·")
            colour = "$text-warning" if token in found.special else ("$text-accent", "$foreground")[number % 2]
            pieces.append((shown, colour))
            if "\n" in text:
                pieces.append(("\n", colour))
        if len(found.tokens) > _SHOWN_TOKENS:
            pieces.append((f"\n… and {len(found.tokens) - _SHOWN_TOKENS:,} more", "dim"))
        self.app.push_screen(Reader("The prompt, token by token", Content.assemble(*pieces)))

    if TYPE_CHECKING:

        def _arrange(self) -> None: ...

        def _draw(self) -> None: ...

        def _find(self, whom: dict[str, Any], *, quiet: bool = False) -> None: ...

        def keep_correction(self, text: str) -> None: ...


def _history(task: Task) -> list[Any]:
    from tuiwb.chat import store

    return store.scan()
