"""A chat with one or more lanes: what was asked, what is being answered, what the engine is doing. No screen in it.

`Chat` takes events from the engine and from endpoints and requests from the user, and holds what a screen or a verb
shows. Everything in it is changed by one thread: events wait in a queue until `drain` is called.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tuiwb.base.errors import UsageFault
from tuiwb.chat.conversation import Conversation
from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import (
    AnyLane,
    Died,
    Done,
    EndpointLane,
    Event,
    Failed,
    Lane,
    Loading,
    Ready,
    Sampling,
    Thinking,
    Token,
)
from tuiwb.chat.remote import Remote
from tuiwb.chat.target import Target

State = Literal["off", "loading", "ready", "answering", "dead"]
MOST_LANES = 4


@dataclass(slots=True)
class LaneChat:
    """One lane's side of the chat.

    Attributes:
        partial: the answer so far, while one is under way; None otherwise.
        thought: characters that were thought before the answer that is under way.
        problem: why the last question was not answered.
    """

    lane: AnyLane
    conversation: Conversation
    partial: str | None = None
    thought: int = 0
    problem: str = ""


class Chat:
    """See the top of this file.

    Args:
        target: whom to talk to.
        names: the lanes that are asked, in order; None asks all.
        draft: as `protocol.Spec.draft`.

    Attributes:
        branches: how the conversations were before something in them was changed, oldest first.
    """

    def __init__(self, target: Target, *, names: tuple[str, ...] | None = None, draft: str | None = None) -> None:
        self.target, self._draft = target, draft
        self.sampling = Sampling()
        self.state: State = "off"
        self.doing = ""
        self.lanes = {lane.name: LaneChat(lane, Conversation()) for lane in target.lanes}
        self.asked = names or tuple(self.lanes)
        self.branches: list[dict[str, Conversation]] = []
        self._engine: Engine | None = None
        self._remote: Remote | None = None
        self._events: deque[tuple[object, Event]] = deque()
        self._numbers = itertools.count(1)
        self._question: int | None = None
        self._waiting: set[str] = set()

    @property
    def answering(self) -> bool:
        return bool(self._waiting)

    @property
    def local(self) -> tuple[Lane, ...]:
        """The lanes that our own engine answers."""
        return tuple(each.lane for each in self.lanes.values() if isinstance(each.lane, Lane))

    def start(self) -> None:
        """Start the engine; what it says arrives through `drain`. Endpoints need none.

        Raises:
            EnvironmentFault: the process cannot be started.
        """
        self.stop_engine()
        self._open_remote()
        if not self.local:
            self.state = "ready"
            return
        self.state, self.doing = "loading", "starting the engine"
        current: list[Engine] = []
        self._engine = Engine(self.local, on_event=self._receiver(current), draft=self._draft)
        current.append(self._engine)

    def stop_engine(self) -> None:
        """End the engine and free what it holds, and end what endpoints are answering; the conversations stay."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        if self._remote is not None:
            self._remote.close()
            self._remote = None
        self._give_up("", set(self._waiting))
        self.state, self.doing = "off", ""

    def add_lane(self, lane: AnyLane) -> None:
        """One more that answers, from the next question on and with the conversation of the lane that is asked first.

        Raises:
            UsageFault: there are as many as fit, or one of this name.
        """
        if len(self.asked) >= MOST_LANES:
            raise UsageFault(f"{MOST_LANES} answer side by side already: take one away first")
        if lane.name in self.lanes:
            if lane.name in self.asked:
                raise UsageFault(f"{lane.name} is there already")
            self.asked = (*self.asked, lane.name)
            return
        past = self.lanes[self.asked[0]].conversation
        self.lanes[lane.name] = LaneChat(lane, past.without_unanswered())
        self.asked = (*self.asked, lane.name)
        if isinstance(lane, EndpointLane):
            if self._remote is not None:
                self._remote.add_lane(lane)
        elif self._engine is not None and self.state != "dead":
            self._engine.add_lane(lane)
            self.state = "loading"

    def hide_lane(self, name: str) -> None:
        """Ask this lane no more. Its conversation stays, and `add_lane` brings it back."""
        if len(self.asked) > 1:
            self.asked = tuple(each for each in self.asked if each != name)

    def say(self, question: str) -> None:
        """Ask every lane that is asked. Starts the engine if there is none.

        Raises:
            EnvironmentFault: the engine cannot be started.
        """
        for name in self.asked:
            lane = self.lanes[name]
            lane.conversation = lane.conversation.without_unanswered().asked(question)
        self._ask()

    def again(self) -> None:
        """Ask the last question again; the answers so far become a branch."""
        self._keep_branch()
        for name in self.asked:
            lane = self.lanes[name]
            lane.conversation = lane.conversation.without_last_answer()
        self._ask()

    def edit(self, turn: int, text: str, *, lane: str | None = None) -> None:
        """Write a turn anew. What the conversations were becomes a branch.

        A question is asked again in every lane, and what followed it is gone; an answer is replaced in its lane, and
        what followed stays away.

        Args:
            turn: its number, from 0.
            lane: whose turn is meant; needed for answers, which differ.
        """
        first = self.lanes[lane or self.asked[0]].conversation
        question = first.turns[turn].role == "user"
        self._keep_branch()
        for name in self.asked if question else (lane or self.asked[0],):
            here = self.lanes[name]
            here.conversation = here.conversation.rewritten(turn, text)
        if question:
            self._ask()

    def branch(self, number: int) -> None:
        """Go back to a branch; what is shown now takes its place."""
        chosen = self.branches.pop(number)
        self._keep_branch()
        for name, conversation in chosen.items():
            if name in self.lanes:
                self.lanes[name].conversation, self.lanes[name].problem = conversation, ""

    def adopt(self, name: str) -> None:
        """Go on from one lane's conversation in all that are asked: so that the next answers have the same past, and
        can be compared."""
        self._keep_branch()
        for other in self.asked:
            self.lanes[other].conversation = self.lanes[name].conversation

    def cancel(self) -> None:
        if self._question is not None:
            if self._engine is not None:
                self._engine.cancel(self._question)
            if self._remote is not None:
                self._remote.cancel(self._question)

    def clear(self) -> None:
        """Begin a new conversation under the same system prompt."""
        self.cancel()
        self._give_up("", set(self._waiting))
        self.branches = []
        for lane in self.lanes.values():
            lane.conversation, lane.problem = Conversation(system=lane.conversation.system), ""

    @property
    def system(self) -> str | None:
        return next(iter(self.lanes.values())).conversation.system

    def set_system(self, text: str | None) -> None:
        """The system prompt from the next question on; None leaves it to the template."""
        for lane in self.lanes.values():
            lane.conversation = replace(lane.conversation, system=text or None)

    def drain(self) -> bool:
        """Take in what the engine and the endpoints said.

        Returns:
            whether anything changed.
        """
        changed = False
        while self._events:
            source, event = self._events.popleft()
            if source is None or source in (self._engine, self._remote):
                self._take(event)
                changed = True
        return changed

    def _receiver(self, current: list[Engine] | list[Remote]) -> Callable[[Event], None]:
        """Puts events into the queue with whom they come from: the last words of one that was closed do not count."""

        def received(event: Event) -> None:
            self._events.append((current[0] if current else None, event))

        return received

    def _open_remote(self) -> Remote:
        if self._remote is None:
            current: list[Remote] = []
            lanes = [each.lane for each in self.lanes.values() if isinstance(each.lane, EndpointLane)]
            self._remote = Remote(lanes, on_event=self._receiver(current))
            current.append(self._remote)
        return self._remote

    def _keep_branch(self) -> None:
        now = {name: lane.conversation for name, lane in self.lanes.items() if lane.conversation.turns}
        if now and now not in self.branches:
            self.branches.append(now)

    def _ask(self) -> None:
        conversations = {}
        for name in self.asked:
            lane = self.lanes[name]
            if lane.conversation.turns:
                lane.partial, lane.thought, lane.problem = "", 0, ""
                conversations[name] = lane.conversation.messages()
        if not conversations:
            return
        local = {name: each for name, each in conversations.items() if isinstance(self.lanes[name].lane, Lane)}
        if self.state == "off" or (local and (self._engine is None or self.state == "dead")):
            self.start()
        for name in conversations:  # starting gave up what was under way
            self.lanes[name].partial = ""
        self._waiting = set(conversations)
        self._question = next(self._numbers)
        if local:
            assert self._engine is not None
            self._engine.ask(local, self.sampling, question=self._question)
        if far := {name: each for name, each in conversations.items() if name not in local}:
            self._open_remote().ask(self._question, far, self.sampling)
        if self.state == "ready":
            self.state = "answering"

    def _take(self, event: Event) -> None:
        match event:
            case Loading():
                self.doing = event.doing
            case Ready():
                self.state, self.doing = ("answering" if self._waiting else "ready"), f"{event.dtype} on {event.device}"
            case Token(id=number) if number == self._question:
                lane = self.lanes[event.lane]
                lane.partial = (lane.partial or "") + event.text
            case Thinking(id=number) if number == self._question:
                self.lanes[event.lane].thought = event.characters
            case Done(id=number) if number == self._question:
                lane = self.lanes[event.lane]
                lane.conversation, lane.partial = lane.conversation.answered(event.text, event), None
                self._ended(event.lane)
            case Failed(id=number) if number is not None and number == self._question:
                self._give_up(event.message, {event.lane} if event.lane else set(self._waiting))
            case Failed(fatal=False, id=None, lane=str(name)) if name in self.lanes:
                self.lanes[name].problem = event.message  # the others can be asked
            case Failed(fatal=False, id=int()) if self.state == "loading":
                self.state, self.doing = "ready", event.message  # a lane that was added cannot be loaded
            case Died():
                mine = {name for name in self._waiting if isinstance(self.lanes[name].lane, Lane)}
                self._give_up(event.message, mine)
                self.state, self.doing = "dead", event.message

    def _ended(self, name: str) -> None:
        self._waiting.discard(name)
        if not self._waiting:
            self._question = None
            if self.state == "answering":
                self.state = "ready"

    def _give_up(self, why: str, names: Iterable[str]) -> None:
        """Nothing more will come from these lanes: what was answered so far is kept."""
        for name in sorted(names):
            lane = self.lanes[name]
            if lane.partial:
                lane.conversation = lane.conversation.answered(lane.partial, None)
            lane.partial, lane.problem = None, why
            self._ended(name)
