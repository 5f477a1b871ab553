"""What a run was made with: versions of the installed packages and the state of the user's repository."""

import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGES = (
    "tuiwb",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "tokenizers",
    "safetensors",
    "deepspeed",
    "liger-kernel",
    "flash-attn",
    "kernels",
)

# Reads what is installed without importing any of it.
_ASK = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def versions(interpreter: str = "") -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run does.

    Args:
        interpreter: of the worker; empty means ours. What cannot be asked has no versions.
    """
    import json

    if not interpreter or interpreter == sys.executable:
        return _own_versions()
    answer = _output([interpreter, "-c", _ASK, *_PACKAGES], timeout_s=20.0)
    try:
        return dict(json.loads(answer)) if answer else {}
    except ValueError:
        return {}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, branch and whether there are uncommitted changes, of the repository that holds `folder`; None if there
    is none or git is not installed."""
    git = ["git", "-C", str(folder), "--no-optional-locks"]
    commit = _output([*git, "rev-parse", "HEAD"])
    if not commit:
        return None
    branch = _output([*git, "rev-parse", "--abbrev-ref", "HEAD"])
    changes = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit.strip(), "branch": (branch or "").strip(), "dirty": bool(changes and changes.strip())}


def _own_versions() -> dict[str, str]:
    import importlib.metadata
    import platform

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _output(argv: list[str], timeout_s: float = 3.0) -> str | None:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
