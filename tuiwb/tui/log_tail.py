"""A text file that grows, followed by offset."""

from pathlib import Path

_START = 256 * 1024
"""So many bytes before its end a long file is read from."""


class LogTail:
    """Follows a text file by offset; a torn last line waits for its end, and a progress bar's carriage returns leave
    its last state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = -1
        self._rest = b""

    def read(self) -> tuple[list[str], bool]:
        """New lines, and whether they replace what was read before."""
        try:
            size = self._path.stat().st_size
            if size == self._offset:
                return [], False
            fresh = self._offset < 0 or size < self._offset
            if fresh:
                self._offset, self._rest = max(size - _START, 0), b""
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(4 * _START)
        except OSError:
            return [], False
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [_shown(line) for line in whole], fresh


def _shown(line: bytes) -> str:
    states = [state for state in line.split(b"\r") if state]
    return (states[-1] if states else b"").decode("utf-8", "replace")
