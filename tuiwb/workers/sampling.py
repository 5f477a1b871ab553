"""Stages grpo and rloo: TRL's trainers on exactly the prepared prompts, scored by what the recipe names."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import RepeatSampler, add_fused_lm_head

from tuiwb import data as datasets
from tuiwb.base.errors import InputFault
from tuiwb.data.prepared import Prepared
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.workers.answers import Sampled
from tuiwb.workers.arguments import training_arguments
from tuiwb.workers.callback import RunCallback
from tuiwb.workers.cpu import speed_up
from tuiwb.workers.data import Data
from tuiwb.workers.model import adapters_to_float32, load_base, make_trainable
from tuiwb.workers.reference import reference_model, settle_reference
from tuiwb.workers.rewards import Asked, Reward, model_reward, question, rewards_of
from tuiwb.workers.running import RunTrainer
from tuiwb.workers.scorer import Scorer

_UNTOLD = ("runtime", "samples_per_second", "steps_per_second", "num_tokens", "step_time")


class SamplingTrainer(RunTrainer):
    """Goes before a trainer of TRL that samples: prompts are places in a list of prepared ones.

    Args:
        asked: all prompts, those that are trained on before those that are held out.
        trained: how many of them are trained on.
        arguments: those of TRL's trainer, but for the data.
    """

    def __init__(
        self, recipe: Recipe, data: Data, callback: RunCallback, asked: Sequence[Asked], trained: int, **arguments: Any
    ) -> None:
        self._asked = asked
        self._shown: list[Sampled] = []
        held = _places(range(trained, len(asked))) if len(asked) > trained else None
        super().__init__(recipe, data, callback, train_dataset=_places(range(trained)), eval_dataset=held, **arguments)

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        return [self._asked[int(place)].ids for place in prompts], None, {}

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        weights = self.reward_weights.to(rewards.device)
        scores = (rewards[: len(prompts)] * weights).nansum(dim=1).tolist()
        self._shown = [
            Sampled(question(self._asked[int(place)].example), text, len(ids), ids[-1] in self._stop_ids, score)
            for place, text, ids, score in zip(prompts, completions, completion_ids_list, scores, strict=True)
        ]
        return rewards

    def answer_prompts(self) -> None:
        super().answer_prompts()
        self._answers.sampled(self._shown, self.state)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's, of a batch whose tokens are counted."""
        if self.model.training:
            # Tensors until somebody asks: to read them here would let the device run empty, twice in each batch.
            sampled = inputs["completion_mask"].sum()
            self._tokens = self._tokens + inputs["prompt_mask"].sum() + sampled
            self._trained = self._trained + sampled
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        self.answer_prompts()
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's, without its own clock and count of tokens."""
        for name in [name for name in logs if name.endswith(_UNTOLD) and name.startswith("eval_")]:
            del logs[name]
        noted = self._metrics["train" if self.model.training else "eval"]
        for name in [name for name in noted if name.endswith(_UNTOLD)]:
            del noted[name]
        super().log(logs, start_time)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        args = self.args
        self._drawn = EpochSampler(
            self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=args.seed,
        )
        return self._drawn


class GrpoTrainer(SamplingTrainer, GRPOTrainer):
    """Group relative policy optimization."""


class RlooTrainer(SamplingTrainer, RLOOTrainer):
    """REINFORCE, each answer against the others of its prompt."""


class EpochSampler(RepeatSampler):
    """TRL's sampler, whose order depends on seed and epoch alone, so that a resumed run sees the rest of an epoch as
    it would have been."""

    epoch = 0

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(self.seed + self.epoch)
        return super().__iter__()


def build_grpo(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> GrpoTrainer:
    """As `stages.Builder`."""
    return _built(GrpoTrainer, GRPOConfig, recipe, data, callback, output, device)


def build_rloo(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> RlooTrainer:
    """As `stages.Builder`."""
    return _built(RlooTrainer, RLOOConfig, recipe, data, callback, output, device)


def asked_of(recipe: Recipe, data: Data) -> tuple[list[Asked], int]:
    """All prompts with the rows that they came from, and how many of them are trained on."""
    asked = _asked(data.prepared, data.rows, recipe.datasets or ())
    count = len(asked)
    entries = list(recipe.eval_datasets or ())
    for prepared, rows in data.held_out.values():
        own = (recipe.datasets or ()) if prepared is data.prepared else (entries.pop(0),)
        asked += _asked(prepared, rows, own)
    return asked, count


def _asked(prepared: Prepared, rows: Any, entries: Sequence[DatasetEntry]) -> list[Asked]:
    found = []
    views = [datasets.open(entry) for entry in entries]
    for row in rows:
        source, number = (int(value) for value in prepared.rows[row])
        view = views[source]
        ids, _ = prepared.sequence(int(row))
        found.append(Asked([int(one) for one in ids], view.example(view.row(number))))
    for view in views:
        view.close()
    return found


def _built(
    kind: type[Any],
    config: type[Any],
    recipe: Recipe,
    data: Data,
    callback: RunCallback,
    output: Path,
    device: torch.device,
) -> Any:
    args = training_arguments(
        config, recipe, output, measured=bool(data.held_out), **_loss(recipe, config),
    )  # fmt: skip
    asked, count = asked_of(recipe, data)
    needed = args.generation_batch_size // args.num_generations
    if count < needed:
        raise InputFault(f"a step takes {needed:,} prompts and there are {count:,}", key="datasets")
    rewards = _rewards(recipe, asked, device)
    base = load_base(recipe, device=device)
    # What ends an answer, which TRL takes from here: the template's end mark too, not the tokenizer's alone.
    base.generation_config.eos_token_id = data.stop_ids() or None
    trainer = kind(
        recipe, data, callback, asked, count, model=make_trainable(base, recipe), args=args, reward_funcs=rewards
    )
    if device.type == "cpu":
        adapters_to_float32(trainer.model)
        # Of each prompt the last state is projected; these lie apart, and torch would copy the weight for each of them.
        base.get_output_embeddings().register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))
    settle_reference(trainer.model, recipe, device)
    if recipe.ref_model_name_or_path and trainer.beta and not hasattr(trainer.model, "peft_config"):
        trainer.ref_model = trainer.accelerator.prepare_model(reference_model(recipe, device), evaluation_mode=True)
        add_fused_lm_head(trainer.ref_model, temperature=trainer.temperature)
    if device.type == "cpu" and trainer.ref_model is None:
        speed_up(trainer.model)
    return trainer


def _rewards(recipe: Recipe, asked: Sequence[Asked], device: torch.device) -> list[Reward]:
    rewards = rewards_of(recipe, asked)
    if recipe.reward_model_name_or_path:
        dtype = torch.float32 if device.type == "cpu" or not recipe.bf16 else torch.bfloat16
        rewards.append(model_reward(Scorer(recipe.reward_model_name_or_path, device=device, dtype=dtype), asked))
    if not rewards:
        raise InputFault("nothing scores the answers; name reward_funcs or reward_model_name_or_path",
                         key="reward_funcs")  # fmt: skip
    return rewards


def _loss(recipe: Recipe, config: type[Any]) -> dict[str, Any]:
    if config is RLOOConfig or recipe.loss_type is None:
        return {}
    return {"loss_type": recipe.loss_type if isinstance(recipe.loss_type, str) else recipe.loss_type[0]}


def _places(places: range) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"prompt": [str(place) for place in places]})
