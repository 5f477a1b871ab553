"""The batches of a table that can only be decoded from its beginning: decoded once, and kept in a file without a name,
so that any of them can be read again."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuiwb.base import paths, settings
from tuiwb.data import arrow_file


class Spilled:
    """Record batches by number; as far as one has been asked for they are in the file, the rest is still to come."""

    def __init__(self, schema: Any, batches: Iterator[Any]) -> None:
        """
        Raises:
            OSError: there is no room for the file.
            ValueError: a column is a dictionary, which is written in another way.
        """
        import pyarrow as pa

        if any(_has_dictionary(field.type) for field in schema):
            raise ValueError("a column is a dictionary")
        self._schema = pa.schema([pa.field(field.name, field.type) for field in schema])
        self._batches = batches
        self._places: list[arrow_file.Batch] = []
        self._end = 0
        folder = paths.private_folder(settings.cache_root() / "unpacked")
        self._file, name = tempfile.mkstemp(dir=folder)
        Path(name).unlink()

    def batch(self, number: int) -> Any:
        """
        Raises:
            OSError: the file is full.
            ValueError: there are fewer.
        """
        while len(self._places) <= number:
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError("a row group holds fewer rows than it says")
            self._keep(batch)
            if len(self._places) > number:
                return batch
        return arrow_file.read(self._file, self._places[number], self._schema)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()

    def _keep(self, batch: Any) -> None:
        message = memoryview(batch.serialize())
        rest = message
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._places.append(arrow_file.Batch(self._end, len(message), batch.num_rows))
        self._end += len(message)


def _has_dictionary(kind: Any) -> bool:
    import pyarrow as pa

    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return bool(pa.types.is_dictionary(kind)) or any(_has_dictionary(each) for each in inner)
