"""Conversations on disk: a JSON file each in `conversations/` of the data folder, which its owner alone can read."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from tuiwb.base import atomic, paths
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault, reason_of
from tuiwb.chat.conversation import Conversation
from tuiwb.chat.protocol import Sampling

Format = Literal["markdown", "messages", "sharegpt"]
_VERSION = 1
_SHAREGPT = {"user": "human", "assistant": "gpt", "system": "system"}


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation as it is kept.

    `lanes` holds each lane's side of it by name; `branches`, what the lanes were before a turn was changed.
    """

    id: str
    created: float
    updated: float
    title: str
    whom: str
    """What was talked to, as the user named it."""
    lanes: dict[str, Conversation]
    branches: tuple[dict[str, Conversation], ...] = ()
    sampling: Sampling = msgspec.field(default_factory=Sampling)
    version: int = _VERSION

    @property
    def turns(self) -> int:
        return max((len(each.turns) for each in self.lanes.values()), default=0)


@dataclass(frozen=True, slots=True)
class Hit:
    """A conversation that holds what is looked for, and the first place where."""

    saved: Saved
    excerpt: str


def folder() -> Path:
    return paths.data_home() / "conversations"


def new_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def save(
    id_: str,
    whom: str,
    lanes: Mapping[str, Conversation],
    *,
    branches: tuple[dict[str, Conversation], ...] = (),
    sampling: Sampling | None = None,
) -> Saved:
    """Keep a conversation; one of the same id is replaced. Only lanes in which something was said are kept.

    Raises:
        EnvironmentFault: it cannot be written; what was kept before is untouched.
    """
    file = folder() / f"{id_}.json"
    now = time.time()
    try:
        created = load(id_).created
    except UsageFault:
        created = now
    kept = {name: each for name, each in lanes.items() if each.turns}
    saved = Saved(
        id=id_,
        created=created,
        updated=now,
        title=title_of(kept),
        whom=whom,
        lanes=kept,
        branches=branches,
        sampling=sampling or Sampling(),
    )
    paths.private_folder(file.parent)
    try:
        atomic.write_bytes(file, msgspec.json.encode(saved) + b"\n", mode=0o600)
    except OSError as error:
        raise EnvironmentFault(f"the conversation cannot be kept ({reason_of(error)})", file=file) from error
    return saved


def title_of(lanes: Mapping[str, Conversation]) -> str:
    """The first question, in one line."""
    first = next((turn.content for each in lanes.values() for turn in each.turns if turn.role == "user"), "")
    line = " ".join(first.split())
    return line if len(line) <= 80 else line[:79] + "…"


def load(id_: str) -> Saved:
    """A conversation by its id, the beginning of one, or `last`.

    Raises:
        UsageFault: there is none, or several are meant.
        InputFault: its file is broken.
    """
    names = _ids()
    if id_ == "last" and names:
        id_ = max(_read_all(), key=lambda saved: saved.updated).id
    fits = [name for name in names if name == id_] or [name for name in names if id_ and name.startswith(id_)]
    if not fits:
        raise UsageFault(f"there is no conversation `{id_}`; `tuiwb chat history` lists them")
    if len(fits) > 1:
        raise UsageFault(f"`{id_}` fits {len(fits)} conversations; write more of the id")
    return _read(folder() / f"{fits[0]}.json")


def scan(words: str = "") -> list[Hit]:
    """Conversations, the one that was changed last first; files that are broken are passed over.

    Args:
        words: all of them must stand in it, in any case of letters.
    """
    wanted = words.casefold().split()
    hits = []
    for saved in sorted(_read_all(), key=lambda each: each.updated, reverse=True):
        said = texts(saved)
        whole = "\n".join(said).casefold()
        if all(word in whole for word in wanted):
            hits.append(Hit(saved, _excerpt(said, wanted)))
    return hits


def texts(saved: Saved) -> list[str]:
    """Everything that was said in a conversation, the system prompts last."""
    turns = [turn.content for each in saved.lanes.values() for turn in each.turns]
    return turns + list(filter(None, {each.system for each in saved.lanes.values()}))


def delete(id_: str) -> None:
    """Delete a conversation.

    Raises:
        UsageFault: as `load`.
        EnvironmentFault: it cannot be deleted.
    """
    file = folder() / f"{load(id_).id}.json"
    try:
        file.unlink()
    except OSError as error:
        raise EnvironmentFault(f"cannot be deleted ({reason_of(error)})", file=file) from error


def export(saved: Saved, form: Format) -> str:
    """A conversation as text: Markdown to read, or rows to train on (`messages`, `sharegpt`: one JSON line a lane)."""
    if form == "markdown":
        return "".join(_markdown(saved))
    lines = []
    for conversation in saved.lanes.values():
        messages = conversation.without_unanswered().messages()
        if form == "messages":
            row: dict[str, Any] = {"messages": messages}
        else:
            turns = [{"from": _SHAREGPT[each["role"]], "value": each["content"]} for each in messages]
            row = {"conversations": turns}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def _markdown(saved: Saved) -> Iterator[str]:
    yield f"# {saved.title}\n\n{time.strftime('%Y-%m-%d %H:%M', time.localtime(saved.created))} · {saved.whom}\n"
    for name, conversation in saved.lanes.items():
        if len(saved.lanes) > 1:
            yield f"\n# {name}\n"
        if conversation.system:
            yield f"\n## System\n\n{conversation.system}\n"
        for turn in conversation.turns:
            yield f"\n## {'You' if turn.role == 'user' else name}\n\n{turn.content}\n"


def _excerpt(texts: list[str], wanted: list[str]) -> str:
    for text in texts:
        at = text.casefold().find(wanted[0]) if wanted else 0
        if at >= 0:
            start = max(at - 30, 0)
            return " ".join(text[start : start + 120].split())
    return ""


def _ids() -> list[str]:
    try:
        return sorted(path.stem for path in folder().glob("*.json"))
    except OSError:
        return []


def _read_all() -> list[Saved]:
    found = []
    for name in _ids():
        try:
            found.append(_read(folder() / f"{name}.json"))
        except (InputFault, EnvironmentFault):
            continue
    return found


def _read(file: Path) -> Saved:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Saved)
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=file) from error
    except msgspec.DecodeError as error:
        raise InputFault(f"is no conversation: {error}", file=file) from error
