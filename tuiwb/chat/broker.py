"""One engine and many askers: each question gets a queue of its own events; an engine that died is started again."""

import itertools
import queue
import threading

from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import Died, Done, Event, Failed, Lane, Ready, Sampling, Token

Answer = Token | Done | Failed | Died
_KEPT = 8


class Broker:
    """See the top of this file.

    Args:
        lanes: what the engine loads.
        draft: as `protocol.Spec.draft`.

    Raises:
        EnvironmentFault: the engine cannot be started.
    """

    def __init__(self, lanes: tuple[Lane, ...], *, draft: str | None = None) -> None:
        self.lanes = {lane.name: lane for lane in lanes}
        self._draft = draft
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._asked: dict[int, queue.Queue[Answer]] = {}
        self.ready = threading.Event()
        self.problem = ""
        self._engine = self._start()

    def ask(
        self, lane: str, messages: list[dict[str, object]], sampling: Sampling
    ) -> tuple[int, "queue.Queue[Answer]"]:
        """Ask one lane.

        Returns:
            the question's number, and where its events come, up to a `Done`, `Failed` or `Died`.

        Raises:
            EnvironmentFault: the engine had died and cannot be started again.
        """
        with self._lock:
            if not self._engine.alive:
                self._engine.close()
                self._engine = self._start()
            number = next(self._numbers)
            events: queue.Queue[Answer] = queue.Queue()
            self._asked[number] = events
            self._engine.ask({lane: messages}, sampling, question=number)
        return number, events

    def cancel(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self._asked.pop(number, None)
        self._engine.cancel(number)

    def close(self) -> None:
        self._engine.close()

    def _start(self) -> Engine:
        self.ready.clear()
        current: list[Engine] = []

        def received(event: Event) -> None:
            self._take(event, current)

        engine = Engine(tuple(self.lanes.values()), on_event=received, kept=_KEPT, draft=self._draft)
        current.append(engine)
        return engine

    def _take(self, event: Event, sender: list[Engine]) -> None:
        match event:
            case Ready():
                self.ready.set()
            case Failed(id=None):
                self.problem = event.message
            case Died():
                self.problem = event.message
                if sender and sender[0] is self._engine:
                    for number in list(self._asked):
                        self._asked.pop(number).put(event)
                self.ready.set()
            case Token(id=number) if (events := self._asked.get(number)) is not None:
                events.put(event)
            case Done(id=number) | Failed(id=int(number)) if (events := self._asked.pop(number, None)) is not None:
                events.put(event)
