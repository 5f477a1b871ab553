"""Small files of a model's folder, read with one sentence for each way they can be wrong."""

import json
from pathlib import Path
from typing import Any

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; empty where the file does not exist.

    Raises:
        InputFault: it is not JSON, or not an object.
        EnvironmentFault: it cannot be read.
    """
    try:
        value = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=file) from error
    except (ValueError, RecursionError) as error:
        raise InputFault(f"is not valid JSON ({error})", file=file) from error
    if not isinstance(value, dict):
        raise InputFault("is not a JSON object", file=file)
    return value


def card_license(folder: Path) -> str | None:
    """The licence that a model card (README.md) names in its front matter."""
    try:
        text = (folder / "README.md").read_text("utf-8", errors="replace")[:20_000]
    except OSError:
        return None
    return front_matter_license(text)


def front_matter_license(card: str) -> str | None:
    """`license:` of a model card; its own name (`license_name`) where that says `other`."""
    lines = card.splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    values: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, colon, value = line.partition(":")
        if colon and key in ("license", "license_name"):
            values[key] = value.strip().strip("'\"")
    name = values.get("license")
    return (values.get("license_name") or name) if name == "other" else name or None
