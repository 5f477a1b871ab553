"""From a recipe to one that is ready to run: every value chosen, with its reason; and what is wrong with it here.

`assess` does all of it: model, values, memory plan, checks. Each name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.resolve.assessment import Assessment, assess, checks
    from tuiwb.resolve.check import Check
    from tuiwb.resolve.choices import Resolved
    from tuiwb.resolve.fill import resolve

_PLACES = {
    "Assessment": "assessment",
    "Check": "check",
    "Resolved": "choices",
    "assess": "assessment",
    "checks": "assessment",
    "resolve": "fill",
}

__all__ = ["Assessment", "Check", "Resolved", "assess", "checks", "resolve"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
