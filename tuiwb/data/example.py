"""One row of a dataset in its canonical form, whatever the file held: what rendering and preparing consume."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Message = dict[str, Any]
"""A turn as OpenAI and transformers write it: `role` (system, user, assistant, tool, or a role that the row brought
along), `content` (str, empty where the row has none), and, where the row has them, `tool_calls`
(`[{"type": "function", "function": {"name": str, "arguments": dict}}]`), `name`, `tool_call_id`,
`reasoning_content`. `train` (bool) says whether this turn is trained, whatever its role; it is absent where the row
is silent."""

Turns = str | list[Message]
"""Plain text, to be used as it is, or turns, to be rendered by a chat template."""

Kind = Literal["messages", "prompt_completion", "preference", "unpaired", "stepwise", "prompt", "text", "tokenized"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A row, translated. Which fields are set follows from `kind`; all others are None.

    =================== ===================================================================================
    messages            `messages`, perhaps `tools` (alpaca, sharegpt, messages, qa)
    prompt_completion   `prompt`, `completion`, both text or both turns; perhaps `tools`
    preference          `prompt` (None when the rows have none to split off), `chosen`, `rejected`; as above
    unpaired            `prompt`, `completion`, `label` (KTO)
    stepwise            `prompt` and `steps`, pairs of text and whether the step is right
    prompt              `prompt` alone (GRPO, PPO), perhaps `tools`
    text                `text`, trained whole, or in the `segments` that say so
    tokenized           `input_ids` and, where the row has them, `labels` (-100 is masked), both int lists of one length
    =================== ===================================================================================

    Turns of `completion`, `chosen` and `rejected` hold the answer only, never the prompt again.
    """

    id: int
    """Number of the row in its source, from 0; it stays the same whatever is filtered, sorted or sampled."""
    messages: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None
    """JSON schemas of the functions the model may call, as `apply_chat_template(tools=…)` takes them."""
    prompt: Turns | None = None
    completion: Turns | None = None
    chosen: Turns | None = None
    rejected: Turns | None = None
    label: bool | None = None
    text: str | None = None
    segments: list[tuple[str, bool]] | None = None
    """The text in pieces, each with whether it is trained; None where all of it is."""
    steps: list[tuple[str, bool]] | None = None
    input_ids: list[int] | None = None
    labels: list[int] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """The row's other columns, untouched: what reward functions compare with."""
    notes: tuple[tuple[str, str], ...] = ()
    """What the translation had to leave out or could not read, as (problem code, detail); see `problems.RULES`."""

    @property
    def kind(self) -> Kind:
        if self.messages is not None:
            return "messages"
        if self.chosen is not None:
            return "preference"
        if self.steps is not None:
            return "stepwise"
        if self.completion is not None:
            return "prompt_completion" if self.label is None else "unpaired"
        if self.prompt is not None:
            return "prompt"
        return "tokenized" if self.input_ids is not None else "text"
