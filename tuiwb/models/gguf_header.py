"""The header of a GGUF file: metadata and tensor table, without its data and without decoding its vocabulary.

The `gguf` package's reader turns each token and merge into several numpy arrays, which takes seconds; this one steps
over arrays and decodes one when it is asked for. Layout: the specification in ggml's docs/gguf.md (versions 2 and 3,
little-endian).
"""

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.models.info import TensorInfo

_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from
_SCALARS = {
    0: ("B", 1), 1: ("b", 1), 2: ("H", 2), 3: ("h", 2), 4: ("I", 4), 5: ("i", 4), 6: ("f", 4), 7: ("?", 1),
    10: ("Q", 8), 11: ("q", 8), 12: ("d", 8),
}  # fmt: skip
_FLOAT32, _STRING, _ARRAY = 6, 8, 9
# A header that claims more is a broken or hostile one.
_MOST = 1_000_000
_MOST_DIMENSIONS = 8

# ggml type number: name, elements in a block, bytes of a block (ggml.c `type_traits`, gguf `GGML_QUANT_SIZES`).
GGML_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip

# `general.file_type` (llama.h, `llama_ftype`): what a quantizer was asked for, which tensors mix.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _ArrayAt:
    """An array that was stepped over."""

    kind: int
    count: int
    start: int


@dataclass(frozen=True)
class GgufHeader:
    """A GGUF file's metadata (scalars and strings; arrays through `array`) and tensors.

    `data_start` is where the tensors' data begins, in bytes; tensors are in file order.
    """

    path: Path
    version: int
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    data_start: int
    _arrays: dict[str, _ArrayAt] = field(repr=False)

    def __contains__(self, key: str) -> bool:
        return key in self.metadata or key in self._arrays

    def get(self, key: str, default: Any = None) -> Any:
        """A scalar, string or short array; long arrays (over 4,096 values) only through `array`."""
        if key in self.metadata:
            return self.metadata[key]
        if key in self._arrays and self._arrays[key].count <= 4096:
            return self.array(key)
        return default

    def length(self, key: str) -> int:
        """How many values an array has; 0 where there is none."""
        return self._arrays[key].count if key in self._arrays else 0

    def array(self, key: str) -> list[Any]:
        """Decode an array.

        Raises:
            KeyError: there is none of this name.
            InputFault, EnvironmentFault: as `read_gguf`.
        """
        at = self._arrays[key]
        with _Opened(self.path) as reader:
            reader.at = at.start
            return reader.array(at.kind, at.count)


def read_gguf(path: Path) -> GgufHeader:
    """Metadata and tensor table of a GGUF file, checked against the size of the file.

    Raises:
        InputFault: not a GGUF file, or cut short, or of a version or type this one does not know.
        EnvironmentFault: the file cannot be read.
    """
    with _Opened(path) as reader:
        return reader.header()


class _Opened:
    """The mapped file with a reading position."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0
        self.buffer: mmap.mmap | bytes = b""

    def __enter__(self) -> "_Opened":
        try:
            with self.path.open("rb") as file:
                # An empty file cannot be mapped; it is no GGUF file either.
                empty = file.seek(0, 2) == 0
                self.buffer = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=self.path) from error
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(self.buffer, mmap.mmap):
            self.buffer.close()
        if isinstance(error, struct.error | OverflowError | _Short):
            raise InputFault("is cut short inside its header; copy or download it again", file=self.path) from error

    def header(self) -> GgufHeader:
        if self.buffer[:4] != b"GGUF":
            raise InputFault("is not a GGUF file", file=self.path)
        (version,) = _U32(self.buffer, 4)
        if version not in (2, 3):
            raise InputFault(
                f"is GGUF version {version if version < 1 << 16 else 'in big-endian'}; versions 2 and 3 are read",
                file=self.path,
            )
        (tensor_count,), (key_count,) = _U64(self.buffer, 8), _U64(self.buffer, 16)
        if tensor_count > _MOST or key_count > _MOST:
            raise InputFault("is not a GGUF file (its header claims absurd numbers)", file=self.path)
        self.at = 24
        metadata: dict[str, Any] = {}
        arrays: dict[str, _ArrayAt] = {}
        for _ in range(key_count):
            key = self.string()
            kind = self.u32()
            if kind == _ARRAY:
                arrays[key] = self.skip_array()
            else:
                metadata[key] = self.value(kind)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0:
            raise InputFault(f"names an alignment of {alignment}", file=self.path)
        entries = [self.tensor() for _ in range(tensor_count)]
        data_start = math.ceil(self.at / alignment) * alignment
        self.check_size(entries, data_start)
        tensors = tuple(tensor for tensor, _ in entries)
        return GgufHeader(self.path, version, metadata, tensors, data_start, arrays)

    def check_size(self, entries: list[tuple[TensorInfo, int]], data_start: int) -> None:
        end = max((data_start + offset + tensor.nbytes for tensor, offset in entries), default=0)
        if end > len(self.buffer):
            raise InputFault(
                f"is cut short: {len(self.buffer):,} of {end:,} bytes are there; copy or download it again",
                file=self.path,
            )

    def tensor(self) -> tuple[TensorInfo, int]:
        name = self.string()
        dimensions = self.u32()
        if dimensions > _MOST_DIMENSIONS:
            raise InputFault(f"gives `{name}` {dimensions} dimensions", file=self.path)
        shape = struct.unpack_from(f"<{dimensions}Q", self.buffer, self.at)
        kind, offset = struct.unpack_from("<IQ", self.buffer, self.at + 8 * dimensions)
        self.at += 8 * dimensions + 12
        if kind not in GGML_TYPES:
            raise InputFault(f"`{name}` has the type {kind}, which this version does not know", file=self.path)
        type_name, block, block_bytes = GGML_TYPES[kind]
        elements = math.prod(shape)
        return TensorInfo(name, tuple(reversed(shape)), type_name, elements // block * block_bytes), offset

    def u32(self) -> int:
        (value,) = _U32(self.buffer, self.at)
        self.at += 4
        return int(value)

    def string(self) -> str:
        (length,) = _U64(self.buffer, self.at)
        start = self.at + 8
        self.at = start + length
        if self.at > len(self.buffer):
            raise _Short
        return self.buffer[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        return self.array(kind, 1)[0]

    def array(self, kind: int, count: int) -> list[Any]:
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        letter, size = self.scalar(kind)
        values = list(struct.unpack_from(f"<{count}{letter}", self.buffer, self.at))
        self.at += count * size
        return [_plain_float(value) for value in values] if kind == _FLOAT32 else values

    def skip_array(self) -> _ArrayAt:
        kind = self.u32()
        (count,) = _U64(self.buffer, self.at)
        self.at += 8
        start = self.at
        # Each value takes a byte at least, so a count beyond the file is a lie that must not be walked.
        if count > len(self.buffer):
            raise _Short
        if kind == _STRING:
            buffer, at = self.buffer, start
            for _ in range(count):
                at += 8 + _U64(buffer, at)[0]
            self.at = at
        else:
            self.at += count * self.scalar(kind)[1]
        if self.at > len(self.buffer):
            raise _Short
        return _ArrayAt(kind, count, start)

    def scalar(self, kind: int) -> tuple[str, int]:
        if kind not in _SCALARS:
            raise InputFault(f"holds a metadata value of the type {kind}, which does not exist", file=self.path)
        return _SCALARS[kind]


class _Short(Exception):
    """The file ends before its header does."""


def _plain_float(value: float) -> float:
    """The shortest decimal that is the same 32-bit float: 1e-05 was stored, not 9.999999747378752e-06."""
    if not math.isfinite(value):
        return value
    packed = struct.pack("<f", value)
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        # A shorter text may round up past the largest 32-bit float, which pack refuses.
        if abs(short) <= 3.4028234e38 and struct.pack("<f", short) == packed:
            return short
    return value
