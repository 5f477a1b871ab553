"""Stages dpo, kto and orpo: TRL's losses on exactly the prepared pairs and labels."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainingArguments
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from tuiwb.base.errors import InputFault
from tuiwb.data.prepared import Prepared
from tuiwb.recipe import Recipe
from tuiwb.workers import checkpoint
from tuiwb.workers.arguments import training_arguments
from tuiwb.workers.batches import JudgedCollator, PairCollator, evaluation_batches, row_dataset
from tuiwb.workers.callback import RunCallback
from tuiwb.workers.cpu import speed_up
from tuiwb.workers.data import Data
from tuiwb.workers.model import adapters_to_float32, load_base, make_trainable
from tuiwb.workers.orpo import OddsRatioTrainer
from tuiwb.workers.reference import reference_model, settle_reference
from tuiwb.workers.running import RunTrainer
from tuiwb.workers.sharding import splits_weights

Collate = Callable[[Prepared], Callable[[list[Any]], dict[str, Any]]]


class PreferenceTrainer(RunTrainer):
    """Goes before a trainer of TRL that compares answers: takes its rows as they are prepared, and weighs what it
    measures by examples, whatever the batch size.

    Args:
        collate: makes the collator of prepared rows.
        arguments: those of TRL's trainer, but for the data.
    """

    _metrics: Any

    def __init__(self, recipe: Recipe, data: Data, callback: RunCallback, collate: Collate, **arguments: Any) -> None:
        self._collate = collate
        super().__init__(
            recipe,
            data,
            callback,
            train_dataset=row_dataset(data.prepared, data.rows),
            # That there is something to measure on; `evaluate` takes it from the data itself.
            eval_dataset=next((row_dataset(*held) for held in data.held_out.values()), None),
            data_collator=collate(data.prepared),
            **arguments,
        )

    def _prepare_dataset(self, dataset: Any, *arguments: Any) -> Any:
        return dataset

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's, of a batch whose tokens are counted."""
        tokens, trained = inputs.pop("tokens"), inputs.pop("trained")
        if self.model.training:
            # Not as numbers: reading them would make a GPU wait in every batch.
            self._tokens += tokens
            self._trained += trained
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Loss and metrics of the held-out examples.

        Returns:
            `eval_loss` and TRL's metrics over all sets, `eval_<name>_loss` for each if there are several.
        """
        model = self._wrap_model(self.model, training=False)
        model.eval()
        sums: dict[str, Tensor] = {}
        measured: dict[str, dict[str, float]] = {}
        for name, (prepared, rows) in self._data.held_out.items():
            found = self._measure(model, prepared, rows)
            measured[name] = _means(found)
            for key, pair in found.items():
                sums[key] = sums.get(key, torch.zeros(2, dtype=torch.float64)) + pair
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in _means(sums).items()}
        if len(measured) > 1:
            metrics |= {f"{metric_key_prefix}_{name}_loss": one["loss"] for name, one in measured.items()}
        self.log(metrics)
        model.train()
        self.answer_prompts()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measure(self, model: Any, prepared: Prepared, rows: Any) -> dict[str, Tensor]:
        """Sum and weight of loss and metrics, over all processes."""
        collate = self._collate(prepared)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2, dtype=torch.float64))
        batches = evaluation_batches(
            prepared, rows, self.args.per_device_eval_batch_size, self.args.process_index, self.args.world_size,
            together=splits_weights(self._recipe),
        )  # fmt: skip
        for items, counts in batches:
            self._metrics["eval"].clear()
            batch = self._prepare_inputs(collate(items))
            with torch.no_grad(), self.compute_loss_context_manager(), _alone(self.accelerator):
                loss = self.compute_loss(model, batch)
            found = {"loss": float(loss)}
            found |= {key: values[-1] for key, values in self._metrics["eval"].items() if key != "num_tokens"}
            for key, value in found.items() if counts else ():
                sums[key] += torch.tensor([value * len(items), len(items)], dtype=torch.float64)
            self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        self._metrics["eval"].clear()
        return _summed(sums, self.args.world_size)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's, without its own count of tokens."""
        self._metrics["train" if self.model.training else "eval"].pop("num_tokens", None)
        super().log(logs, start_time)


class DpoTrainer(PreferenceTrainer, DPOTrainer):
    """Direct preference optimization."""


class KtoTrainer(PreferenceTrainer, KTOTrainer):
    """Kahneman-Tversky optimization. The answers that estimate the distance to the reference are paired in the
    collator, so any order of the rows will do; TRL, which pairs them beforehand, asks for a fixed one."""

    def __init__(self, recipe: Recipe, *arguments: Any, **named: Any) -> None:
        super().__init__(recipe, *arguments, **named)
        self.args.train_sampling_strategy = recipe.train_sampling_strategy or "random"


class OrpoTrainer(PreferenceTrainer, OddsRatioTrainer):
    """Odds ratio preference optimization."""


def build_dpo(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> DpoTrainer:
    """As `stages.Builder`."""
    args = training_arguments(DPOConfig, recipe, output, measured=bool(data.held_out))
    collate = _pairs(data)
    return _built(DpoTrainer, recipe, data, callback, device, args=args, collate=collate)


def build_kto(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> KtoTrainer:
    """As `stages.Builder`."""
    _refuse_one_label(data)
    pad = checkpoint.pad_id(data.tokenizer)
    args = training_arguments(
        KTOConfig, recipe, output, measured=bool(data.held_out), train_sampling_strategy="sequential",
        **({} if recipe.loss_type is None else {"loss_type": _one(recipe.loss_type)}),
    )  # fmt: skip

    def collate(prepared: Prepared) -> Any:
        return JudgedCollator(prepared, pad, recipe.max_length)

    return _built(KtoTrainer, recipe, data, callback, device, args=args, collate=collate)


def build_orpo(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> OrpoTrainer:
    """As `stages.Builder`."""
    args = training_arguments(TrainingArguments, recipe, output, measured=bool(data.held_out))
    model = make_trainable(load_base(recipe, device=device), recipe)
    beta = 0.1 if recipe.beta is None else recipe.beta
    trainer = OrpoTrainer(recipe, data, callback, _pairs(data), model=model, args=args, beta=beta)
    if device.type == "cpu":
        adapters_to_float32(model)
        speed_up(model, split=splits_weights(recipe))
    return trainer


def _built(
    kind: type[Any], recipe: Recipe, data: Data, callback: RunCallback, device: torch.device, *, args: Any, collate: Any
) -> Any:
    model = make_trainable(load_base(recipe, device=device), recipe)
    trainer = kind(recipe, data, callback, collate, model=model, ref_model=reference_model(recipe, device), args=args)
    if device.type == "cpu":
        adapters_to_float32(trainer.model)
    settle_reference(trainer.model, recipe, device)
    if device.type == "cpu" and trainer.ref_model is None:
        # A second model would not be changed in the same layers, and differ by rounding where it is the same.
        speed_up(trainer.model, split=splits_weights(recipe))
    return trainer


def _pairs(data: Data) -> Collate:
    pad = checkpoint.pad_id(data.tokenizer)
    return lambda prepared: PairCollator(prepared, pad)


def _refuse_one_label(data: Data) -> None:
    labels = data.prepared.labels
    assert labels is not None
    found = labels[data.rows]
    if found.min() == found.max():
        word = "good" if found.max() else "bad"
        raise InputFault(
            f"all {len(found):,} answers are labelled {word}, so there is nothing to tell apart", key="datasets"
        )


def _one(loss: str | tuple[str, ...]) -> str:
    return loss if isinstance(loss, str) else loss[0]


@contextlib.contextmanager
def _alone(accelerator: Any) -> Iterator[None]:
    """Let each process note what it measured itself: they do not have equally many batches."""
    gathering = ("gather", "gather_for_metrics")
    try:
        for name in gathering:
            setattr(accelerator, name, lambda value: value)
        yield
    finally:
        for name in gathering:
            delattr(accelerator, name)  # its own methods are there again


def _summed(sums: dict[str, Tensor], processes: int) -> dict[str, Tensor]:
    """Over all processes."""
    if processes == 1:
        return sums
    found: list[Any] = [None] * processes
    torch.distributed.all_gather_object(found, dict(sums))
    whole: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2, dtype=torch.float64))
    for one in found:
        for key, pair in one.items():
            whole[key] += pair
    return whole


def _means(sums: Mapping[str, Tensor]) -> dict[str, float]:
    return {key: float(total / weight) for key, (total, weight) in sums.items() if weight}
