"""Bring a repository's files into the hub's own cache, and go on where a killed download stopped.

huggingface_hub begins a file anew in each process. Large files are therefore fetched here into a part file beside the
cache's blobs, with its own HTTP function; once a blob is whole, huggingface_hub finds it and links it.
"""

import contextlib
import fcntl
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tuiwb.base.errors import EnvironmentFault, TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.models import store
from tuiwb.models.hub import Remote, RemoteFile, fault_of

# Smaller files are not worth continuing.
_LARGE = 8 << 20
# The hub serves larger files only through its own protocol (huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE).
_TOO_LARGE_FOR_HTTP = 50_000_000_000
_SHA256 = re.compile("[0-9a-f]{64}")
_CHUNK = 1 << 20


def download(remote: Remote, *, task: Task) -> Path:
    """Bring all files of a repository that a model needs.

    Returns:
        the snapshot's folder.

    Raises:
        Cancelled: the task was cancelled; what has arrived is kept.
        EnvironmentFault: the hub stopped answering, the disk is full, or a file came out wrong.
        InputFault: the hub refuses a file (a gated model).
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    snapshot = Path()
    before = 0
    for file in remote.files:
        bar = _bar_class(task, f"downloading {file.name}", before, remote.bytes)
        try:
            if _LARGE <= file.bytes < _TOO_LARGE_FOR_HTTP:
                _bring_blob(remote, file, bar, task)
            snapshot = Path(hf_hub_download(remote.hub_id, file.name, revision=remote.commit, tqdm_class=bar))
        except TuiwbError:
            raise
        except Exception as error:
            raise fault_of(error, remote.hub_id) from error
        before += file.bytes
        for _ in range(file.name.count("/") + 1):
            snapshot = snapshot.parent
    _point_main_at(snapshot, remote.commit)
    return snapshot


def _bring_blob(remote: Remote, file: RemoteFile, bar: type, task: Task) -> None:
    """Fetch a file as the blob under its ETag, where huggingface_hub looks for it."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(remote.hub_id, file.name, revision=remote.commit)
    there = get_hf_file_metadata(url)
    blobs = store.hub_cache() / f"models--{remote.hub_id.replace('/', '--')}" / "blobs"
    if there.etag is None or there.size is None or (blobs / there.etag).exists():
        return
    blobs.mkdir(parents=True, exist_ok=True)
    part = blobs / f"{there.etag}.part"
    with _alone(part, remote.hub_id) as output:
        resumed = output.tell()
        http_get(url, output, resume_size=resumed, headers=build_hf_headers(), expected_size=there.size, tqdm_class=bar)
        output.flush()
        # Pieces of two downloads are only right if the whole is.
        if resumed and _SHA256.fullmatch(there.etag) and _sha256(part, task) != there.etag:
            part.unlink()
            raise EnvironmentFault(f"{file.name} came out wrong and was deleted; run the same command again")
        part.replace(blobs / there.etag)


@contextlib.contextmanager
def _alone(part: Path, hub_id: str) -> Iterator[BinaryIO]:
    """The part file, open at its end, unless another process writes to it."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentFault(f"another tuiwb is bringing {hub_id} right now") from error
        yield file


def _sha256(path: Path, task: Task) -> str:
    digest = hashlib.sha256()
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            done += len(piece)
            task.step("checking the checksum", done, total, "bytes")
    return digest.hexdigest()


def _point_main_at(snapshot: Path, commit: str) -> None:
    """A download by commit leaves the branch unnamed; name it, so that the model is found by its id alone."""
    refs = snapshot.parent.parent / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(commit)


def _bar_class(task: Task, doing: str, before: int, total: int) -> type:
    """The progress bar that huggingface_hub wants to drive, as steps of a task."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})
            initial = kwargs.get("initial")
            self.arrived = initial if isinstance(initial, int) else 0
            # A Xet download has two bars: bytes on the wire (compressed, deduplicated) and bytes of the file.
            self.counts = "downloading bytes" not in str(kwargs.get("desc", ""))

        def update(self, n: float | None = 1) -> None:
            self.arrived += int(n or 0) if self.counts else 0
            task.step(doing, before + self.arrived, total, "bytes")

    return Bar
