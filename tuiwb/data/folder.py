"""From a folder to its files of rows: a folder of data files, a dataset saved by `datasets`, a copy from the hub.

What belongs to which split is told by names, as the hub does it; what is no data is named, never read.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.data.journal import ENDING
from tuiwb.data.problems import nearest

_TABLES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
_TEXTS = (".txt", ".text", ".md")
_PACKED = (".gz", ".zst", ".zstd", ".bz2")
_COMPANIONS = {
    "readme.md", "license", "license.txt", "license.md", ".gitattributes", "dataset_info.json", "dataset_infos.json",
    "state.json", "dataset_dict.json", "notice", "citation.cff",
}  # fmt: skip
_SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_SPLIT = re.compile(rf"(?:^|[^a-z0-9])({'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?=[^a-z]|$)")
_MOST_FILES = 900


class Choice(InputFault):
    """A folder holds several datasets, and one must be named.

    Attributes:
        what: `split` or `subset`.
        names: those that there are.
    """

    def __init__(self, what: str, names: Sequence[str], folder: Path) -> None:
        super().__init__(f"there are several: {', '.join(names)}; name one of them", file=folder, key=what)
        self.what = what
        self.names = tuple(names)


@dataclass(frozen=True, slots=True)
class Found:
    """Files to be read one after the other, and the names of those that are no data."""

    files: tuple[Path, ...]
    stray: tuple[str, ...] = ()


def files_of(folder: Path, *, split: str | None = None, subset: str | None = None) -> Found:
    """The files of a folder that hold the rows of a split.

    Raises:
        Choice: there are several splits or subsets, and none was named.
        InputFault: there is no such split or subset, or there are no data at all.
        EnvironmentFault: the folder cannot be read.
    """
    try:
        if (folder / "dataset_dict.json").is_file():
            names = [str(name) for name in _json(folder / "dataset_dict.json").get("splits", ())]
            return files_of(folder / _one("split", names, split, folder))
        if (folder / "state.json").is_file():
            if split is not None and folder.name != split:
                raise InputFault(f"this is one saved split, there is no {split!r} in it", file=folder, key="split")
            return _saved(folder)
        declared = _configurations(folder)
        if declared:
            name = _one("subset", list(declared), subset, folder, default="default")
            splits = declared[name]
            if splits:
                chosen = _one("split", list(splits), split, folder)
                return Found(tuple(_matching(folder, splits[chosen])))
        elif subset is not None:
            if not (folder / subset).is_dir():
                names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
                raise InputFault(f"there is no {subset!r}{nearest(subset, names)}", file=folder, key="subset")
            folder = folder / subset
        return _by_name(folder, split)
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=folder) from error


def _by_name(folder: Path, split: str | None) -> Found:
    every: list[Path] = []
    stray: list[Path] = []
    for path in _walk(folder, set()):
        if path.name.lower() in _COMPANIONS or path.name.startswith(".") or path.name.endswith(ENDING):
            continue
        (every if _ending(path) in (*_TABLES, *_TEXTS) and path.is_file() else stray).append(path)
    tables = [path for path in every if _ending(path) in _TABLES]
    if tables:
        stray += [path for path in every if path not in set(tables)]
    files = sorted(tables or every)
    names = tuple(str(path.relative_to(folder)) for path in sorted(stray))
    if not files:
        extra = f"; there are {', '.join(names[:4])}" if names else ""
        raise InputFault(f"there are no data files in this folder{extra}", file=folder)
    if len(files) > _MOST_FILES:
        raise InputFault(
            f"{len(files):,} files are more than the {_MOST_FILES} that are opened together; join some", file=folder
        )
    by_split: dict[str, list[Path]] = {}
    for path in files:
        by_split.setdefault(_split_of(path.relative_to(folder)), []).append(path)
    if len(by_split) > 1 and "" in by_split and "train" not in by_split:
        by_split["train"] = by_split.pop("")
    if split is None and set(by_split) <= {"", "train"}:
        return Found(tuple(files), names)
    if split is not None:
        split = _SPLITS.get(split, split)
        by_split = {name or "train": paths for name, paths in by_split.items()}
    return Found(tuple(by_split[_one("split", list(by_split), split, folder)]), names)


def _one(what: str, names: list[str], wanted: str | None, folder: Path, default: str = "") -> str:
    if wanted is None:
        if len(names) == 1 or default in names:
            return default if default in names else names[0]
        raise Choice(what, [name or "(no name)" for name in names], folder)
    if wanted not in names:
        known = ", ".join(names)
        raise InputFault(f"there is no {wanted!r}{nearest(wanted, names)}: {known}", file=folder, key=what)
    return wanted


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Every file below, links followed, each folder once: a link back up ends there."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)  # whose questions a link that leads nowhere, or to itself, does not make fail
        if path.is_dir():
            yield from _walk(path, seen)
        else:
            yield path


def _saved(folder: Path) -> Found:
    """What `Dataset.save_to_disk` wrote."""
    names = [str(one["filename"]) for one in _json(folder / "state.json").get("_data_files") or ()]
    if not names:
        raise InputFault("state.json names no data files", file=folder)
    if any("/" in name or name.startswith("..") for name in names):
        raise InputFault("state.json names files outside its folder", file=folder)
    return Found(tuple(folder / name for name in names))


def _configurations(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Subset to split to file patterns, as the front matter of a dataset card names them."""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    front = re.match(r"---\s*\n(.*?)\n---\s*\n", card.read_text("utf-8", "replace")[: 1 << 20], re.DOTALL)
    if front is None:
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        said = YAML(typ="safe").load(front[1])
    except YAMLError:
        return {}
    found: dict[str, dict[str, list[str]]] = {}
    for each in said.get("configs", ()) if isinstance(said, dict) else ():
        if isinstance(each, dict) and "config_name" in each:
            found[str(each["config_name"])] = _patterns(each.get("data_files"))
    return found


def _patterns(files: Any) -> dict[str, list[str]]:
    if isinstance(files, str):
        return {"train": [files]}
    splits: dict[str, list[str]] = {}
    for each in files if isinstance(files, list) else ():
        if isinstance(each, str):
            splits.setdefault("train", []).append(each)
        elif isinstance(each, dict) and "path" in each:
            paths = each["path"] if isinstance(each["path"], list) else [each["path"]]
            splits.setdefault(str(each.get("split", "train")), []).extend(map(str, paths))
    return splits


def _matching(folder: Path, patterns: list[str]) -> Iterator[Path]:
    for pattern in patterns:
        if pattern.startswith("/") or ".." in Path(pattern).parts:
            raise InputFault(f"its card names files outside the folder: {pattern}", file=folder)
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not found:
            raise InputFault(f"its card names files that are not here: {pattern}", file=folder)
        yield from found


def _split_of(path: Path) -> str:
    found = _SPLIT.search(str(path).lower())
    return _SPLITS[found[1]] if found else ""


def _ending(path: Path) -> str:
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    if endings and endings[-1] in _PACKED:
        endings.pop()
    return endings[-1] if endings else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputFault("this is not valid JSON", file=path) from error
    if not isinstance(found, dict):
        raise InputFault("this is no JSON object", file=path)
    return found
