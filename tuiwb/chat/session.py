"""A chat with one or more lanes: what was asked, what is being answered, what the engine is doing. No screen in it.

`Chat` takes events from the engine and requests from the user, and holds what a screen or a verb shows. Everything in
it is changed by one thread: events wait in a queue until `drain` is called.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tuiwb.base.errors import TuiwbError
from tuiwb.chat.conversation import Conversation
from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import Died, Done, Event, Failed, Lane, Loading, Ready, Sampling, Token
from tuiwb.chat.target import Target

State = Literal["off", "loading", "ready", "answering", "dead"]


@dataclass(slots=True)
class LaneChat:
    """One lane's side of the chat.

    Attributes:
        partial: the answer so far, while one is under way; None otherwise.
        problem: why the last question was not answered.
    """

    lane: Lane
    conversation: Conversation
    partial: str | None = None
    problem: str = ""


class Chat:
    """See the top of this file.

    Args:
        target: whom to talk to.
        names: the lanes that are asked, in order; None asks all.
    """

    def __init__(self, target: Target, *, names: tuple[str, ...] | None = None) -> None:
        self.target = target
        self.sampling = Sampling()
        self.state: State = "off"
        self.doing = ""
        self.lanes = {lane.name: LaneChat(lane, Conversation()) for lane in target.lanes}
        self.asked = names or tuple(self.lanes)
        self._engine: Engine | None = None
        self._events: deque[tuple[Engine | None, Event]] = deque()
        self._question: int | None = None
        self._waiting: set[str] = set()

    @property
    def answering(self) -> bool:
        return bool(self._waiting)

    def start(self) -> None:
        """Start the engine; what it says arrives through `drain`.

        Raises:
            EnvironmentFault: the process cannot be started.
        """
        self.stop_engine()
        self.state, self.doing = "loading", "starting the engine"
        events = self._events
        current: list[Engine] = []

        def received(event: Event) -> None:
            events.append((current[0] if current else None, event))

        self._engine = Engine(self.target.lanes, on_event=received)
        current.append(self._engine)

    def stop_engine(self) -> None:
        """End the engine and free what it holds; the conversations stay."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._give_up("")
        self.state, self.doing = "off", ""

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
        """Ask the last question again."""
        for name in self.asked:
            lane = self.lanes[name]
            lane.conversation = lane.conversation.without_last_answer()
        self._ask()

    def cancel(self) -> None:
        if self._engine is not None and self._question is not None:
            self._engine.cancel(self._question)

    def clear(self) -> None:
        """Begin a new conversation under the same system prompt."""
        self.cancel()
        self._give_up("")
        for lane in self.lanes.values():
            lane.conversation, lane.problem = Conversation(system=lane.conversation.system), ""

    @property
    def system(self) -> str | None:
        return next(iter(self.lanes.values())).conversation.system

    def set_system(self, text: str | None) -> None:
        """The system prompt from the next question on; None leaves it to the template."""
        for lane in self.lanes.values():
            lane.conversation = Conversation(system=text or None, turns=lane.conversation.turns)

    def drain(self) -> bool:
        """Take in what the engine said.

        Returns:
            whether anything changed.
        """
        changed = False
        while self._events:
            engine, event = self._events.popleft()
            if engine is None or engine is self._engine:
                self._take(event)
                changed = True
        return changed

    def _ask(self) -> None:
        if self._engine is None or self.state == "dead":
            self.start()
        assert self._engine is not None
        conversations = {}
        for name in self.asked:
            lane = self.lanes[name]
            if lane.conversation.turns:
                lane.partial, lane.problem = "", ""
                conversations[name] = lane.conversation.messages()
        self._waiting = set(conversations)
        if conversations:
            self._question = self._engine.ask(conversations, self.sampling)
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
            case Done(id=number) if number == self._question:
                lane = self.lanes[event.lane]
                lane.conversation, lane.partial = lane.conversation.answered(event.text, event), None
                self._ended(event.lane)
            case Failed(id=number) if number is not None and number == self._question:
                for name in [event.lane] if event.lane else sorted(self._waiting):
                    self.lanes[name].partial, self.lanes[name].problem = None, event.message
                    self._ended(name)
            case Died():
                self._give_up(event.message)
                self.state, self.doing = "dead", event.message

    def _ended(self, name: str) -> None:
        self._waiting.discard(name)
        if not self._waiting:
            self._question = None
            self.state = "ready"

    def _give_up(self, why: str) -> None:
        """Nothing more will come: what was answered so far is kept."""
        for name in self._waiting:
            lane = self.lanes[name]
            if lane.partial:
                lane.conversation = lane.conversation.answered(lane.partial, None)
            lane.partial, lane.problem = None, why
        self._waiting, self._question = set(), None


def answer_once(
    target: Target,
    prompt: str,
    *,
    names: tuple[str, ...],
    system: str | None = None,
    sampling: Sampling | None = None,
    on_text: Callable[[str, str], None] | None = None,
    on_doing: Callable[[str], None] | None = None,
) -> dict[str, Done]:
    """One question to an engine of its own.

    Args:
        names: the lanes to ask.
        on_text: gets (lane, piece) as the answers grow.
        on_doing: gets what the engine does before it answers.

    Returns:
        the answers by lane.

    Raises:
        EnvironmentFault: the engine could not be started.
        TuiwbError: it died, or could not answer.
    """
    import queue

    events: queue.Queue[Event] = queue.Queue()
    answers: dict[str, Done] = {}
    messages: list[dict[str, object]] = [{"role": "user", "content": prompt}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    lanes = tuple(lane for lane in target.lanes if lane.name in names)
    with Engine(lanes, on_event=events.put) as engine:
        engine.ask(dict.fromkeys(names, messages), sampling or Sampling())
        while len(answers) < len(names):
            match event := events.get():
                case Token():
                    if on_text is not None:
                        on_text(event.lane, event.text)
                case Loading():
                    if on_doing is not None:
                        on_doing(event.doing)
                case Done():
                    answers[event.lane] = event
                case Failed() | Died():
                    raise ChatFault(event.message)
                case _:
                    pass
    return {name: answers[name] for name in names}


class ChatFault(TuiwbError):
    """The engine could not answer."""

    exit_code = 5
