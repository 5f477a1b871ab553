"""What both engines do, torch and llama.cpp: load the lanes, say that they are there, answer until the client goes."""

import abc
import time
import traceback
from collections.abc import Iterable

import msgspec

from tuiwb.base.errors import InputFault, RunFault, TuiwbError
from tuiwb.chat.protocol import AddLane, Ask, Failed, Lane, Ready, Spec
from tuiwb.workers.chat_link import Link


class LaneEngine(abc.ABC):
    """See the top of this file.

    Args:
        link: to the client.
    """

    def __init__(self, spec: Spec, link: Link) -> None:
        self._spec, self._link = spec, link
        self._unloaded: dict[str, Failed] = {}

    def run(self) -> None:
        """Never returns: the process ends with the client."""
        started = time.monotonic()
        self.prepare()
        self._ready(started)
        while True:
            request = self._link.requests.get()
            if isinstance(request, AddLane):
                self._add(request)
            else:
                self.answer(self.answerable(request))

    def prepare(self) -> None:
        """Load what the spec names. What cannot be loaded is told, and keeps nothing else from answering.

        Raises:
            Exception: nothing can be loaded.
        """
        for lane in self._spec.lanes:
            try:
                self.load(lane)
            except Exception as error:
                self._unloaded[lane.name] = self.failed(error, lane=lane.name)
                if len(self._unloaded) == len(self._spec.lanes):
                    raise

    def answerable(self, ask: Ask) -> Ask:
        """What is left of a question when the lanes that could not be loaded have said so."""
        for lane in ask.lanes:
            if (fault := self._unloaded.get(lane.lane)) is not None:
                self._link.send(msgspec.structs.replace(fault, id=ask.id))
        return msgspec.structs.replace(ask, lanes=tuple(each for each in ask.lanes if each.lane not in self._unloaded))

    @abc.abstractmethod
    def load(self, lane: Lane) -> None:
        """Load a lane, so that it can be asked."""

    def add(self, lane: Lane) -> None:
        """Load one more lane, beside those that the engine began with."""
        self.load(lane)

    @abc.abstractmethod
    def answer(self, ask: Ask) -> None:
        """Answer a question; what goes wrong is told with `failed`."""

    @abc.abstractmethod
    def where(self) -> tuple[str, str]:
        """The device, and the type of the weights, for people."""

    @abc.abstractmethod
    def names(self) -> Iterable[str]:
        """The lanes that are loaded."""

    @abc.abstractmethod
    def sentence(self, error: Exception) -> str:
        """An error that is nobody's fault, in one sentence."""

    def failed(self, error: Exception, number: int | None = None, lane: str | None = None) -> Failed:
        """Tell the client what could not be done; what is no fault of the input goes into the engine's log too."""
        if isinstance(error, InputFault):
            message = str(error)
        else:
            traceback.print_exception(error)
            message = self.sentence(error)
        code = error.exit_code if isinstance(error, TuiwbError) else RunFault.exit_code
        told = Failed(id=number, lane=lane, message=message, exit_code=code)
        self._link.send(told)
        return told

    def _add(self, request: AddLane) -> None:
        started = time.monotonic()
        try:
            self.add(request.lane)
        except Exception as error:
            self._unloaded[request.lane.name] = self.failed(error, request.id, request.lane.name)
        else:
            self._unloaded.pop(request.lane.name, None)
            self._ready(started, request.id)

    def _ready(self, started: float, number: int | None = None) -> None:
        device, dtype = self.where()
        seconds = time.monotonic() - started
        self._link.send(Ready(lanes=tuple(self.names()), device=device, dtype=dtype, seconds=seconds, id=number))
