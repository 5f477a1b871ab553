"""The client of the chat engine: starts the process, talks to it, notices when it dies.

The engine is `python -m tuiwb.workers.chat FOLDER`. The client listens on a unix socket (0600, in a 0700 folder of the
runtime directory), the engine connects to it, and ends when the connection does: an engine never outlives who asked
for it, however that ended. Events are handed to a callback on a thread of the client; a screen posts them as messages.
"""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from tuiwb.base import paths
from tuiwb.base.errors import EnvironmentFault, reason_of
from tuiwb.base.worker import worker_argv, worker_environment
from tuiwb.chat import protocol
from tuiwb.chat.protocol import AddLane, Ask, Cancel, Died, Event, Failed, Lane, LaneAsk, Request, Sampling, Spec

OnEvent = Callable[[Event], None]
_LONGEST_SOCKET_PATH = 107  # sun_path of unix(7), without its final NUL


class Engine:
    """A running engine. `close` (or leaving a `with` block) ends it.

    Args:
        lanes: what it loads; see `protocol.Lane`.
        on_event: called with every event, in order, on a thread of the client.
        dtype, kept, draft: see `protocol.Spec`.
        module: the worker.

    Raises:
        EnvironmentFault: the process cannot be started.
    """

    def __init__(
        self,
        lanes: tuple[Lane, ...],
        *,
        on_event: OnEvent,
        dtype: str = "auto",
        kept: int = 4,
        draft: str | None = None,
        module: str = "tuiwb.workers.chat",
    ) -> None:
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._sending = threading.Lock()
        self._connection: socket.socket | None = None
        self._waiting: list[Request] = []
        self._closed = False
        self._fatal: Failed | None = None
        self.folder = _engine_folder()
        address = self.folder / "socket"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(address))
            address.chmod(0o600)
            self._listener.listen(1)
            spec = Spec(socket=str(address), lanes=lanes, dtype=dtype, kept=kept, draft=draft)
            (self.folder / "engine.json").write_bytes(msgspec.json.encode(spec))
            self.log = self.folder / "output.log"
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    worker_argv(module, self.folder),
                    env=os.environ | worker_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            self._listener.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise EnvironmentFault(f"the chat engine cannot be started ({reason_of(error)})") from error
        self._reader = threading.Thread(target=self._read, name="chat-engine", daemon=True)
        self._reader.start()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, conversations: dict[str, list[dict[str, object]]], sampling: Sampling, *, question: int | None = None
    ) -> int:
        """Ask each lane with its own messages.

        Args:
            question: the id that the answers carry; None takes the next of ours.

        Returns:
            that id. Questions that arrive before the engine is ready wait for it.
        """
        question = next(self._ids) if question is None else question
        lanes = tuple(LaneAsk(lane=lane, messages=messages) for lane, messages in conversations.items())
        self._send(Ask(id=question, lanes=lanes, sampling=sampling))
        return question

    def add_lane(self, lane: Lane) -> int:
        number = next(self._ids)
        self._send(AddLane(id=number, lane=lane))
        return number

    def cancel(self, question: int) -> None:
        self._send(Cancel(id=question))

    def close(self, timeout_s: float = 5.0) -> None:
        """End the engine and remove its folder. Safe to call twice."""
        self._closed = True
        for end in (self._connection, self._listener):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        if self.alive:
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _send(self, request: Request) -> None:
        with self._sending:
            if self._connection is None:
                self._waiting.append(request)
                return
            # A broken pipe means that the engine has died, which the reading thread tells.
            with contextlib.suppress(OSError):
                self._connection.sendall(protocol.encode(request) + b"\n")

    def _read(self) -> None:
        connection = self._accept()
        if connection is not None:
            with contextlib.suppress(OSError), connection.makefile("rb") as lines:
                for line in lines:
                    if line.endswith(b"\n"):
                        event = protocol.decode_event(line)
                        if isinstance(event, Failed) and event.fatal:
                            self._fatal = event
                        self._on_event(event)
        if not self._closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            if not self._closed:
                fatal = self._fatal or Failed(message=self._last_words())
                self._on_event(Died(message=fatal.message, exit_code=fatal.exit_code))

    def _accept(self) -> socket.socket | None:
        """The engine's connection, or None when its process ended before it came."""
        self._listener.settimeout(0.2)
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                if not self.alive:
                    return None
                continue
            except OSError:
                return None
            connection.settimeout(None)
            with self._sending:
                for request in self._waiting:
                    connection.sendall(protocol.encode(request) + b"\n")
                self._waiting.clear()
                self._connection = connection
            return connection
        return None

    def _last_words(self) -> str:
        """Why the process ended, from its exit status and the last line that it printed."""
        code = self._process.poll()
        how = "ended by itself" if not code else f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        with contextlib.suppress(OSError):
            lines = self.log.read_text("utf-8", "replace").strip().splitlines()
            if lines and code and code > 0:
                return f"the chat engine {how}: {lines[-1]}"
        return f"the chat engine {how}"


def _engine_folder() -> Path:
    """A fresh private folder whose socket path is short enough for the kernel."""
    folder = Path(tempfile.mkdtemp(prefix="engine-", dir=paths.runtime_folder()))
    if len(os.fsencode(folder / "socket")) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="tuiwb-engine-", dir="/tmp"))
    return folder
