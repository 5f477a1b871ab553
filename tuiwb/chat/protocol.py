"""What the chat engine and its client say to each other: one JSON document a line over a unix socket.

The client sends `Ask`, `Cancel` and `AddLane`; the engine answers with the events below. Everything carries the
`id` of the question it belongs to, so that several may be under way.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from tuiwb.endpoints.profile import Endpoint


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One model that answers: a base, or a base with an adapter switched on.

    Lanes that name the same `model` share one copy of its weights.
    """

    name: str
    """How the lane is called on screen: `base`, `tuned`, `checkpoint-80`."""
    model: str
    """Folder or GGUF file of the model."""
    adapter: str | None = None
    """Folder of a PEFT adapter to put on it."""
    template: str
    """Source of the chat template, always the one the run was trained with."""
    stop_ids: tuple[int, ...]
    """Token ids that end an answer."""
    context: int | None = None
    """Longest prompt and answer together, tokens."""
    quantization: Literal["nf4", "nf4-double", "int8"] | None = None
    """How bitsandbytes holds the base's weights: as the run trained with them."""


def tokenizer_place(model: str, adapter: str | None) -> Path:
    """Where the tokenizer is: beside the adapter, as a run leaves it (it may have learned new tokens), else with the
    base."""
    if adapter is not None and (Path(adapter) / "tokenizer.json").is_file():
        return Path(adapter)
    return Path(model)


class EndpointLane(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answers in a lane of its own."""

    name: str
    endpoint: Endpoint


AnyLane = Lane | EndpointLane


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is started with; written to `engine.json` beside its log."""

    socket: str
    lanes: tuple[Lane, ...]
    dtype: str = "auto"
    """Of the weights in memory: `float32`, `bfloat16`, `float16`, or `auto`, the best that the machine computes in."""
    kept: int = 4
    """Conversations of a lane whose keys and values are kept."""
    draft: str | None = None
    """Folder or GGUF file of a small model with the same tokens that guesses ahead (assisted decoding)."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the next token is chosen."""

    temperature: float = 0.7
    """0 always takes the likeliest token; 1 samples as the model predicts."""
    top_p: float = 0.9
    """Sample from the likeliest tokens that together have this probability; 1 is all."""
    top_k: int = 0
    """Sample from this many likeliest tokens; 0 is all."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest one's probability; 0 drops none."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that were used already less likely."""
    max_new_tokens: int = 512
    """Longest answer, tokens."""
    seed: int | None = None
    """The same seed, prompt and settings give the same answer; empty draws a new one."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer and are not part of it, divided by commas."""

    def problem(self) -> tuple[str, str] | None:
        """The first field whose value cannot be used and why, or None."""
        bounds: list[tuple[str, float, float, float]] = [
            ("temperature", self.temperature, 0.0, 5.0),
            ("top_p", self.top_p, 0.0001, 1.0),
            ("top_k", self.top_k, 0, 1_000_000),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.1, 10.0),
            ("max_new_tokens", self.max_new_tokens, 1, 1_000_000),
        ]
        for name, value, low, high in bounds:
            if not low <= value <= high:
                return name, f"must be between {low:g} and {high:g}, not {value:g}"
        if len(self.stop) > 16 or not all(self.stop):
            return "stop", "is at most 16 texts, none of them empty"
        return None


# From the client


class LaneAsk(msgspec.Struct, frozen=True, kw_only=True):
    lane: str
    messages: list[dict[str, Any]]


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """One question to one or several lanes, each with its own conversation so far."""

    id: int
    lanes: tuple[LaneAsk, ...]
    sampling: Sampling


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel"):
    """End the answers to question `id` with what there is."""

    id: int


class AddLane(msgspec.Struct, frozen=True, kw_only=True, tag="add_lane"):
    """Load one more lane; answered by `Ready` or `Failed` with this id."""

    id: int
    lane: Lane


Request = Ask | Cancel | AddLane

# From the engine


class Loading(msgspec.Struct, frozen=True, kw_only=True, tag="loading"):
    """What the engine is doing before it can answer."""

    doing: str


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The lanes that can be asked now."""

    lanes: tuple[str, ...]
    device: str
    dtype: str
    seconds: float
    id: int | None = None


class Token(msgspec.Struct, frozen=True, kw_only=True, tag="token"):
    """The next piece of an answer, whole characters only."""

    id: int
    lane: str
    text: str


class Thinking(msgspec.Struct, frozen=True, kw_only=True, tag="thinking"):
    """An endpoint's model thinks before it answers, and the server tells that apart."""

    id: int
    lane: str
    characters: int
    """Of all that was thought so far."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """An answer has ended."""

    id: int
    lane: str
    reason: str
    """`stop`, `length` (max_new_tokens or the context), `cancel`, or what else an endpoint says."""
    text: str
    prompt_tokens: int | None
    """None where an endpoint does not count."""
    cached_tokens: int
    """Of the prompt's tokens, those whose keys and values were kept from the turn before."""
    completion_tokens: int | None
    first_token_s: float
    tokens_per_s: float | None
    context_left: int | None
    thoughts: str = ""
    """What was thought before the answer, where an endpoint tells it apart. It is no part of the conversation."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Something could not be done; the engine lives on unless `fatal`. With a lane and without an `id`: the lane
    cannot be loaded, while others can."""

    message: str
    id: int | None = None
    lane: str | None = None
    fatal: bool = False
    exit_code: int = 5
    """Of a verb that ends with it (see `base.errors`)."""


class Died(msgspec.Struct, frozen=True, kw_only=True, tag="died"):
    """Made by the client: the engine's process is gone."""

    message: str
    exit_code: int = 5


Event = Loading | Ready | Token | Thinking | Done | Failed | Died

encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
decode_event = msgspec.json.Decoder(Event).decode
