"""Which function builds the trainer of which stage. A stage joins by one line here."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuiwb.recipe import Recipe
from tuiwb.workers.data import Data

if TYPE_CHECKING:
    import torch
    from transformers import TrainerState

    from tuiwb.workers.callback import RunCallback

# module:function, imported when the stage is trained.
_BUILDERS = {
    "pretrain": "tuiwb.workers.sft:build",
    "sft": "tuiwb.workers.sft:build",
    "reward": "tuiwb.workers.reward:build",
    "dpo": "tuiwb.workers.preference:build_dpo",
    "orpo": "tuiwb.workers.preference:build_orpo",
    "kto": "tuiwb.workers.preference:build_kto",
    "ppo": "tuiwb.workers.ppo:build",
    "grpo": "tuiwb.workers.sampling:build_grpo",
    "rloo": "tuiwb.workers.sampling:build_rloo",
}


class Trains(Protocol):
    """What `train` needs of a trainer. Those of transformers have it all.

    Attributes:
        model: the model with its trainable parameters set.
        args: at least `load_best_model_at_end`.
        state: where it is: `global_step`, `max_steps`, `log_history`, `best_model_checkpoint`.
        run_callback: was told of every step, and knows what was asked for.
    """

    model: Any
    args: Any
    state: "TrainerState"
    run_callback: "RunCallback"

    def train(self, resume_from_checkpoint: str | None = None) -> Any:
        """Train to the end, or to where it was asked to stop, going on from a checkpoint's folder if one is given."""


class Builder(Protocol):
    def __call__(
        self, recipe: Recipe, data: Data, callback: "RunCallback", output: Path, device: "torch.device"
    ) -> Trains:
        """The trainer of a stage.

        Args:
            recipe: resolved.
            callback: is told of every step and told what was asked for.
            output: the part's folder, where checkpoints go.

        Raises:
            TuiwbError: what the recipe names does not go together.
        """


def builder(stage: str) -> Builder:
    """The function that builds the trainer of a stage."""
    module, function = _BUILDERS[stage].split(":")
    build: Builder = getattr(importlib.import_module(module), function)
    return build
