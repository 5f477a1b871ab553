"""Talking to a model: conversations, the engine's client, and how a run or a model becomes something to talk to."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.chat.conversation import Conversation, Turn
    from tuiwb.chat.once import Broken, answer_once
    from tuiwb.chat.protocol import AnyLane, Done, EndpointLane, Lane, Sampling
    from tuiwb.chat.session import Chat, LaneChat
    from tuiwb.chat.target import RunCheckpoint, Target, further, newest_step, run_checkpoints, target_of

__all__ = [
    "AnyLane",
    "Broken",
    "Chat",
    "Conversation",
    "Done",
    "EndpointLane",
    "Lane",
    "LaneChat",
    "RunCheckpoint",
    "Sampling",
    "Target",
    "Turn",
    "answer_once",
    "further",
    "newest_step",
    "run_checkpoints",
    "target_of",
]

_HOMES = {
    "conversation": ("Conversation", "Turn"),
    "once": ("Broken", "answer_once"),
    "protocol": ("AnyLane", "Done", "EndpointLane", "Lane", "Sampling"),
    "session": ("Chat", "LaneChat"),
    "target": ("RunCheckpoint", "Target", "further", "newest_step", "run_checkpoints", "target_of"),
}


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(name)
