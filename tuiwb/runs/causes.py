"""Why a worker ended, recognised from the end of its output. Text of others: it goes to the screen through the gate."""

import re
from dataclasses import dataclass
from pathlib import Path

_TAIL = 1 << 16
_LINES = 200  # torchrun's own report comes after the tracebacks of its ranks
_FEW_LINES = 8
_TRACEBACK = re.compile(r"(?:\[rank\d+\]: )?Traceback \(most recent call last\)")
_WIDTH = 300


@dataclass(frozen=True, slots=True)
class Cause:
    """What was recognised. `code`: out_of_memory (of a GPU), host_memory, disk_full, cuda, nccl, import, signal
    or error."""

    code: str
    sentence: str


# The first that is found in the text wins, so the more telling ones stand first.
_KNOWN = (
    (
        "out_of_memory",
        "out of GPU memory",
        re.compile(r"OutOfMemoryError|(?:CUDA|HIP) out of memory|CUBLAS_STATUS_ALLOC_FAILED"),
    ),
    ("disk_full", "the disk is full", re.compile(r"No space left on device|Disk quota exceeded")),
    (
        "host_memory",
        "out of host memory",
        re.compile(r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory|^MemoryError\b", re.M),
    ),
    ("import", "", re.compile(r"^(?:ModuleNotFoundError|ImportError): .+|\S*python[\d.]*: No module named .+", re.M)),
    ("cuda", "", re.compile(r"^.*(?:CUDA|HIP) error: .+", re.M)),
    ("nccl", "", re.compile(r"^.*(?:NCCL (?:error|WARN)|ncclUnhandledCudaError|Watchdog caught collective).*", re.M)),
    ("signal", "", re.compile(r"SignalException: Process \d+ got signal: (?:1|2|15)\b")),
)

_ERROR = re.compile(
    r"^(?:\[rank\d+\]: )?(?:[\w.]+\.)?([A-Z]\w*(?:Error|Exception|Fault|Interrupt|Exit))(?:: (.+))?$", re.M
)


def recognise(text: str) -> Cause | None:
    """The cause that a message, or what an interpreter printed at its end, tells of; None if it tells of none."""
    for code, sentence, pattern in _KNOWN:
        if match := pattern.search(text):
            return Cause(code, sentence or _short(match[0]))
    errors = list(_ERROR.finditer(text))
    if not errors:
        return None
    name, message = errors[-1].groups()
    return Cause("error", _short(f"{name}: {message}" if message else name))


def of_output(path: Path, since: int = 0) -> Cause | None:
    """The cause told by output.log.

    Args:
        since: where the attempt's output begins, in bytes.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since, size - _TAIL))
            return recognise(_end_of(file.read(_TAIL).decode("utf-8", "replace")))
    except OSError:
        return None


def _end_of(text: str) -> str:
    """The part of an output that belongs to its end. A warning from long before, which the worker got over, is no
    cause: only tracebacks of the last lines count, and without one the very last lines."""
    lines = text.splitlines()[-_LINES:]
    starts = (number for number, line in enumerate(lines) if _TRACEBACK.match(line))
    return "\n".join(lines[next(starts, max(0, len(lines) - _FEW_LINES)) :])


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
