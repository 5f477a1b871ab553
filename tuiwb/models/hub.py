"""The Hugging Face hub through huggingface_hub: search, and the facts of one model.

HF_ENDPOINT, HF_HOME, HF_TOKEN and the rest are that package's own; the offline switch is HF_HUB_OFFLINE or the setting
`hub.offline`. Every question has one deadline, `hub.timeout_s`, however often a name server or socket would retry.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tuiwb.base import settings
from tuiwb.base.errors import EnvironmentFault, InputFault, TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.models.files import read_json
from tuiwb.models.folder import architecture_of
from tuiwb.models.info import ModelInfo, context_length, dtype_of, quantization_of
from tuiwb.models.parameters import vocab_size
from tuiwb.models.safetensors_header import TORCH_NAMES

T = TypeVar("T")

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a model needs and cannot run code: weights, configuration, tokenizer, template, card and licence.
WANTED = re.compile(
    r"(\S+\.safetensors(\.index\.json)?|[\w.-]+\.json|tokenizer\.model|merges\.txt|vocab\.txt|\S+\.jinja"
    r"|README\.md|LICENSE\S*)"
)
_PICKLE = re.compile(r"\.(bin|pt|pth|ckpt|pkl)$")


# An answer proves for so long that the hub can be reached.
_REACHED_FOR_S = 60.0
_reached = float("-inf")


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A model on the hub. `parameters` is None where it has no safetensors."""

    hub_id: str
    parameters: int | None
    architecture: str | None
    license: str | None
    downloads: int
    likes: int
    gated: bool
    chat: bool

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository as the hub describes it: its commit and the files of it that a model needs."""

    hub_id: str
    commit: str
    files: tuple[RemoteFile, ...]
    parameters: int | None
    dtype: str | None
    license: str | None

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def offline() -> bool:
    """Whether the user forbids asking the hub."""
    said = os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in ("1", "TRUE", "YES", "ON")
    return said or settings.load().hub.offline


def search(query: str, *, limit: int = 20, task: Task | None = None) -> list[SearchHit]:
    """Text-generation models on the hub, the most downloaded first.

    Raises:
        EnvironmentFault: offline, or the hub cannot be reached.
    """
    found = _ask(
        lambda api: list(
            api.list_models(
                search=query or None,
                pipeline_tag="text-generation",
                filter="safetensors",
                sort="downloads",
                limit=limit,
                expand=["downloads", "likes", "gated", "safetensors", "config", "tags"],
            )
        ),
        what=query,
        task=task,
    )
    return [_hit(model) for model in found]


def describe(hub_id: str, *, task: Task | None = None) -> Remote:
    """What a repository holds, in one question.

    Raises:
        InputFault: there is no such repository, it needs a login, or it holds only pickles or GGUF files.
        EnvironmentFault: offline, or the hub cannot be reached.
    """
    model = _ask(
        lambda api: api.model_info(hub_id, files_metadata=True, timeout=settings.load().hub.timeout_s),
        what=hub_id,
        task=task,
    )
    names = {entry.rfilename: entry.size or 0 for entry in model.siblings or ()}
    files = tuple(RemoteFile(name, size) for name, size in sorted(names.items()) if WANTED.fullmatch(name))
    if not any(file.name.endswith(".safetensors") for file in files):
        raise InputFault(_without_safetensors(names), file=hub_id)
    counted = model.safetensors.parameters if model.safetensors else {}
    kind = max(counted, key=lambda name: counted[name], default=None)
    return Remote(
        hub_id=model.id,
        commit=model.sha or "main",
        files=_one_set_of_weights(files),
        parameters=model.safetensors.total if model.safetensors else None,
        dtype=None if kind is None else TORCH_NAMES.get(kind, kind),
        license=_license(model.tags or ()),
    )


def open_remote(hub_id: str, *, ref: str, config_only: bool, task: Task | None = None) -> ModelInfo:
    """A model that is on the hub alone: its config.json, and the count that the hub gives unless `config_only`.

    Raises:
        InputFault, EnvironmentFault: as `describe`.
    """
    remote = None if config_only else describe(hub_id, task=task)
    file = _ask(lambda api: api.hf_hub_download(hub_id, "config.json"), what=hub_id, task=task)
    config = read_json(Path(file))
    return ModelInfo(
        ref=ref,
        name=hub_id.rpartition("/")[2],
        kind="hub",
        path=None,
        config=config,
        architecture=architecture_of(config, hub_id),
        parameters=remote.parameters if remote else None,
        dtype=(remote.dtype if remote and not quantization_of(config) else None) or dtype_of(config),
        quantization=quantization_of(config),
        context_length=context_length(config),
        vocab_size=vocab_size(config),
        license=remote.license if remote else None,
        hub_id=hub_id,
    )


def _ask(question: Callable[[Any], T], *, what: str, task: Task | None) -> T:
    """Put a question to the hub with a deadline, in a thread that may be left behind."""
    if offline():
        raise EnvironmentFault("the hub is switched off (HF_HUB_OFFLINE or the setting hub.offline)")
    limit = settings.load().hub.timeout_s
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(question(_api(limit)))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True, name="hub")
    thread.start()
    waited = 0.0
    while thread.is_alive() and waited < limit:
        if task is not None:
            task.step("asking the hub")
        thread.join(min(0.1, limit - waited))
        waited += 0.1
    if answer:
        return answer[0]
    if failure:
        raise fault_of(failure[0], what) from failure[0]
    raise EnvironmentFault(f"the hub did not answer within {limit:g} s (setting hub.timeout_s)")


def _api(timeout: float) -> Any:
    """huggingface_hub's client, once the hub has answered at all: its own questions retry a dead host for 23 s.

    Raises:
        Exception: as the HTTP library has it.
    """
    global _reached
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils import get_session, logging

    logging.set_verbosity_error()  # its warnings would be written across the screen
    if time.monotonic() - _reached > _REACHED_FOR_S:
        get_session().head(constants.ENDPOINT, timeout=timeout)
        _reached = time.monotonic()
    return HfApi()


def fault_of(error: BaseException, what: str) -> TuiwbError:
    """An error of huggingface_hub, or of what it stands on, in our words."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return InputFault(
                "asks you to accept its licence on the hub, and for a token (`hf auth login` or HF_TOKEN)", file=what
            )
        case errors.RepositoryNotFoundError():
            return InputFault("there is no such model on the hub, or it is private and needs a token", file=what)
        case errors.LocalEntryNotFoundError():  # one of the next kind, and means that nobody could be asked
            pass
        case errors.EntryNotFoundError():
            return InputFault("has no config.json on the hub, so it is no model for transformers", file=what)
        case errors.HFValidationError():
            return InputFault("is not a hub id (ORGANISATION/NAME)", file=what)
        case errors.HfHubHTTPError() if error.response is not None:
            return EnvironmentFault(f"the hub answered {error.response.status_code}", file=what)
        case OSError() if getattr(error, "errno", None) == 28:
            return EnvironmentFault("the disk is full; free some space and run the same command again", file=what)
    return EnvironmentFault(f"the hub cannot be reached ({_short(error)})")


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    words = re.sub(r"^\[Errno -?\d+\] ", "", text[0]) if text else type(error).__name__
    return words[:200]


def _hit(model: Any) -> SearchHit:
    config: Mapping[str, Any] = model.config or {}
    tags = model.tags or ()
    classes = config.get("architectures") or [None]
    tokenizer = config.get("tokenizer_config") or {}
    return SearchHit(
        hub_id=model.id,
        parameters=model.safetensors.total if model.safetensors else None,
        architecture=classes[0],
        license=_license(tags),
        downloads=model.downloads or 0,
        likes=model.likes or 0,
        gated=bool(model.gated),
        chat="conversational" in tags or bool(tokenizer.get("chat_template")),
    )


def _license(tags: Any) -> str | None:
    return next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)


def _one_set_of_weights(files: tuple[RemoteFile, ...]) -> tuple[RemoteFile, ...]:
    """Leave out second copies of the weights: `consolidated.safetensors` beside shards, subfolders, adapters."""
    names = {file.name for file in files}
    if not names & {"model.safetensors", "model.safetensors.index.json"}:
        return tuple(file for file in files if "/" not in file.name or file.name.startswith("additional_chat"))
    keep = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
    return tuple(
        file
        for file in files
        if (keep.fullmatch(file.name) if file.name.endswith(".safetensors") else _at_top(file.name))
    )


def _at_top(name: str) -> bool:
    return "/" not in name or name.startswith("additional_chat_templates/")


def _without_safetensors(names: Mapping[str, int]) -> str:
    if any(name.endswith(".gguf") for name in names):
        return "holds only GGUF files; choose the repository they were made from"
    if any(_PICKLE.search(name) for name in names):
        return "holds its weights only as pickles, which can run code when opened; choose one with safetensors"
    return "holds no weights (*.safetensors)"
