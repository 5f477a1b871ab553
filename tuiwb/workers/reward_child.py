"""A user's reward function in a process of its own: `python -m tuiwb.workers.reward_child FILE FUNCTION`.

A line of JSON comes in for each batch and one goes out: `{"rewards": [...]}`, or `{"error": "…"}`. What the function
prints goes to the log. The process ends when its standard input does, or with the one that started it, so that a
function that hangs holds nothing.
"""

import ctypes
import importlib.util
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Answer batches until there are no more."""
    file, name = sys.argv[1:3]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        function = load(Path(file), name)
    except Exception as error:
        _tell(answers, {"error": _said(error)})
        return 1
    _tell(answers, {"ready": True})
    for line in sys.stdin:
        try:
            _tell(answers, {"rewards": [_number(value) for value in function(**json.loads(line))]})
        except Exception as error:
            traceback.print_exc()
            _tell(answers, {"error": _said(error)})
    return 0


def load(file: Path, name: str) -> Callable[..., Any]:
    """The function of a file.

    Raises:
        Exception: whatever the file raises; AttributeError where it has no such function.
    """
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., Any] = getattr(module, name)
    return function


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _said(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    place = f", line {frame[0].lineno} of {Path(frame[0].filename).name}" if frame else ""
    return f"{type(error).__name__}: {error}{place}"


def _tell(answers: Any, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
