"""What a trainer tells the run directory, and what the run directory tells the trainer."""

import contextlib
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuiwb import rundir
from tuiwb.base.errors import RunFault
from tuiwb.rundir import BeatWriter, MetricsWriter, PartDir, Request, RunDir
from tuiwb.workers.in_force import in_force

# The last so many seconds of training tell how fast it goes.
_WINDOW_S = 120.0
# Our names of what the trainer logs.
_NAMES = {"learning_rate": "lr"}
_TOLD = ("loss", "grad_norm", "lr", "tokens_per_s")
_SKIPPED = {"total_flos", "train_runtime", "train_samples_per_second", "train_steps_per_second", "epoch", "step"}


class TokenCounter(Protocol):
    """A trainer that counts what it trains on."""

    def take_tokens(self) -> tuple[int, int]:
        """Tokens and trained tokens, over all processes, since the last call."""


class RunCallback(TrainerCallback):
    """Writes metrics when a step has ended, beats and events; reads requests and answers them.

    Only the first process touches the run directory. What it reads there it tells the others, so that all of them stop
    at the same step.

    Args:
        examples: examples of an epoch.
        mean_tokens: tokens of an example; the remaining time is told from the tokens that are left.

    Attributes:
        weights_only: the next checkpoint is the last one before a pause for want of room, and would not fit whole.
    """

    def __init__(self, run: RunDir, part: PartDir, beats: BeatWriter, *, examples: int, mean_tokens: float) -> None:
        self.run = run
        self.part = part
        self.beats = beats
        self.counter: TokenCounter | None = None
        self.stopped: str | None = None
        self.save_problem: str | None = None
        self.last_problem: str | None = None
        self.weights_only = False
        self._examples = examples
        self._mean_tokens = mean_tokens
        self._expected = 0.0
        self._metrics: MetricsWriter | None = None
        self._board: Any = None
        self._waiting: list[Request] = []
        self._begun = self._steps_began = self._evaluated = self._saving = 0.0
        self._steps = 0  # that have ended since the last log
        self._eval_s = 0.0
        self._tokens = self._trained = 0
        self._window: list[tuple[float, int]] = []

    def expect_rows(self, examples: int, mean_tokens: float) -> None:
        """That an epoch has so many rows, each with so many tokens, where several examples make a row."""
        self._examples, self._mean_tokens = examples, mean_tokens

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begun = self._steps_began = time.monotonic()
        if not state.is_world_process_zero:
            return
        size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        examples = min(state.max_steps * size, self._examples * max(state.num_train_epochs, 1))
        self._expected = self._mean_tokens * examples
        self._metrics = MetricsWriter(self.part.metrics_file)
        self._tokens, self._trained = _counted_before(self.part, state.global_step)
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(self.part.tensorboard), purge_step=state.global_step or None)
        rundir.append_event(
            self.run,
            "training",
            by="worker",
            part=self.part.name,
            step=state.global_step,
            total_steps=state.max_steps,
            runs=in_force(args, kwargs.get("model")),
        )
        self._beat("train", state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not self._steps:
            self._steps_began = time.monotonic()
        self._beat("train", state)

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._beat("train", state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._beat("train", state)
        self._steps += 1
        for request in self._requests(args, state):
            if request.verb == "cancel":
                self.stopped, control.should_training_stop = "cancel", True
                control.should_save = control.should_evaluate = False
                self._answer(request, step=state.global_step)
                return
            self._waiting.append(request)
            self.weights_only = self.weights_only or bool(request.fields.get("weights_only"))
            control.should_save = True
            if request.verb in ("stop", "pause"):
                self.stopped, control.should_training_stop = request.verb, True
        if state.global_step >= state.max_steps:
            control.should_save = True  # the result, whatever save_strategy says

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        counted = self.counter.take_tokens() if self.counter is not None and "loss" in (logs or {}) else None
        if not state.is_world_process_zero or self._metrics is None or not logs or "train_runtime" in logs:
            _refuse_nan(args, state, logs or {})
            return
        if counted is not None:
            record = self._step_record(state, counted)
        else:
            record = {"current_steps": state.global_step, "total_steps": state.max_steps}
        record |= {_NAMES.get(name, name): value for name, value in logs.items() if name not in _SKIPPED}
        record["epoch"] = logs.get("epoch", state.epoch)
        self._metrics.write({"time": time.time(), "attempt": rundir.current_attempt(self.run), **record})
        _tell(record)
        for name, value in logs.items():
            if isinstance(value, int | float) and name not in _SKIPPED:
                tag = f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"
                with contextlib.suppress(OSError):  # a full disk costs the curve a point, never the run
                    self._board.add_scalar(tag, value, state.global_step)
        _refuse_nan(args, state, logs)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not self._evaluated:
            self._evaluated = time.monotonic()
        self._beat("eval", state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._evaluated:
            self._eval_s = time.monotonic() - self._evaluated
            self._evaluated = 0.0
            self._steps_began += self._eval_s
        self._beat("train", state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._steps_began += time.monotonic() - self._saving
        checkpoint = self.part.path / f"checkpoint-{state.global_step}"
        verdict = rundir.verify_checkpoint(checkpoint)
        problem = self.last_problem = self.save_problem or verdict.problem
        if problem is None:
            rundir.append_event(
                self.run,
                "saved",
                by="worker",
                part=self.part.name,
                step=state.global_step,
                bytes=verdict.bytes,
                **({"weights_only": True} if self.weights_only else {}),
                **_newest_losses(state),
            )
            for request in self._waiting:
                self._answer(request, checkpoint=checkpoint, step=state.global_step)
        else:
            rundir.append_event(self.run, "save_failed", by="worker", step=state.global_step, problem=problem)
            for request in self._waiting:
                self._answer(request, step=state.global_step, problem=problem)
            if self.stopped in ("stop", "pause"):
                # Nothing of the run is lost by going on; the disk may have room later.
                self.stopped, control.should_training_stop = None, state.global_step >= state.max_steps
        self._waiting = []
        self.save_problem = None
        self.weights_only = False
        self._beat("train", state)

    def expect(self, tokens: float) -> None:
        """The tokens of the whole run, where the trainer knows better than by the length of the examples."""
        self._expected = tokens

    def saving(self, state: TrainerState) -> None:
        """Called before a checkpoint is written."""
        self._saving = time.monotonic()
        if state.is_world_process_zero:
            self._beat("save", state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._metrics is not None:
            self._metrics.close()
        if self._board is not None:
            with contextlib.suppress(OSError):
                self._board.close()

    def _requests(self, args: TrainingArguments, state: TrainerState) -> list[Request]:
        """What was asked since the last step and is not yet being done; the same in every process."""
        known = {request.id for request in self._waiting}
        found: list[Any] = []
        if state.is_world_process_zero:
            found = [self._weighed(each) for each in rundir.pending_requests(self.run) if each.id not in known]
        if args.world_size > 1:
            box = [found]
            torch.distributed.broadcast_object_list(box, src=0)
            found = box[0]
        return found

    @property
    def for_want_of_room(self) -> bool:
        """Whether what is saved now is saved because the disk is nearly full."""
        return any(request.fields.get("by") == "disk" for request in self._waiting)

    def _weighed(self, request: Request) -> Request:
        """A request; with what fits, where the disk is the reason for it."""
        if request.fields.get("by") != "disk":
            return request
        whole = (rundir.verify_checkpoint(path) for path in reversed(rundir.checkpoints(self.part)))
        needed = next((verdict.bytes for verdict in whole if verdict.resumable), 0)
        fits = shutil.disk_usage(self.part.path).free >= needed
        return request if fits else replace(request, fields={**request.fields, "weights_only": True})

    def _answer(self, request: Request, *, checkpoint: Path | None = None, **fields: Any) -> None:
        try:
            rundir.acknowledge(self.run, request, checkpoint=checkpoint, **fields)
        except OSError as error:
            rundir.append_event(self.run, "unanswered", by="worker", request=request.id, problem=str(error))

    def _step_record(self, state: TrainerState, counted: tuple[int, int]) -> dict[str, Any]:
        now = time.monotonic()
        tokens, trained = counted
        self._tokens += tokens
        self._trained += trained
        # The tokens are those of all steps since the last log, so the time must be theirs too.
        steps_s, steps, self._steps = now - self._steps_began, max(self._steps, 1), 0
        self._window.append((steps_s, tokens))
        while len(self._window) > 1 and sum(seconds for seconds, _ in self._window) > _WINDOW_S:
            self._window.pop(0)
        seconds = sum(seconds for seconds, _ in self._window)
        speed = sum(tokens for _, tokens in self._window) / max(seconds, 1e-9)
        elapsed = now - self._begun
        remaining = self._remaining(state, speed)
        return {
            "current_steps": state.global_step,
            "total_steps": state.max_steps,
            "percentage": round(100 * state.global_step / max(state.max_steps, 1), 2),
            "elapsed_time": str(timedelta(seconds=int(elapsed))),
            "remaining_time": str(timedelta(seconds=int(remaining))),
            "elapsed_s": round(elapsed, 3),
            "remaining_s": round(remaining, 1),
            "throughput": round(speed, 2),
            "tokens_per_s": round(speed, 2),
            "total_tokens": self._tokens,
            "trained_tokens": self._trained,
            "step_s": round(steps_s / steps, 4),
        }

    def _remaining(self, state: TrainerState, speed: float) -> float:
        """Seconds to go: the tokens that are left at the speed of the last minutes, and the evaluations."""
        evaluations = 0.0
        if self._eval_s and state.eval_steps:
            evaluations = (state.max_steps - state.global_step) // state.eval_steps * self._eval_s
        # Steps differ in length, so the rest is told by tokens.
        left = max(self._expected - self._tokens, 0.0) if state.global_step < state.max_steps else 0.0
        return left / max(speed, 1e-9) + evaluations

    def _beat(self, phase: str, state: TrainerState) -> None:
        if state.is_world_process_zero:
            self.beats.beat(phase, state.global_step, state.max_steps, self.part.number)


def _refuse_nan(args: TrainingArguments, state: TrainerState, logs: Mapping[str, Any]) -> None:
    """End a run whose loss is no number any more, before its next checkpoint: its weights never become any again.

    Raises:
        RunFault: what to change.
    """
    # With fp16, a step whose gradients overflow is left out by the loss scaling, and the weights stay whole.
    if not args.fp16 and not math.isfinite(logs.get("loss", 0.0)):
        raise RunFault(
            f"the loss is {logs['loss']} in step {state.global_step}, so the weights are spoilt; lower learning_rate "
            f"(it was {logs.get('learning_rate', args.learning_rate):.3g}) or set max_grad_norm, and train anew"
        )


def _newest_losses(state: TrainerState) -> dict[str, float]:
    """The loss of the last step that was logged, and of the last evaluation."""
    found: dict[str, float] = {}
    for logs in state.log_history[-8:]:
        found |= {name: logs[name] for name in ("loss", "eval_loss") if name in logs}
    return found


def _counted_before(part: PartDir, step: int) -> tuple[int, int]:
    """What earlier attempts had counted when they had done so many steps."""
    if not step:
        return 0, 0
    tokens = trained = 0
    for record in rundir.read_all(part.metrics_file):
        if record.get("current_steps") == step and "total_tokens" in record:
            tokens, trained = int(record["total_tokens"]), int(record.get("trained_tokens", 0))
    return tokens, trained


def _tell(record: dict[str, Any]) -> None:
    """A line for people in output.log. Written past Python's buffers, which would keep what a full disk refused and
    fail with it again."""
    shown = {name: record[name] for name in _TOLD if isinstance(record.get(name), int | float)}
    shown |= {name: value for name, value in record.items() if name.startswith("eval_") and isinstance(value, float)}
    values = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
    line = f"step {record['current_steps']}/{record['total_steps']}  {values}\n"
    with contextlib.suppress(OSError):
        os.write(1, line.encode())
