"""The header of a safetensors file, checked against the size of the file.

Layout (safetensors' own format description): 8 bytes, little-endian, the length N of the header; N bytes of JSON,
`{"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}`; the data, which has no holes.
"""

import json
import os
from pathlib import Path
from typing import Any

from msgspec import Struct

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.models.info import TensorInfo

# What one element takes, in bits: the 4- and 6-bit types are packed.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip

TORCH_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "U8": "uint8", "I8": "int8",
    "I16": "int16", "I32": "int32", "I64": "int64", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "F4": "float4_e2m1fn_x2",
}  # fmt: skip

# The format's own limit; a length beyond it means that this is another kind of file.
MAX_HEADER = 100_000_000


class SafetensorsHeader(Struct, frozen=True):
    tensors: tuple[TensorInfo, ...]
    metadata: dict[str, str]


def read_safetensors(path: Path) -> SafetensorsHeader:
    """Names, shapes and types of a file's tensors; the data is not read.

    Raises:
        InputFault: not a safetensors file, or cut short, or its header contradicts itself.
        EnvironmentFault: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or length > MAX_HEADER:
                raise InputFault("is not a safetensors file", file=path)
            if 8 + length > size:
                raise InputFault(_cut_short(size, 8 + length), file=path)
            text = file.read(length)
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=path) from error
    return parse_header(text, data_bytes=size - 8 - length, path=path)


def parse_header(text: bytes, *, data_bytes: int | None, path: Path | str) -> SafetensorsHeader:
    """The JSON part of a header.

    Args:
        data_bytes: how much data follows it; None where only the header was fetched.
        path: the file, for messages.

    Raises:
        InputFault: as `read_safetensors`.
    """
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputFault("is not a safetensors file (its header is not JSON)", file=path) from error
    if not isinstance(header, dict):
        raise InputFault("is not a safetensors file (its header is not an object)", file=path)
    metadata = header.pop("__metadata__", {})
    tensors = []
    spans = []
    for name, entry in header.items():
        tensor, begin, end = _tensor(name, entry, path)
        tensors.append(tensor)
        spans.append((begin, end))
    _check_spans(spans, data_bytes, path)
    return SafetensorsHeader(tuple(tensors), metadata if isinstance(metadata, dict) else {})


def _tensor(name: str, entry: Any, path: Path | str) -> tuple[TensorInfo, int, int]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise InputFault(f"the header's entry for `{name}` is broken", file=path) from error
    if not isinstance(dtype, str) or dtype not in BITS:
        raise InputFault(f"`{name}` has the type {dtype!r}, which this version does not know", file=path)
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise InputFault(f"the header's entry for `{name}` is broken", file=path)
    tensor = TensorInfo(name, shape, dtype, end - begin)
    if tensor.nbytes != (tensor.elements * BITS[dtype] + 7) // 8:
        raise InputFault(f"`{name}` is given {tensor.nbytes} bytes, which is not its shape times its type", file=path)
    return tensor, begin, end


def _check_spans(spans: list[tuple[int, int]], data_bytes: int | None, path: Path | str) -> None:
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise InputFault("the header's offsets overlap or leave a hole", file=path)
        at = end
    if data_bytes is not None and data_bytes < at:
        raise InputFault(_cut_short(data_bytes, at), file=path)
    if data_bytes is not None and data_bytes > at:
        raise InputFault(f"has {data_bytes - at:,} bytes more than its header accounts for", file=path)


def _cut_short(there: int, wanted: int) -> str:
    return f"is cut short: {there:,} of {wanted:,} bytes are there; copy or download it again"
