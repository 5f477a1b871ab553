"""Our engine for other programs: the OpenAI API on loopback or a unix socket, behind a token.

Nobody but this machine reaches it, a page in a browser neither: it does not know the token, and a name that resolves to
loopback is no host of ours. What is asked and answered is not logged.
"""

import contextlib
import hmac
import json
import os
import queue
import select
import socket
import socketserver
import stat
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

from tuiwb.base.errors import EnvironmentFault, TuiwbError, reason_of
from tuiwb.chat import openai_api
from tuiwb.chat.broker import Answer, Broker
from tuiwb.chat.openai_api import Question, Reply, RequestError
from tuiwb.chat.protocol import Died, Done, Failed, Token

_LARGEST_BODY = 16 << 20
_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_LOOK_S = 0.5
"""So often a client that waits is looked at: whether it is still there."""


class _Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    block_on_close = False


class TcpServer(_Threads, socketserver.TCPServer):
    """On a port of loopback."""

    allow_reuse_address = True
    broker: Broker
    token: str


class UnixServer(_Threads, socketserver.UnixStreamServer):
    """On a socket that its owner alone can open."""

    broker: Broker
    token: str


Server = TcpServer | UnixServer


def open_server(broker: Broker, token: str, *, port: int = 0, path: Path | None = None) -> Server:
    """A server that listens; `serve_forever` answers.

    Args:
        port: on loopback; 0 takes a free one.
        path: a unix socket instead.

    Raises:
        EnvironmentFault: the port or the path is taken.
    """
    try:
        if path is None:
            server: Server = TcpServer(("127.0.0.1", port), Handler)
        else:
            _take_away(path)
            before = os.umask(0o177)
            try:
                server = UnixServer(str(path), Handler)
            finally:
                os.umask(before)
    except OSError as error:
        where = f"port {port}" if path is None else str(path)
        raise EnvironmentFault(f"cannot listen on {where} ({reason_of(error)})") from error
    server.broker, server.token = broker, token
    return server


def address_of(server: Server) -> str:
    """What clients take as base_url."""
    if isinstance(server, UnixServer):
        return f"unix:{cast(str, server.server_address)}"
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def _take_away(path: Path) -> None:
    """Remove a socket that nobody listens on any more.

    Raises:
        OSError: something else is there.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(17, "there is a file that is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise FileExistsError(17, "somebody listens there")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "tuiwb"
    sys_version = ""
    timeout = 120

    def do_GET(self) -> None:
        self._handled(self._get)

    def do_POST(self) -> None:
        self._handled(self._post)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Conversations are nobody's business."""

    @property
    def _broker(self) -> Broker:
        return cast(Server, self.server).broker

    def _handled(self, act: Any) -> None:
        try:
            self._admit()
            act()
        except RequestError as error:
            self.close_connection = True  # its body may be unread
            self._send(error.status, error.document())
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True

    def _admit(self) -> None:
        """Let in who knows the token.

        Raises:
            RequestError: somebody else.
        """
        host = self.headers.get("Host", "").lower()
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
        if isinstance(self.server, TcpServer) and name not in _HOSTS:
            raise RequestError(403, "this server is called localhost")
        if self.path == "/health":
            return
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        token = cast(Server, self.server).token
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise RequestError(401, "the key is not the token of this server", code="invalid_api_key")

    def _get(self) -> None:
        path, lanes = self.path.partition("?")[0], tuple(self._broker.lanes)
        if path == "/health":
            self._send(200, {"status": "ok" if self._broker.ready.is_set() else "loading"})
        elif path == "/v1/models":
            self._send(200, openai_api.models(lanes, int(time.time())))
        elif path.startswith("/v1/models/") and path.removeprefix("/v1/models/") in lanes:
            self._send(200, openai_api.models((path.removeprefix("/v1/models/"),), int(time.time()))["data"][0])
        else:
            raise RequestError(404, f"there is no {path[:80]}")

    def _post(self) -> None:
        if self.path.partition("?")[0] != "/v1/chat/completions":
            raise RequestError(404, f"there is no {self.path[:80]}")
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise RequestError(411, "the length of the body is missing")
        if int(length) > _LARGEST_BODY:
            raise RequestError(413, f"a request has at most {_LARGEST_BODY >> 20} MiB here")
        question = openai_api.question_of(self.rfile.read(int(length)), tuple(self._broker.lanes))
        try:
            number, events = self._broker.ask(question.lane, question.messages, question.sampling)
        except TuiwbError as error:
            raise RequestError(503, str(error)) from None
        try:
            self._answer(question, Reply.to(number, question.lane), self._events(events))
        finally:
            self._broker.cancel(number)  # of an answer that has ended nobody hears

    def _answer(self, question: Question, reply: Reply, events: Iterator[Token | Done]) -> None:
        if not question.stream:
            *_, last = events
            assert isinstance(last, Done)
            self._send(200, reply.whole(last))
            return
        first = next(events)  # what cannot be answered is told before the headers
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._event(reply.chunk({"role": "assistant", "content": ""}))
        event: Token | Done = first
        try:
            while isinstance(event, Token):
                self._event(reply.chunk({"content": event.text}))
                event = next(events)
        except RequestError as error:
            self._event(error.document())  # too late for a status
        else:
            self._event(reply.chunk({}, openai_api.finish_reason(event)))
            if question.include_usage:
                self._event(reply.counted(event))
            self._write(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _events(self, events: "queue.Queue[Answer]") -> Iterator[Token | Done]:
        """The pieces and the end of an answer.

        Raises:
            RequestError: there is none.
            ConnectionResetError: the client has gone meanwhile.
        """
        while True:
            try:
                event = events.get(timeout=_LOOK_S)
            except queue.Empty:
                if self._gone():
                    raise ConnectionResetError from None
                continue
            if isinstance(event, Failed):
                long = "the model's context" in event.message
                raise RequestError(
                    400 if long else 500, event.message, code="context_length_exceeded" if long else None
                )
            if isinstance(event, Died):
                raise RequestError(503, f"{event.message}; ask again, and it is started again")
            yield event
            if isinstance(event, Done):
                return

    def _gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def _event(self, document: dict[str, Any]) -> None:
        self._write(b"data: " + json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n")

    def _write(self, block: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        self.wfile.flush()

    def _send(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)
