"""Prepared examples on disk: token ids and masks that every process of a trainer maps into memory.

A folder of arrays in numpy's own format, and `header.json`, which is written last:

    ids.npy      int32 (tokens,)          all sequences, one after the other
    mask.npy     uint8 (tokens / 8,)      a bit for each token, most significant first: trained or not
    starts.npy   int64 (sequences + 1,)   where each sequence starts in `ids`
    rows.npy     int64 (rows, 2)          number of the source and number of the row in it
    order.npy    int64 (examples,)        which row each example of an epoch is: mixing repeats and leaves out rows
    labels.npy   uint8 (rows,)            whether each answer is a good one; only where answers are judged one by one

A row has one sequence, or `sides` of them side by side (chosen and rejected).
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from tuiwb.base import atomic
from tuiwb.base.errors import EnvironmentFault, reason_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 3
_HEADER = "header.json"
# Room for an array's header, whose length is only known at the end; numpy pads headers to multiples of 64.
_ARRAY_HEADER = 128


@dataclass(frozen=True)
class Prepared:
    """Examples ready to train on.

    Attributes:
        path: the folder.
        fingerprint: names what it was made from.
        sides: names of the sequences that each row has.
        summary: what was read, dropped and cut (see `prepare`).
        ids, starts, order, rows, labels: as in the files; memory-mapped.
    """

    path: Path
    fingerprint: str
    sides: tuple[str, ...]
    summary: Mapping[str, Any]
    ids: "Array"
    starts: "Array"
    order: "Array"
    rows: "Array"
    _mask: "Array"
    labels: "Array | None" = None

    @classmethod
    def open(cls, path: Path) -> "Prepared":
        """Map a prepared folder.

        Raises:
            EnvironmentFault: it is not there, or not whole.
        """
        import numpy as np

        try:
            header = json.loads((path / _HEADER).read_bytes())
            arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in header["shapes"]}
        except OSError as error:
            raise EnvironmentFault(f"prepared data cannot be read ({reason_of(error)})", file=path) from error
        except (ValueError, KeyError, EOFError) as error:
            raise EnvironmentFault("prepared data is damaged; delete this folder and start again", file=path) from error
        if any(list(arrays[name].shape) != shape for name, shape in header["shapes"].items()):
            raise EnvironmentFault("prepared data is damaged; delete this folder and start again", file=path)
        return cls(
            path,
            header["fingerprint"],
            tuple(header["sides"]),
            header["summary"],
            arrays["ids"],
            arrays["starts"],
            arrays["order"],
            arrays["rows"],
            arrays["mask"],
            arrays.get("labels"),
        )

    def __len__(self) -> int:
        """Examples in an epoch."""
        return len(self.order)

    def sequence(self, row: int, side: int = 0) -> "tuple[Array, Array]":
        """Token ids (int32) and mask (bool) of a prepared row."""
        import numpy as np

        number = row * len(self.sides) + side
        start, end = int(self.starts[number]), int(self.starts[number + 1])
        first = start // 8
        bits = np.unpackbits(self._mask[first : (end + 7) // 8])
        return self.ids[start:end], bits[start - first * 8 : end - first * 8].astype(bool)

    def lengths(self, side: int = 0) -> "Array":
        """Tokens of each prepared row, int64 `(rows,)`."""
        import numpy as np

        return np.diff(self.starts)[side :: len(self.sides)]

    def split(self, fraction: float, seed: int) -> "tuple[Array, Array]":
        """Hold out a share of the rows.

        Args:
            fraction: of the rows; at least one row is held out unless it is 0, and at least one stays.

        Returns:
            the rows of an epoch that are trained on (with the mixture's repetitions, in their order), and those held
            out, each once.
        """
        import numpy as np

        unique = np.unique(self.order)
        count = min(max(1, round(len(unique) * fraction)), len(unique) - 1) if fraction else 0
        held = np.sort(np.random.default_rng(seed).permutation(unique)[:count])
        return self.order[~np.isin(self.order, held)], held


class Writer:
    """Writes a prepared folder sequence by sequence, in a folder beside it that takes its name at the end.

    Raises:
        EnvironmentFault: it cannot be written; nothing stays.
    """

    def __init__(self, path: Path, sides: Sequence[str]) -> None:
        self._path = path
        self._sides = tuple(sides)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            self._ids = (self._folder / "ids.npy").open("wb")
            self._mask = (self._folder / "mask.npy").open("wb")
            for file in (self._ids, self._mask):
                file.write(bytes(_ARRAY_HEADER))
        except OSError as error:
            raise _unwritable(path, error) from error
        self._rest: list[Array] = []
        self._rest_length = 0
        self.lengths: list[int] = []
        self.rows: list[tuple[int, int]] = []
        self.labels: list[bool] = []

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ids.close()
        self._mask.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, source: int, row: int, sequences: "Sequence[tuple[Array, Array]]", label: bool | None = None) -> None:
        """One row with the ids and mask of each side, and its label if rows have one."""
        assert len(sequences) == len(self._sides)
        self.rows.append((source, row))
        if label is not None:
            self.labels.append(label)
        try:
            for ids, mask in sequences:
                self.lengths.append(len(ids))
                self._ids.write(ids.astype("<i4").tobytes())
                self._rest.append(mask)
                self._rest_length += len(mask)
            if self._rest_length > 1 << 16:
                self._pack(whole=False)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def finish(self, fingerprint: str, order: "Array", summary: Mapping[str, Any]) -> Prepared:
        """Complete the folder and give it its name. Where another process was faster, its folder is taken."""
        import numpy as np

        try:
            self._pack(whole=True)
            tokens = sum(self.lengths)
            _finish_array(self._ids, "<i4", tokens)
            _finish_array(self._mask, "|u1", (tokens + 7) // 8)
            arrays = {
                "starts": np.concatenate([[0], np.cumsum(np.asarray(self.lengths, dtype=np.int64))]).astype(np.int64),
                "rows": np.asarray(self.rows, dtype=np.int64).reshape(-1, 2),
                "order": np.asarray(order, dtype=np.int64),
            }
            if self.labels:
                arrays["labels"] = np.asarray(self.labels, dtype=np.uint8)
            for name, array in arrays.items():
                with (self._folder / f"{name}.npy").open("wb") as file:
                    np.save(file, array)
                    file.flush()
                    os.fsync(file.fileno())
            shapes = {name: list(array.shape) for name, array in arrays.items()}
            shapes |= {"ids": [tokens], "mask": [(tokens + 7) // 8]}
            header = {
                "version": VERSION,
                "fingerprint": fingerprint,
                "sides": self._sides,
                "shapes": shapes,
                "summary": summary,
            }
            atomic.write_json(self._folder / _HEADER, header, indent=1)
            self._take_name()
        except OSError as error:
            raise _unwritable(self._path, error) from error
        return Prepared.open(self._path)

    def _take_name(self) -> None:
        try:
            self._folder.rename(self._path)
        except OSError:
            if (self._path / _HEADER).exists():
                return
            # Left there by a machine that went down between two writes.
            shutil.rmtree(self._path)
            self._folder.rename(self._path)
        atomic.sync_folder(self._path.parent)

    def _pack(self, *, whole: bool) -> None:
        """Write masks as bits; what does not fill a byte waits for the next sequence."""
        import numpy as np

        bits = np.concatenate(self._rest) if self._rest else np.zeros(0, dtype=bool)
        keep = 0 if whole else len(bits) % 8
        self._mask.write(np.packbits(bits[: len(bits) - keep]).tobytes())
        self._rest = [bits[len(bits) - keep :]]
        self._rest_length = keep


def _finish_array(file: BinaryIO, dtype: str, length: int) -> None:
    """Write the header that says how much came after it (the format is numpy's NEP 1, version 1.0)."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({length},), }}".encode("latin-1")
    body = text.ljust(_ARRAY_HEADER - 11) + b"\n"
    file.seek(0)
    file.write(b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body)
    file.flush()
    os.fsync(file.fileno())


def _unwritable(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"prepared data cannot be written ({reason_of(error)})", file=path)
