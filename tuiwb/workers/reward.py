"""Stage reward: TRL's trainer on exactly the prepared pairs, and a head that is in every checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from trl import RewardConfig, RewardTrainer

from tuiwb.base.errors import InputFault, RunFault
from tuiwb.models import Tokenizer
from tuiwb.recipe import Recipe
from tuiwb.workers import checkpoint
from tuiwb.workers.arguments import training_arguments
from tuiwb.workers.batches import PairCollator
from tuiwb.workers.callback import RunCallback
from tuiwb.workers.cpu import speed_up
from tuiwb.workers.data import Data
from tuiwb.workers.model import adapters_to_float32, load_base, make_trainable
from tuiwb.workers.preference import PreferenceTrainer
from tuiwb.workers.running import RunTrainer
from tuiwb.workers.scorer import head_of, saved_head
from tuiwb.workers.sharding import splits_weights

# The head alone, or as PEFT holds it beside an adapter.
_HEADS = ("score.weight", "score.modules_to_save.default.weight")


class Trainer(PreferenceTrainer, RewardTrainer):
    """TRL's reward trainer with our data; a checkpoint without the head that was trained is none."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's; what of a text is its answer makes no difference to a reward."""
        inputs.pop("completion_mask")
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        RunTrainer._save(self, output_dir, state_dict)
        if not self.args.should_save or output_dir is None:
            return
        saved, head = saved_head(Path(output_dir)), _head(state_dict)
        if head is None:
            head = head_of(self.accelerator.unwrap_model(self.model))
        if saved is None or not torch.equal(saved, head.to(saved.dtype)):
            raise RunFault("the reward head is not in the checkpoint")


def build(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> Trainer:
    """As `stages.Builder`."""
    data = replace(data, tokenizer=with_own_pad(data.tokenizer, _ends(data)))
    args = training_arguments(RewardConfig, recipe, output, measured=bool(data.held_out), leave=("pad_token",))
    model = make_trainable(load_base(recipe, device=device, scores=True), recipe)
    pad = checkpoint.pad_id(data.tokenizer)
    collate: Callable[[Any], Any] = lambda prepared: PairCollator(prepared, pad)  # noqa: E731
    trainer = Trainer(recipe, data, callback, collate, model=model, args=args)
    if device.type == "cpu":
        adapters_to_float32(trainer.model)
        speed_up(trainer.model, split=splits_weights(recipe))
    return trainer


def _head(state: dict[str, Any] | None) -> torch.Tensor | None:
    """That of a state which was put together from several processes."""
    found = [value for name, value in (state or {}).items() if name.endswith(_HEADS)]
    return found[0] if found else None


def with_own_pad(tokenizer: Tokenizer, ends: set[int]) -> Tokenizer:
    """The tokenizer with a padding token that ends no text: transformers reads the reward off the last token that is
    not padding, and where that token also ends answers, off the one before it.

    Args:
        ends: ids that texts end in.

    Raises:
        InputFault: every special token ends some text.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in ends | {tokenizer.eos_token_id}:
        return tokenizer
    for number in sorted(tokenizer.special_ids):
        if number not in ends and number != tokenizer.eos_token_id:
            tokens = {**tokenizer.special_tokens, "pad_token": tokenizer.token(number)}
            return replace(tokenizer, special_tokens=tokens)
    raise InputFault(
        "the tokenizer has no special token to pad with that never ends an answer; add one to it",
        key="model_name_or_path",
    )


def _ends(data: Data) -> set[int]:
    """Ids that the prepared texts end in; each has a token, or it would have been left out."""
    sets = [data.prepared, *(prepared for prepared, _ in data.held_out.values())]
    return {int(number) for prepared in sets for number in prepared.ids[prepared.starts[1:] - 1]}
