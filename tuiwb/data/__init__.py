"""What a model learns from: sources, formats, rendering and the mask.

`open` is the only way in: `data.open("rows.jsonl")` gives a `View` whatever the file's size and format.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuiwb.data.detection import Detection as Detection
    from tuiwb.data.detection import detect as detect
    from tuiwb.data.example import Example as Example
    from tuiwb.data.example import Message as Message
    from tuiwb.data.example import Turns as Turns
    from tuiwb.data.opening import open_view as open  # noqa: A004
    from tuiwb.data.problems import Problem as Problem
    from tuiwb.data.rows import Row as Row
    from tuiwb.data.translate import to_example as to_example
    from tuiwb.data.turns import BadRow as BadRow
    from tuiwb.data.verify import Verdict as Verdict
    from tuiwb.data.view import View as View

# Looked up when first used: numpy and orjson are not loaded before somebody opens a dataset.
_PLACES = {
    "Detection": "detection",
    "detect": "detection",
    "Example": "example",
    "Message": "example",
    "Turns": "example",
    "Problem": "problems",
    "Row": "rows",
    "to_example": "translate",
    "BadRow": "turns",
    "Verdict": "verify",
    "View": "view",
    "open": "opening",
}

__all__ = [
    "BadRow",
    "Detection",
    "Example",
    "Message",
    "Problem",
    "Row",
    "Turns",
    "Verdict",
    "View",
    "detect",
    "open",
    "to_example",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_PLACES[name]}")
    return getattr(module, "open_view" if name == "open" else name)
