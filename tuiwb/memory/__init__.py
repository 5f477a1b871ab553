"""What a recipe needs: components, phases, the peak, whether it fits, what to change."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.memory.planning import Fits, Plan, plan

__all__ = ["Fits", "Plan", "plan"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tuiwb.memory import planning

        return getattr(planning, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
