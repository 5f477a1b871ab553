"""What a server of adapters must be told of one, and what it cannot serve."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiwb.base.errors import InputFault

# The values that vLLM takes for --max-lora-rank, of which 16 is the one it takes by itself.
_RANKS = (16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class Serving:
    """How vLLM serves an adapter.

    Attributes:
        command: what starts it.
        problems: why it cannot; sentences. Merged into its base, it can be served all the same.
    """

    command: str
    problems: tuple[str, ...]


def vllm(adapter: Path, base: str, name: str) -> Serving:
    """What vLLM needs for an adapter.

    Args:
        adapter: its folder.
        base: folder or id of its base.
        name: by which it is asked for.

    Raises:
        InputFault: it is no adapter.
    """
    try:
        config = json.loads((adapter / "adapter_config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputFault("no adapter's settings can be read there", file=adapter / "adapter_config.json") from error
    words = ["vllm", "serve", base, "--enable-lora", "--lora-modules", f"{name}={adapter}"]
    if (rank := highest_rank(config)) > _RANKS[0]:
        # Left out, it is 16, and an adapter of a higher rank is refused when it is asked for.
        words += ["--max-lora-rank", str(next((one for one in _RANKS if one >= rank), rank))]
    if (adapter / "chat_template.jinja").is_file():
        words += ["--chat-template", str(adapter / "chat_template.jinja")]
    return Serving(shlex.join(words), tuple(_problems(config, rank)))


def highest_rank(config: Mapping[str, Any]) -> int:
    """The highest rank of any layer of a LoRA adapter; 0 for another kind."""
    ranks: list[int] = [config.get("r") or 0, *(config.get("rank_pattern") or {}).values()]
    return max(ranks)


def _problems(config: Mapping[str, Any], rank: int) -> Iterator[str]:
    kind = config.get("peft_type")
    if kind != "LORA":
        yield f"vLLM serves LoRA adapters alone, and this is {kind}"
    if config.get("use_dora"):
        yield "vLLM serves no DoRA: it would leave the magnitudes out"
    if config.get("modules_to_save"):
        whole = ", ".join(config["modules_to_save"])
        yield f"vLLM serves no layers that were trained whole ({whole})"
    if config.get("trainable_token_indices"):
        yield "vLLM serves no added tokens that were trained"
    if rank > _RANKS[-1]:
        yield f"vLLM serves ranks up to {_RANKS[-1]}, and this one has {rank}"
