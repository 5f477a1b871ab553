"""OpenAI-compatible servers: who they are (profiles), their keys, and a streamed answer from one.

    endpoint = endpoints.find("vllm")                       # a profile, or an address
    async for piece in endpoints.stream(endpoint, messages, {"temperature": 0}): ...
    endpoints.complete(endpoint, messages, {"max_tokens": 8}).text

vLLM, Ollama, llama.cpp's server, hosted services and `tuiwb chat serve` all speak it. A key never gets into an error, a
log or a conversation.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.endpoints.answer import End, Piece, Thought
    from tuiwb.endpoints.client import complete, models_of, stream
    from tuiwb.endpoints.faults import EndpointFault, EndpointRefusal
    from tuiwb.endpoints.keys import forget_key, key_of, save_key
    from tuiwb.endpoints.profile import Endpoint, delete, find, is_address, profiles, save

_HOMES = {
    "answer": ("End", "Piece", "Thought"),
    "client": ("complete", "models_of", "stream"),
    "faults": ("EndpointFault", "EndpointRefusal"),
    "keys": ("forget_key", "key_of", "save_key"),
    "profile": ("Endpoint", "delete", "find", "is_address", "profiles", "save"),
}

__all__ = [
    "End",
    "Endpoint",
    "EndpointFault",
    "EndpointRefusal",
    "Piece",
    "Thought",
    "complete",
    "delete",
    "find",
    "forget_key",
    "is_address",
    "key_of",
    "models_of",
    "profiles",
    "save",
    "save_key",
    "stream",
]


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(name)
