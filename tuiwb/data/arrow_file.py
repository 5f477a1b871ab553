"""Where the record batches of an arrow file are, and the rows of one; the file format and the stream format.

Batches are read, not mapped: a file that becomes shorter while it is mapped ends the process that looks at it.

Source: https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format; a message's metadata is a
flatbuffer (https://flatbuffers.dev/internals).
"""

import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

FRAME = b"ARROW1"
"""What the file format begins and ends with; the stream format has no frame."""

SHORTER = "the file has become shorter since it was opened"

_HEADER = 4 << 10
"""Bytes; enough for what comes before a batch's values, as a rule."""

_CONTINUES = 0xFFFFFFFF
_OF_A_BATCH, _OF_A_DICTIONARY = 3, 2


class Batch(NamedTuple):
    """A record batch: where its message is, and how many rows it holds."""

    start: int
    size: int
    rows: int


def schema_of(path: Path) -> Any:
    """The arrow schema.

    Raises:
        OSError, ValueError: this is no readable arrow file.
    """
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        return _reader(file).schema


def mapped(path: Path) -> Any:
    """The whole file as a table in memory that is the file's own: its values are read when they are looked at.

    Raises:
        OSError, ValueError: this is no readable arrow file.
    """
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        return _reader(file).read_all()


def _reader(file: Any) -> Any:
    """pyarrow's reader of the format that an open file has."""
    import pyarrow as pa

    framed = file.read(len(FRAME)) == FRAME
    file.seek(0)
    return (pa.ipc.open_file if framed else pa.ipc.open_stream)(file)


def batches(handle: int) -> list[Batch] | None:
    """The batches of an open file; None where some of them are told by dictionaries, which are messages of their own.

    Raises:
        OSError, ValueError: this is no readable arrow file, or one that was cut off.
    """
    end = os.fstat(handle).st_size
    at = 8 if os.pread(handle, len(FRAME), 0) == FRAME else 0
    found: list[Batch] = []
    try:
        while at + 8 <= end:
            head = os.pread(handle, _HEADER, at)
            first, second = struct.unpack_from("<II", head)
            before, size = (8, second) if first == _CONTINUES else (4, first)  # as it was before arrow 0.15
            if not size:
                break
            if before + size > len(head):
                head = os.pread(handle, before + size, at)
            kind, rows, body = _message(head[before:])
            if kind == _OF_A_DICTIONARY:
                return None
            whole = before + size + body
            if body < 0 or rows < 0:
                raise ValueError("a message is damaged")
            if at + whole > end:
                raise ValueError("its end is missing")
            if kind == _OF_A_BATCH:
                found.append(Batch(at, whole, rows))
            at += whole
    except (struct.error, IndexError) as error:
        raise ValueError("a message is damaged") from error
    return found


def read(handle: int, batch: Batch, schema: Any) -> Any:
    """The rows of a batch as an arrow record batch.

    Raises:
        ValueError: they cannot be decoded, or the file has become shorter.
        OSError: they cannot be read.
    """
    import pyarrow as pa

    data = os.pread(handle, batch.size, batch.start)
    if len(data) < batch.size:
        raise ValueError(SHORTER)
    found = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
    found.validate(full=True)  # a damaged place of a text would be looked up, and end the process
    return found


def _message(data: bytes) -> tuple[int, int, int]:
    """What a message is, how many rows it holds, and the bytes of its body."""
    (table,) = struct.unpack_from("<I", data)
    kind, header, body = (_field(data, table, number) for number in (1, 2, 3))
    inner = header + struct.unpack_from("<I", data, header)[0]
    rows = _field(data, inner, 0)
    return (
        data[kind] if kind else 0,
        struct.unpack_from("<q", data, rows)[0] if rows else 0,
        struct.unpack_from("<q", data, body)[0] if body else 0,
    )


def _field(data: bytes, table: int, number: int) -> int:
    """The place of a field of a table; 0 where it has its default."""
    description = table - struct.unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", data, description)[0]:
        return 0
    (offset,) = struct.unpack_from("<H", data, description + slot)
    return table + offset if offset else 0
