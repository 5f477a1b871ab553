"""Stages sft and pretrain: TRL's trainer on exactly the prepared ids and masks."""

from pathlib import Path
from typing import Any

import torch
import transformers
from trl import SFTConfig, SFTTrainer

from tuiwb.data.prepared import Prepared
from tuiwb.recipe import Recipe
from tuiwb.workers import checkpoint
from tuiwb.workers.arguments import training_arguments
from tuiwb.workers.batches import Collator, FlatCollator, evaluation_batches, pack_dataset, row_dataset
from tuiwb.workers.callback import RunCallback
from tuiwb.workers.cpu import speed_up
from tuiwb.workers.data import Data
from tuiwb.workers.loss import LabelledLoss
from tuiwb.workers.model import adapters_to_float32, load_base, make_trainable
from tuiwb.workers.running import RunTrainer
from tuiwb.workers.sharding import splits_weights

Rows = Any


def build(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> "Trainer":
    """As `stages.Builder`."""
    args = training_arguments(
        SFTConfig,
        recipe,
        output,
        measured=bool(data.held_out),
        leave=("loss_type",),
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = Trainer(make_trainable(load_base(recipe, device=device), recipe), recipe, data, callback, args)
    if device.type == "cpu":
        adapters_to_float32(trainer.model)
        speed_up(trainer.model, split=splits_weights(recipe))
    return trainer


class Trainer(RunTrainer, SFTTrainer):
    """TRL's SFT trainer with our data, our loss where it is faster, and evaluation weighted by tokens.

    Args:
        model: with its trainable parameters set.
        callback: is told of every step and told what was asked for.
    """

    def __init__(self, model: torch.nn.Module, recipe: Recipe, data: Data, callback: RunCallback, args: Any) -> None:
        self._labelled: LabelledLoss | None = None
        prompts = bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))
        # The output layer of a split model is whole only within it.
        own_loss = args.device.type == "cpu" and not splits_weights(recipe)
        collate: Any = Collator(data.prepared, checkpoint.pad_id(data.tokenizer), masked=not own_loss or prompts)
        rows = row_dataset(data.prepared, data.rows)
        if recipe.packing:
            rows = pack_dataset(data.prepared, data.rows, recipe.max_length or int(data.lengths().max()))
            callback.expect_rows(len(rows), data.mean_tokens * len(data.rows) / len(rows))
        super().__init__(
            recipe,
            data,
            callback,
            model=model,
            args=args,
            train_dataset=rows,
            # That there is something to measure on; `evaluate` takes it from the data itself.
            eval_dataset=next((row_dataset(*held) for held in data.held_out.values()), None),
            data_collator=FlatCollator(data.prepared) if recipe.packing or recipe.padding_free else collate,
        )
        if own_loss:
            self._labelled = LabelledLoss(self.model)
            # Our loss is divided by the tokens of the whole step, whatever the model's own would take.
            self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean loss of the labelled tokens of a whole step, this batch's share of it."""
        self._tokens += inputs.pop("tokens")
        self._trained += (inputs["labels"][:, 1:] != -100).sum()
        if self._labelled is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        total, count = self._labelled(model, inputs)
        loss = total / (count if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # whose gradients are averaged
        return loss

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Mean loss of all labelled tokens of the held-out rows, whatever the batch size.

        Returns:
            `eval_loss` over all sets, `eval_<name>_loss` for each if there are several, `eval_tokens`.
        """
        model = self._wrap_model(self.model, training=False)
        model.eval()
        sums: dict[str, list[float]] = {}
        for name, (prepared, rows) in self._data.held_out.items():
            sums[name] = self._measure(model, prepared, rows)
        model.train()
        metrics = {
            f"{metric_key_prefix}_loss": sum(total for total, _ in sums.values())
            / max(sum(count for _, count in sums.values()), 1),
            f"{metric_key_prefix}_tokens": sum(count for _, count in sums.values()),
        }
        if len(sums) > 1:
            metrics |= {f"{metric_key_prefix}_{name}_loss": total / max(n, 1) for name, (total, n) in sums.items()}
        self.log(metrics)
        self.answer_prompts()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measure(self, model: torch.nn.Module, prepared: Prepared, rows: Rows) -> list[float]:
        """Sum of losses and number of labelled tokens, over all processes."""
        collate = Collator(prepared, checkpoint.pad_id(self._data.tokenizer), masked=self._labelled is None)
        total = torch.zeros((), dtype=torch.float64)
        count = 0
        size = self.args.per_device_eval_batch_size
        for items, counts in evaluation_batches(
            prepared, rows, size, self.args.process_index, self.args.world_size, together=splits_weights(self._recipe)
        ):
            batch = self._prepare_inputs(collate(items))
            batch.pop("tokens")
            with torch.no_grad(), self.compute_loss_context_manager():
                if self._labelled is not None:
                    loss, labelled = self._labelled(model, batch)
                else:
                    outputs = model(**batch, fused_lm_head=True)
                    loss, labelled = -outputs.log_probs.sum(), outputs.label_mask.sum()
            if counts:
                total += loss.double().cpu()
                count += int(labelled)
            self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        counted = torch.tensor([float(total), float(count)], dtype=torch.float64, device=self.args.device)
        if self.args.world_size > 1:
            torch.distributed.all_reduce(counted)
        return counted.tolist()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """transformers' own; TRL's would add entropy and accuracy, for which our loss has no logits."""
        if self._labelled is None and "loss" in logs:
            super().log(logs, start_time)
        else:
            transformers.Trainer.log(self, logs, start_time)
