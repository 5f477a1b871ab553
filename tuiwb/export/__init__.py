"""What was trained, for other programs: one whole model of a base and an adapter, and what a server of adapters needs.

spec = export.spec_of(chat.target_of("last").best, Path("my-model"))
run = export.launch(spec)
export.vllm(Path("…/checkpoint-80"), name="tuned").command
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.export.launching import launch, spec_of
    from tuiwb.export.serving import Serving, vllm
    from tuiwb.export.spec import PART, Spec

_HOMES = {
    "launching": ("launch", "spec_of"),
    "serving": ("Serving", "vllm"),
    "spec": ("PART", "Spec"),
}

__all__ = ["PART", "Serving", "Spec", "launch", "spec_of", "vllm"]


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(name)
