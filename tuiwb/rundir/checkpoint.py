"""Whether a checkpoint is whole, told from file names, headers and sizes: nothing is unpickled and no weight is read.

Source: transformers `Trainer._save_checkpoint` (trainer_state.json is written last; nothing is fsynced, and a folder
that was cut off looks complete to `get_last_checkpoint`), the safetensors format (8 bytes of header length, JSON header
with data offsets), and the zip layout of torch.save (the directory stands at the end, so a cut file has none).
"""

import json
import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiwb.rundir.documents import read_result
from tuiwb.rundir.layout import PartDir, RunDir

INCOMPLETE = "checkpoint-is-incomplete.txt"
"""The sentinel that transformers leaves in a checkpoint while it writes one on a signal."""

_NAME = re.compile(r"checkpoint-(\d+)")
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
_INDEX = "model.safetensors.index.json"
_FSDP_WEIGHTS, _FSDP_OPTIMIZER = "pytorch_model_fsdp.bin", "optimizer.bin"
_ZIPPED = (
    "optimizer.pt", "scheduler.pt", "scaler.pt", "adapter_model.bin", "pytorch_model.bin", "training_args.bin",
    _FSDP_WEIGHTS, _FSDP_OPTIMIZER,
)  # fmt: skip
_SHARDED = ("pytorch_model_fsdp_0", "optimizer_0")
_RANK = re.compile(r"rng_state(?:_(\d+))?\.pth")
_ZERO_RANK = re.compile(r"zero_pp_rank_(\d+)_mp_rank_\d+_optim_states\.pt$")
_HEADER_LIMIT = 100_000_000  # as the safetensors library has it


@dataclass(frozen=True, slots=True)
class CheckpointVerdict:
    """What was found.

    Attributes:
        valid: every file that is there is whole, and what a model needs is there.
        resumable: optimizer, scheduler and random state are there too, so that training goes on exactly.
        step: optimizer steps, from trainer_state.json; None when unknown.
        problem: one sentence, None when valid.
        bytes: size on disk of all its files.
    """

    path: Path
    valid: bool
    resumable: bool
    step: int | None
    problem: str | None
    bytes: int


class _Broken(Exception):
    pass


def verify_checkpoint(path: Path) -> CheckpointVerdict:
    """Look whether a checkpoint folder is whole.

    Args:
        path: `checkpoint-N`, or the folder of a final model, which needs no trainer_state.json.
    """
    step: int | None = None
    size = 0
    try:
        if not path.is_dir():
            raise _Broken("there is no such folder")
        files = _sizes(path)
        size = sum(files.values())
        if INCOMPLETE in files:
            raise _Broken("it was still being written when the worker ended")
        step = _step(path)
        _weights(path, files)
        for name in _ZIPPED:
            if name in files:
                _zip(path / name)
        ranks = _ranks(path, files)
        sharded = [name for name in _SHARDED if (path / name).is_dir()]
        for name in sharded:
            _distributed(path / name)
        zero = _deepspeed(path, files)
    except _Broken as problem:
        return CheckpointVerdict(path, False, False, step, str(problem), size)
    except OSError as error:
        return CheckpointVerdict(path, False, False, step, f"cannot be read ({error.strerror})", size)
    # FSDP reads its weights back from a file of its own.
    split = _FSDP_OPTIMIZER in files and _FSDP_WEIGHTS in files
    optimizer = "optimizer.pt" in files or split or "optimizer_0" in sharded or zero
    resumable = step is not None and optimizer and "scheduler.pt" in files and ranks > 0
    if _NAME.fullmatch(path.name) and not resumable and (optimizer or ranks or "scheduler.pt" in files):
        # With save_only_model none of the three is written; some of them means that the writing was cut off.
        expected = {"optimizer": optimizer, "scheduler.pt": "scheduler.pt" in files, "rng_state": ranks > 0}
        lacking = [name for name, there in expected.items() if not there]
        return CheckpointVerdict(path, False, False, step, f"{' and '.join(lacking)} missing", size)
    return CheckpointVerdict(path, True, resumable, step, None, size)


def checkpoints(part: PartDir) -> list[Path]:
    """The checkpoint folders of a part, oldest step first, whole or not."""
    try:
        named = [(_NAME.fullmatch(path.name), path) for path in part.path.iterdir()]
    except OSError:
        return []
    return [path for _, path in sorted((int(match[1]), path) for match, path in named if match)]


def newest_valid_checkpoint(run: RunDir) -> CheckpointVerdict | None:
    """The newest whole checkpoint of the run: of its last part that has one, the one with the most steps."""
    for part in reversed(run.parts()):
        for path in reversed(checkpoints(part)):
            if (verdict := verify_checkpoint(path)).valid:
                return verdict
    return None


def resume_point(run: RunDir) -> tuple[PartDir, CheckpointVerdict] | None:
    """Where a new attempt goes on: in the first part that has not finished, from its newest checkpoint that is whole
    and has its optimizer. None if that part begins anew."""
    for part in run.parts():
        if (read_result(part) or {}).get("outcome") == "finished":
            continue
        for path in reversed(checkpoints(part)):
            if (verdict := verify_checkpoint(path)).resumable:
                return part, verdict
        return None
    return None


def quarantine(path: Path) -> Path:
    """Take a broken checkpoint out of the way: `checkpoint-60` becomes `broken-checkpoint-60`, a name that neither
    transformers' search for the last checkpoint nor its deletion of old ones matches.

    Raises:
        OSError: it could not be renamed.
    """
    target = path.with_name(f"broken-{path.name}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"broken-{path.name}.{number}")
    return path.rename(target)


def quarantine_broken(run: RunDir) -> list[tuple[Path, str]]:
    """Quarantine every broken checkpoint of a run that has no process any more.

    Returns:
        the new path and the problem of each.
    """
    moved = []
    for part in run.parts():
        for path in checkpoints(part):
            verdict = verify_checkpoint(path)
            if not verdict.valid:
                try:
                    moved.append((quarantine(path), verdict.problem or ""))
                except OSError:
                    continue
    return moved


def folder_bytes(folder: Path) -> int:
    """Size of all files in and below a folder."""
    return sum(_sizes(folder).values())


def _sizes(folder: Path) -> dict[str, int]:
    """Sizes of all files by their path below the folder."""
    sizes = {}
    for root, _, names in os.walk(folder):
        for name in names:
            file = Path(root, name)
            try:
                status = file.stat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                sizes[str(file.relative_to(folder))] = status.st_size
    return sizes


def _step(path: Path) -> int | None:
    expected = _NAME.fullmatch(path.name)
    state = path / "trainer_state.json"
    if not state.exists():
        if expected:
            raise _Broken("trainer_state.json, which is written last, is missing")
        return None
    step = _json(state).get("global_step")
    if not isinstance(step, int):
        raise _Broken("trainer_state.json does not say its step")
    if expected and step != int(expected[1]):
        raise _Broken(f"trainer_state.json says step {step}")
    return step


def _weights(path: Path, files: dict[str, int]) -> None:
    found = False
    if _INDEX in files:
        shards = set(dict(_json(path / _INDEX).get("weight_map", {})).values())
        for shard in sorted(shards):
            if shard not in files:
                raise _Broken(f"{shard} is missing")
        found = bool(shards)
    for name in files:
        if name.endswith(".safetensors"):
            _safetensors(path / name, files[name])
            found = found or name in _WEIGHTS
    if found or "pytorch_model.bin" in files or "adapter_model.bin" in files or (path / _SHARDED[0]).is_dir():
        return
    raise _Broken("there are no weights in it")


def _safetensors(path: Path, size: int) -> None:
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise _Broken(f"{path.name} is cut off: {size} bytes")
        (length,) = struct.unpack("<Q", start)
        if length > _HEADER_LIMIT:
            raise _Broken(f"{path.name} has no safetensors header")
        raw = file.read(length)
    if len(raw) < length:
        raise _Broken(f"{path.name} is cut off within its header")
    try:
        header = json.loads(raw)
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _Broken(f"{path.name} has no safetensors header") from error
    wanted = 8 + length + max(ends, default=0)
    if size != wanted:
        raise _Broken(f"{path.name} has {size:,} bytes where its header says {wanted:,}")


def _zip(path: Path) -> None:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            if not archive.infolist():
                raise _Broken(f"{path.name} is empty")
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise _Broken(f"{path.name} is cut off") from error


def _ranks(path: Path, files: dict[str, int]) -> int:
    """How many random states there are: rng_state.pth, or rng_state_0.pth … for several ranks."""
    numbers = set()
    count = 0
    for name in files:
        if match := _RANK.fullmatch(name):
            _zip(path / name)
            count += 1
            if match[1]:
                numbers.add(int(match[1]))
    if numbers and numbers != set(range(max(numbers) + 1)):
        raise _Broken("the random state of a rank is missing")
    return count


def _distributed(folder: Path) -> None:
    """A folder of torch.distributed.checkpoint: its .metadata is written last."""
    metadata = folder / ".metadata"
    if not metadata.is_file() or metadata.stat().st_size == 0:
        raise _Broken(f"{folder.name}/.metadata, which is written last, is missing")


def _deepspeed(path: Path, files: dict[str, int]) -> bool:
    """Whether DeepSpeed left its states: `latest`, which is written last, names the folder with a file of each rank."""
    inside = [name for name in files if name.startswith("global_step")]
    if not inside:
        return False
    if "latest" not in files:
        raise _Broken("latest, which DeepSpeed writes last, is missing")
    ranks = set()
    for name in inside:
        if name.endswith(".pt"):
            _zip(path / name)
        if match := _ZERO_RANK.search(name):
            ranks.add(int(match[1]))
    if not ranks or ranks != set(range(max(ranks) + 1)):
        raise _Broken("the optimizer states of a rank are missing")
    return True


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise _Broken(f"{path.name} is not valid JSON") from error
    if not isinstance(value, dict):
        raise _Broken(f"{path.name} is not a JSON object")
    return value
