"""Stages sft and pretrain: TRL's trainer on exactly the prepared ids and masks."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast, PrinterCallback
from trl import SFTConfig, SFTTrainer

from tuiwb.base.errors import reason_of
from tuiwb.data.prepared import Prepared
from tuiwb.models import Tokenizer
from tuiwb.recipe import Recipe, dumps
from tuiwb.workers import checkpoint
from tuiwb.workers.batches import Collator, GroupedSampler, evaluation_batches, row_dataset
from tuiwb.workers.callback import RunCallback
from tuiwb.workers.cpu import speed_up
from tuiwb.workers.data import Data
from tuiwb.workers.loss import LabelledLoss
from tuiwb.workers.model import adapters_to_float32, load_base, make_trainable

Rows = Any
# Written by our own callback, into the part's folder.
_OWN_REPORTS = {"tensorboard", "none"}
# Keys of the recipe that SFTConfig has as well, but that are done before or after the trainer.
_NOT_THE_TRAINERS = {"max_length", "packing", "packing_strategy", "padding_free", "report_to", "eos_token", "loss_type"}


def training_arguments(recipe: Recipe, output: Path, *, measured: bool) -> SFTConfig:
    """The recipe's keys under TRL's names, one to one.

    Args:
        measured: whether there is anything to evaluate on.
    """
    known = {field.name for field in fields(SFTConfig)} - _NOT_THE_TRAINERS
    given = {name: getattr(recipe, name) for name in recipe.__struct_fields__ if name in known}
    values = {name: value for name, value in given.items() if value is not None}
    values.pop("tf32", None) if not torch.cuda.is_available() else None
    if not measured:
        values |= {"eval_strategy": "no", "eval_on_start": False}
    reports = recipe.report_to or ()
    wanted = [name for name in ([reports] if isinstance(reports, str) else reports) if name not in _OWN_REPORTS]
    return SFTConfig(
        output_dir=str(output),
        # The prepared rows are cut already, and no column of theirs is the model's argument.
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        report_to=wanted or "none",
        logging_nan_inf_filter=False,
        logging_first_step=True,
        disable_tqdm=True,
        do_train=True,
        **{"bf16": False, "gradient_checkpointing": False, **values},
    )


def build(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> "Trainer":
    """As `stages.Builder`."""
    trainer = Trainer(make_trainable(load_base(recipe, device=device), recipe), recipe, data, callback, output)
    if device.type == "cpu":
        adapters_to_float32(trainer.model)
        speed_up(trainer.model)
    return trainer


class Trainer(SFTTrainer):
    """TRL's SFT trainer with our data, our loss where it is faster, and evaluation weighted by tokens.

    Args:
        model: with its trainable parameters set.
        callback: is told of every step and told what was asked for.
    """

    control: Any

    def __init__(self, model: torch.nn.Module, recipe: Recipe, data: Data, callback: RunCallback, output: Path) -> None:
        self._recipe = recipe
        self._data = data
        self.run_callback = callback
        self._labelled: LabelledLoss | None = None
        self._tokens = self._trained = 0
        pad = checkpoint.pad_id(data.tokenizer)
        args = training_arguments(recipe, output, measured=bool(data.held_out))
        prompts = bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))
        on_cpu = args.device.type == "cpu"
        super().__init__(
            model=model,
            args=args,
            train_dataset=row_dataset(data.prepared, data.rows),
            # That there is something to measure on; `evaluate` takes it from the data itself.
            eval_dataset=next((row_dataset(*held) for held in data.held_out.values()), None),
            data_collator=Collator(data.prepared, pad, masked=not on_cpu or prompts),
            processing_class=_processing_class(data.tokenizer, pad),
            callbacks=[callback],
        )
        # It prints each log as a dict, and dies with it when the disk is full; our callback says it in a line.
        self.remove_callback(PrinterCallback)
        # Checkpoints get the tokenizer's own files instead of what saving it anew would write.
        self.processing_class = None
        self._stop_ids = checkpoint.stop_ids(data.prepared, data.tokenizer)
        callback.counter = self
        if on_cpu:
            self._labelled = LabelledLoss(self.model)
            # Our loss is divided by the tokens of the whole step, whatever the model's own would take.
            self.model_accepts_loss_kwargs = True

    def take_tokens(self) -> tuple[int, int]:
        """As `callback.TokenCounter`."""
        counted = torch.tensor([int(self._tokens), int(self._trained)], device=self.args.device)
        self._tokens = self._trained = 0
        if self.args.world_size > 1:
            torch.distributed.all_reduce(counted)
        tokens, trained = counted.tolist()
        return tokens, trained

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
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measure(self, model: torch.nn.Module, prepared: Prepared, rows: Rows) -> list[float]:
        """Sum of losses and number of labelled tokens, over all processes."""
        collate = Collator(prepared, checkpoint.pad_id(self._data.tokenizer), masked=self._labelled is None)
        total = torch.zeros((), dtype=torch.float64)
        count = 0
        size = self.args.per_device_eval_batch_size
        for items in evaluation_batches(prepared, rows, size, self.args.process_index, self.args.world_size):
            batch = self._prepare_inputs(collate(items))
            batch.pop("tokens")
            with torch.no_grad(), self.compute_loss_context_manager():
                if self._labelled is not None:
                    loss, labelled = self._labelled(model, batch)
                else:
                    outputs = model(**batch, fused_lm_head=True)
                    loss, labelled = -outputs.log_probs.sum(), outputs.label_mask.sum()
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

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length" or self.args.world_size > 1:
            return super()._get_train_sampler(train_dataset)
        self._grouped = GroupedSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            self._data.prepared.lengths()[self._data.rows].tolist(),
            self.args.data_seed if self.args.data_seed is not None else self.args.seed,
        )
        return self._grouped

    def _run_epoch(self, *, epoch: int, **kwargs: Any) -> None:
        if isinstance(sampler := getattr(self, "_grouped", None), GroupedSampler):
            sampler.epoch = epoch
        super()._run_epoch(epoch=epoch, **kwargs)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """transformers' own (TRL's writes a model card too). A checkpoint that does not fit costs nothing but itself:
        its folder goes, and training goes on."""
        self.run_callback.saving(self.state)
        try:
            transformers.Trainer._save_checkpoint(self, model, trial)
        except Exception as error:
            if self.args.world_size > 1:
                raise  # the other processes cannot know
            self.run_callback.save_problem = _save_problem(error)
            shutil.rmtree(Path(self.args.output_dir, f"checkpoint-{self.state.global_step}"), ignore_errors=True)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save and output_dir is not None:
            data = self._data
            checkpoint.write_companions(
                Path(output_dir), data.tokenizer, data.template, self._stop_ids, dumps(self._recipe)
            )

    def _send_telemetry(self) -> None:
        """Nobody is told that somebody trains."""


def _processing_class(tokenizer: Tokenizer, pad: int) -> PreTrainedTokenizerFast:
    """The tokenizer as TRL wants to be given one."""
    special = {name: token for name, token in tokenizer.special_tokens.items() if name != "pad_token"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, pad_token=tokenizer.token(pad), **special)


def _save_problem(error: Exception) -> str:
    while not isinstance(error, OSError) and isinstance(error.__cause__ or error.__context__, Exception):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    said = reason_of(error) if isinstance(error, OSError) else str(error).splitlines()[0] if str(error) else ""
    return f"the checkpoint could not be written ({said or type(error).__name__})"
