"""What texts mean, as vectors of a local model: made in a process of its own, and kept, because they take long."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuiwb.base import atomic, paths
from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.base.settings import cache_root
from tuiwb.base.tasks import Task
from tuiwb.base.worker import worker_argv, worker_environment

Vectors = npt.NDArray[np.float32]

LONGEST = 512
"""Tokens of a text that are looked at."""

_KEPT = 8
_POLL_S = 0.1
_CENTRED_FROM = 32
"""Texts from which their mean says what all of them have in common."""


def vectors(texts: Sequence[str], model: str, task: Task) -> Vectors:
    """A vector for each text, `(texts, width)`, of length 1 (0 for an empty text): texts with close vectors mean nearly
    the same.

    The mean of a language model's hidden states has a large part that all texts share. It is taken out where there are
    enough texts to tell; a model of sentence-transformers needs no such thing.

    Raises:
        InputFault: the model is none that can be used so.
        EnvironmentFault: the training stack is not here, or the disk is full.
        Cancelled: the task was cancelled.
    """
    from tuiwb import models

    info = models.open_model(model)
    if info.path is None or not info.path.is_dir():
        raise InputFault(f"{model} is no folder of a model on this machine", key="model")
    digest = hashlib.blake2b(f"{stamp(info.path)}\0{LONGEST}".encode(), digest_size=16)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    kept = cache_root() / "meanings" / f"{digest.hexdigest()}.npy"
    found = _load(kept, len(texts))
    if found is None:
        found = _made(texts, info.path, kept, task)
    if len(texts) >= _CENTRED_FROM and not (info.path / "modules.json").is_file():
        there = np.linalg.norm(found, axis=1) > 0
        centred = np.where(there[:, None], found - found[there].mean(0) if there.any() else found, 0)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        found = (centred / np.where(length > 1e-6, length, 1)).astype(np.float32)
    return found


def stamp(folder: Path) -> str:
    """Changes with the model in a folder."""
    try:
        files = sorted((one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in folder.iterdir())
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=folder) from error
    return hashlib.blake2b(json.dumps([str(folder.resolve()), files]).encode(), digest_size=16).hexdigest()


def _made(texts: Sequence[str], model: Path, kept: Path, task: Task) -> Vectors:
    try:
        folder = Path(tempfile.mkdtemp(prefix="embed-", dir=paths.private_folder(kept.parent)))
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=kept.parent) from error
    try:
        atomic.write_json(folder / "job.json", {"model": str(model), "max_length": LONGEST})
        with (folder / "texts.jsonl").open("w") as file:
            file.writelines(f"{json.dumps(text)}\n" for text in texts)
        _run(folder, len(texts), task)
        (folder / "vectors.npy").replace(kept)
        for old in sorted(kept.parent.glob("*.npy"), key=lambda one: one.stat().st_mtime, reverse=True)[_KEPT:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=folder) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = _load(kept, len(texts))
    if found is None:
        raise EnvironmentFault("the vectors were lost: try again", file=kept)
    return found


def _run(folder: Path, total: int, task: Task) -> None:
    """Let the worker work, and end it when nobody wants it any more."""
    task.step("embedding", 0, total, "rows")
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            worker_argv("tuiwb.workers.embed", folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **worker_environment()},
            start_new_session=True,  # Ctrl-C reaches the one who asked, who ends this
        )
    done = [0]

    def read() -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                done[0] = int(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            task.step("embedding", done[0], total, "rows")
            reader.join(_POLL_S)
        process.wait()
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
    if (folder / "error.json").is_file():
        raise InputFault(str(json.loads((folder / "error.json").read_bytes())["message"]), key="model")
    if process.returncode or not (folder / "vectors.npy").is_file():
        last = (folder / "log.txt").read_text("utf-8", "replace").strip().splitlines()[-1:]
        why = f": {last[0][:200]}" if last else ""
        raise EnvironmentFault(f"the process that embeds rows ended with code {process.returncode}{why}")


def _load(path: Path, count: int) -> Vectors | None:
    try:
        found: Vectors = np.load(path, allow_pickle=False)
        path.touch()  # what was used last stays longest
    except (OSError, ValueError):
        return None
    return found if len(found) == count and found.ndim == 2 else None
