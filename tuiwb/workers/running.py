"""What the trainers of all stages have in common: how they go together with a run directory."""

import contextlib
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import EarlyStoppingCallback, PreTrainedTokenizerFast, PrinterCallback

from tuiwb.base.errors import reason_of
from tuiwb.models import Tokenizer
from tuiwb.recipe import Recipe, dumps
from tuiwb.workers import checkpoint
from tuiwb.workers.answers import Answers
from tuiwb.workers.batches import GroupedSampler
from tuiwb.workers.callback import RunCallback
from tuiwb.workers.data import Data
from tuiwb.workers.rates import lora_plus
from tuiwb.workers.sharding import deepspeed_on_cpu, split_on_cpu


class RunTrainer(transformers.Trainer):
    """Goes before one of TRL's trainers in a class's bases: counts tokens, writes whole checkpoints, and draws rows so
    that a resumed run sees what it would have seen.

    Args:
        callback: is told of every step and told what was asked for.
        arguments: those of TRL's trainer.
    """

    control: Any
    optimizer: Any
    processing_class: Any
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool

    def __init__(self, recipe: Recipe, data: Data, callback: RunCallback, **arguments: Any) -> None:
        self._recipe = recipe
        self._data = data
        self.run_callback = callback
        self._tokens = self._trained = 0
        self._stop_ids = data.stop_ids()
        pad = checkpoint.pad_id(data.tokenizer)
        super().__init__(callbacks=[callback], processing_class=_processing_class(data.tokenizer, pad), **arguments)
        # It prints each log as a dict, and dies with it when the disk is full; our callback says it in a line.
        self.remove_callback(PrinterCallback)
        if recipe.early_stopping_patience and self.args.eval_strategy != "no":
            self.add_callback(EarlyStoppingCallback(recipe.early_stopping_patience))
        self._answers = Answers(recipe, data, self._stop_ids, callback.run, callback.part)
        callback.counter = self

    def take_tokens(self) -> tuple[int, int]:
        """As `callback.TokenCounter`."""
        counted = torch.tensor([int(self._tokens), int(self._trained)], device=self.args.device)
        self._tokens = self._trained = 0
        if self.args.world_size > 1:
            torch.distributed.all_reduce(counted)
        tokens, trained = counted.tolist()
        return tokens, trained

    def answer_prompts(self) -> None:
        """Let the model answer the recipe's prompts, for people to read how it changes."""
        self._answers.write(self.accelerator.unwrap_model(self.model), self.state)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        grouped = self._recipe.train_sampling_strategy == "group_by_length" and not self._recipe.packing
        if not grouped:
            return transformers.Trainer._get_train_sampler(self, train_dataset)
        self._drawn = GroupedSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size,
            self._data.lengths().tolist(),
            self.args.data_seed if self.args.data_seed is not None else self.args.seed,
        )
        return self._drawn

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None and self._recipe.loraplus_lr_ratio is not None:
            self.optimizer = lora_plus(model or self.model, self.args, self._recipe.loraplus_lr_ratio)
        return super().create_optimizer(model)

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            from accelerate.utils import FullyShardedDataParallelPlugin

            split_on_cpu(self.accelerator, FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args))
            self.is_fsdp_enabled = getattr(self.accelerator.state, "fsdp_plugin", None) is not None
        if self.args.deepspeed and not self.is_deepspeed_enabled:
            deepspeed_on_cpu(self.accelerator, self.args.deepspeed_plugin)
            self.is_deepspeed_enabled = getattr(self.accelerator.state, "deepspeed_plugin", None) is not None

    def _run_epoch(self, *, epoch: int, **kwargs: Any) -> None:
        if (sampler := getattr(self, "_drawn", None)) is not None:
            sampler.epoch = epoch
        super()._run_epoch(epoch=epoch, **kwargs)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """transformers' own (TRL's writes a model card too). A checkpoint that does not fit costs nothing but itself:
        its folder goes, and training goes on; before a pause for want of room the weights are saved alone."""
        told = self.run_callback
        told.saving(self.state)
        if self.args.eval_strategy == "no":
            self.answer_prompts()
        folder = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
        while True:
            try:
                with self._weights_only(told.weights_only):
                    transformers.Trainer._save_checkpoint(self, model, trial)
                return
            except Exception as error:
                if self.args.world_size > 1:
                    raise  # the other processes cannot know
                shutil.rmtree(folder, ignore_errors=True)
                if told.weights_only or not told.for_want_of_room:
                    told.save_problem = _save_problem(error)
                    return
                told.weights_only = True  # it had seemed to fit

    @contextlib.contextmanager
    def _weights_only(self, wanted: bool) -> Iterator[None]:
        """Leave out of a checkpoint what only training needs, and keep the older ones, from which it can go on."""
        before = self.args.save_only_model, self.args.save_total_limit
        if wanted:
            self.args.save_only_model, self.args.save_total_limit = True, None
        try:
            yield
        finally:
            self.args.save_only_model, self.args.save_total_limit = before

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Checkpoints get the tokenizer's own files instead of what saving it anew would write.
        tokenizer, self.processing_class = self.processing_class, None
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.processing_class = tokenizer
        if self.args.should_save and output_dir is not None:
            data = self._data
            checkpoint.write_companions(
                Path(output_dir), data.tokenizer, data.template, self._stop_ids, dumps(self._recipe)
            )

    def _send_telemetry(self) -> None:
        """Nobody is told that somebody trains."""


def save_only(model: Any, adapter: str = "default") -> None:
    """Let a PeftModel save this adapter alone; a reference beside it comes from where it came from."""
    model.save_pretrained = functools.partial(model.save_pretrained, selected_adapters=[adapter])


def _processing_class(tokenizer: Tokenizer, pad: int) -> PreTrainedTokenizerFast:
    """The tokenizer as TRL wants to be given one."""
    special = {name: token for name, token in tokenizer.special_tokens.items() if name != "pad_token"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, pad_token=tokenizer.token(pad), **special)


def _save_problem(error: Exception) -> str:
    while not isinstance(error, OSError) and isinstance(error.__cause__ or error.__context__, Exception):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    said = reason_of(error) if isinstance(error, OSError) else str(error).splitlines()[0] if str(error) else ""
    return f"the checkpoint could not be written ({said or type(error).__name__})"
