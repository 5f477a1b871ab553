"""Server-sent events, as far as chat completions use them (WHATWG HTML, 9.2): the data of each event."""

from collections.abc import Iterator

LONGEST = 8 << 20
"""Bytes of one line: more is no answer but an attack or another protocol."""


class TooLongError(Exception):
    """A line beyond `LONGEST`."""


class Events:
    """Cuts a byte stream into events, however the network cut it before.

    What is left when the stream ends is an event that was never finished, and no event.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[str] = []
        self._after_return = False

    def feed(self, block: bytes) -> Iterator[str]:
        """The data of every event that is complete now.

        Raises:
            TooLongError: a line does not end.
        """
        if self._after_return and block.startswith(b"\n"):
            block = block[1:]
        self._after_return = block.endswith(b"\r")
        self._line += block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        if len(self._line) > LONGEST:
            raise TooLongError
        for line in lines:
            if not line:
                if self._data:
                    yield "\n".join(self._data)
                self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
            elif line.startswith(b"error:"):  # llama.cpp's own field, until 2025
                self._data.append('{"error": ' + line[6:].decode("utf-8", "replace") + "}")

    @property
    def unfinished(self) -> bool:
        """Whether something of an event has come that has no end yet."""
        return bool(self._line or self._data)
