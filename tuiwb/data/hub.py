"""A dataset of the hub: its files, brought into the cache that every tool of Hugging Face shares."""

from pathlib import Path

from tuiwb.base.errors import EnvironmentFault, InputFault
from tuiwb.base.tasks import Task

_PATTERNS = [
    f"*{ending}{packed}"
    for ending in (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt")
    for packed in ("", ".gz", ".zst", ".bz2")
]


def looks_like_id(text: str) -> bool:
    """Whether this may be a dataset of the hub: `owner/name`."""
    from tuiwb.models.hub import HUB_ID

    return HUB_ID.fullmatch(text) is not None and not Path(text).suffix


def bring(hub_id: str, *, revision: str | None = None, task: Task | None = None) -> Path:
    """The folder with the dataset's files, brought up to date where the hub can be asked.

    Raises:
        InputFault: there is no such dataset, or it needs a login.
        EnvironmentFault: the hub cannot be asked, and the dataset is not here or not whole.
    """
    from tuiwb.models import hub

    if hub.offline():
        return _here(hub_id, revision, "the hub is switched off (HF_HUB_OFFLINE or the setting hub.offline)")
    if task:
        task.step(f"downloading {hub_id}")
    try:
        return _get(hub_id, revision, here=False)
    except Exception as error:
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        if isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
            raise InputFault(
                "there is no such file, and no such dataset on the hub (or it is private and needs a token)",
                file=hub_id,
            ) from error
        fault = hub.fault_of(error, hub_id)
        if isinstance(fault, EnvironmentFault):
            return _here(hub_id, revision, fault.message)
        raise fault from error


def _here(hub_id: str, revision: str | None, why: str) -> Path:
    """What was downloaded before, if it is whole."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = _get(hub_id, revision, here=True)
    except LocalEntryNotFoundError:
        raise EnvironmentFault(f"there is no such file; if this is a dataset of the hub: {why}", file=hub_id) from None
    if any(folder.parent.parent.glob("blobs/*.incomplete")):
        raise EnvironmentFault(f"its download was never finished, and {why}", file=hub_id)
    return folder


def _get(hub_id: str, revision: str | None, *, here: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [*_PATTERNS, "README.md"]
    return Path(
        snapshot_download(hub_id, repo_type="dataset", revision=revision, allow_patterns=wanted, local_files_only=here)
    )
