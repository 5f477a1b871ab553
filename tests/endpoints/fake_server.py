"""A server that answers as it is told: a function gets the request and writes what it likes to the socket."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Script = Callable[["Request"], None]


@dataclass
class Request:
    """What was asked, and the socket to answer on."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: socket.socket

    def send(self, status: str, kind: str, content: bytes, *more: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}", "Connection: close"]
        self.connection.sendall("\r\n".join([*lines, *more, "", ""]).encode() + content)

    def send_json(self, document: Any, status: str = "200 OK", *more: str) -> None:
        self.send(status, "application/json", json.dumps(document).encode(), *more)

    def stream(self, *blocks: bytes) -> None:
        """A stream that ends when the connection does."""
        self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for block in blocks:
            self.connection.sendall(block)


@dataclass
class FakeServer:
    url: str
    requests: list[Request] = field(default_factory=list)


def event(text: str | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    """One chunk of an answer."""
    delta = {} if text is None else {"content": text}
    document = {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}\n\n'


@contextlib.contextmanager
def serving(script: Script) -> Iterator[FakeServer]:
    """A server on loopback, each connection in a thread of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = FakeServer(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                request = _read(connection)
                server.requests.append(request)
                script(request)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)


def _read(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, path, _ = first.split(" ")
    return Request(method, path, headers, json.loads(body) if body else None, connection)
