"""The engines' side of the connection to their client."""

import os
import queue
import socket
import threading

from tuiwb.chat import protocol
from tuiwb.chat.protocol import AddLane, Ask, Cancel


class Link:
    """The connection to the client: events go out, questions are queued, cancellations are seen at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self.requests: queue.Queue[Ask | AddLane] = queue.Queue()
        self.cancelled: set[int] = set()
        threading.Thread(target=self._read, name="link", daemon=True).start()

    def send(self, event: protocol.Event) -> None:
        with self._sending:
            self._connection.sendall(protocol.encode(event) + b"\n")

    def _read(self) -> None:
        try:
            with self._connection.makefile("rb") as lines:
                for line in lines:
                    request = protocol.decode_request(line)
                    if isinstance(request, Cancel):
                        self.cancelled.add(request.id)
                    else:
                        self.requests.put(request)
        except OSError:
            pass
        # The client is gone. Generation may be deep inside a kernel, and nothing here is worth saving.
        os._exit(0)
