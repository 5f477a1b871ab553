"""From what a user writes to a model: a path, the name of a model brought here, a catalogue name, a hub id."""

from pathlib import Path

from msgspec.structs import replace

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.models import store
from tuiwb.models.info import ModelInfo
from tuiwb.models.well_known import catalogue, find_entry

# A reference that can only be meant as a path.
_PATH_STARTS = ("/", "./", "../", "~")
_PATH_ENDS = (".gguf", ".safetensors", "/", ".json", ".bin")


def open_model(ref: str, *, config_only: bool = False, task: Task | None = None) -> ModelInfo:
    """What is known of a model without loading its weights.

    In this order: an existing path; a model brought by `tuiwb models get`; the hub's cache; the catalogue, which knows
    configuration and count without a network; the hub. `path` is None for the last two: no weights are here.

    Args:
        config_only: a bare config.json is enough, in its folder or by its own name.
        task: told of the progress, asked for cancellation.

    Raises:
        InputFault: there is no such model, or it is broken.
        EnvironmentFault: it cannot be read, or the hub cannot be asked.
    """
    if not ref.strip():
        raise InputFault("no model is named", key="model_name_or_path")
    path = Path(ref).expanduser()
    if _exists(path):
        return _open_path(path, ref, config_only, task)
    if ref.startswith(_PATH_STARTS) or ref.endswith(_PATH_ENDS):
        raise InputFault("there is no such file or folder", file=ref)
    if (own := store.own_path(ref)) is not None:
        return replace(_open_path(own, ref, config_only, task), name=ref)
    entry = find_entry(ref)
    if entry is not None and (own := store.own_path(entry.name)) is not None:
        return replace(_open_path(own, ref, config_only, task), name=entry.name)
    hub_id = entry.hub_id if entry else ref
    if (cached := store.open_cached(hub_id, ref=ref)) is not None:
        return cached
    if entry is not None:
        return entry.info(ref)
    return _open_hub(ref, config_only, task)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a folder on the way that may not be entered
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=path) from error


def _open_path(path: Path, ref: str, config_only: bool, task: Task | None) -> ModelInfo:
    if path.is_dir() or path.suffix == ".gguf" or _begins_as_gguf(path):
        return store.open_path(path.absolute(), ref=ref, config_only=config_only, task=task)
    if config_only and path.suffix == ".json" and path.name != "adapter_config.json":
        from tuiwb.models.folder import open_config

        return open_config(path.absolute(), ref=ref)
    if path.name in ("config.json", "adapter_config.json") or path.suffix == ".safetensors":
        raise InputFault(f"name the folder, {path.parent}, not a file in it", file=path)
    raise InputFault("is neither a model's folder nor a .gguf file", file=path)


def _begins_as_gguf(path: Path) -> bool:
    # Blobs of Ollama and of the hub's cache have no suffix.
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=path) from error


def _open_hub(ref: str, config_only: bool, task: Task | None) -> ModelInfo:
    from tuiwb.models import hub

    if not hub.HUB_ID.fullmatch(ref):
        raise InputFault(_unknown(ref), file=ref)
    try:
        return hub.open_remote(ref, ref=ref, config_only=config_only, task=task)
    except EnvironmentFault as error:
        raise EnvironmentFault(f"is not on this machine, and {error.message}", file=ref) from error


def _unknown(ref: str) -> str:
    import difflib

    known = [path.name for path in store.own_paths()] + [entry.name for entry in catalogue()]
    near = difflib.get_close_matches(ref.casefold(), known, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else "; see `tuiwb models list`"
    return f"is neither a path, nor a model here, nor a name in the catalogue{hint}"
