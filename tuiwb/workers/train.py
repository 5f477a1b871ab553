"""The training worker: `python -m tuiwb.workers.train RUN_DIR`.

It reads the resolved recipe from job.yaml, prepares the data, trains, and says how it went in the part's result.json.
The last checkpoint (the best, with load_best_model_at_end) is what came out; result.json names it. A recipe with stages
is done part by part, each on what the parts before it made.
"""

import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tuiwb import rundir
from tuiwb.base.errors import InputFault, RunFault
from tuiwb.recipe import Recipe
from tuiwb.recipe.parts import Made, fed, feeds, parts_of
from tuiwb.resolve.trainable import refusals
from tuiwb.rundir import BeatWriter, PartDir, RunDir
from tuiwb.workers import failure
from tuiwb.workers.data import Data, load_data
from tuiwb.workers.stages import Trains, builder

_FAILED = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Train. Returns 0 when the part finished or stopped as asked, 5 when it failed."""
    run = RunDir(Path((arguments or sys.argv[1:])[0]).absolute())
    # Nobody is told that somebody trains, and no progress bar fills the log.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    job = rundir.read_job(run)
    names = job.get("parts") or ["main"]
    attempt = Attempt(run, run.part(1, names[0]))
    made: list[Made] = []
    try:
        parts = parts_of(msgspec.convert(job.get("input") or {}, Recipe))
        for number, (name, part, feed) in enumerate(zip(names, parts, feeds(parts), strict=True), 1):
            attempt = Attempt(run, run.part(number, name))
            whole = fed(part, feed, made)
            if not attempt.has_finished() and not attempt.train(whole):
                return 0
            if number < len(parts):
                made.append(Made(whole, attempt.folder()))
                clear_away()
    except Exception as error:
        traceback.print_exc()
        return attempt.failed(error, job.get("plan"))
    return 0


def clear_away() -> None:
    """Let go of a part's models before the next one loads its own."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if accelerate := sys.modules.get("accelerate.state"):
        # Each part has a precision and a sharding of its own; the processes stay.
        accelerate.AcceleratorState._reset_state(reset_partial_state=False)
        from tuiwb.workers.sharding import forget

        forget()


class Attempt:
    """One attempt at one part of a run, in one of its processes. The first process alone writes into the run."""

    def __init__(self, run: RunDir, part: PartDir) -> None:
        self.run = run
        self.part = part
        self.first = os.environ.get("RANK", "0") == "0"
        self.beats = BeatWriter(run)
        self.step: int | None = None
        self._began = time.monotonic()

    def has_finished(self) -> bool:
        """Whether an earlier attempt brought the part to its end."""
        return (rundir.read_result(self.part) or {}).get("outcome") == "finished"

    def folder(self) -> str:
        """What came out of the part.

        Raises:
            RunFault: it is not there any more.
        """
        named = (rundir.read_result(self.part) or {}).get("checkpoint")
        if not named or not (verdict := rundir.verify_checkpoint(self.run.path / named)).valid:
            problem = verdict.problem if named else "its result names none"
            raise RunFault(f"the checkpoint of part {self.part.path.name} cannot be gone on from: {problem}")
        return str(self.run.path / named)

    def train(self, recipe: Recipe) -> bool:
        """Bring the part to its end, or to where it was asked to stop, and write its result.

        Returns:
            whether it came to its end.

        Raises:
            TuiwbError: something that the user gave is at fault.
            Exception: whatever the libraries raise.
        """
        refuse_unknown(recipe)
        self._beat("data")
        data = self._prepared(recipe) if self.first else None
        self._beat("load")
        import transformers
        from accelerate import PartialState

        from tuiwb.workers.sharding import joining

        with joining(recipe):
            state = PartialState(cpu=bool(recipe.use_cpu))
        state.wait_for_everyone()
        data = data or load_data(recipe, lambda done, total: None)
        # As TRL does, so that a new adapter begins with the same numbers.
        transformers.set_seed(42 if recipe.seed is None else recipe.seed)
        trainer = self._trainer(recipe, data, state.device)
        try:
            self._run(trainer)
        finally:
            self.step = trainer.state.global_step
        finished = self._finish(trainer)
        state.wait_for_everyone()
        return finished

    def failed(self, error: Exception, plan: dict[str, Any] | None = None) -> int:
        """Say why it failed.

        Args:
            plan: what was planned for the run.

        Returns:
            the exit code.
        """
        message = failure.sentence(error, step=self.step, plan=plan)
        sys.stderr.write(f"{message}\n")
        if not self.first:
            return _FAILED
        whole = [path for path in rundir.checkpoints(self.part) if rundir.verify_checkpoint(path).valid]
        cause = failure.cause_of(error)
        self._event("failed", message=message, cause=cause)
        try:
            rundir.write_result(
                self.run,
                self.part,
                "failed",
                checkpoint=whole[-1] if whole else None,
                step=self.step,
                message=message,
                error=type(error).__name__,
                cause=cause,
                **self._measured(),
            )
        except OSError as unwritten:
            sys.stderr.write(f"result.json could not be written: {unwritten}\n")
        return _FAILED

    def _prepared(self, recipe: Recipe) -> Data:
        data = load_data(recipe, lambda done, total: self._beat("data", done, total))
        summary = data.prepared.summary
        counts = {name: summary[name] for name in ("rows", "kept", "tokens", "trained_tokens")}
        held = {name: len(rows) for name, (_, rows) in data.held_out.items()}
        digest = data.digest()
        if self._resume_from() is not None and self._digest_before() not in (None, digest):
            raise InputFault(
                "the examples are not those that this run began with, so it cannot go on where it was; put dataset and "
                "settings of old back, or begin anew with `tuiwb runs clone`",
                key="datasets",
            )
        self._event("prepared", examples=len(data.rows), held_out=held, digest=digest, **counts)
        try:
            data.record(self.part.path, recipe)
        except OSError as error:
            self._event("data_problem", message=f"the rows of this run are not recorded: {error}")
        for problem in summary["problems"]:
            self._event("data_problem", message=problem)
        return data

    def _digest_before(self) -> str | None:
        """That of the examples which an earlier attempt trained on."""
        events = (event for event in rundir.read_events(self.run) if event.get("part") == self.part.name)
        return next((event.get("digest") for event in events if event["event"] == "prepared"), None)

    def _trainer(self, recipe: Recipe, data: Data, device: Any) -> Trains:
        from tuiwb.workers.callback import RunCallback
        from tuiwb.workers.lora import kept_bytes
        from tuiwb.workers.model import count_parameters

        callback = RunCallback(self.run, self.part, self.beats, examples=len(data.rows), mean_tokens=data.mean_tokens)
        trainer = builder(recipe.stage or "sft")(recipe, data, callback, self.part.path, device)
        trainable, total = count_parameters(trainer.model)
        if not trainable:
            raise InputFault("nothing of this model would be trained", key="method")
        kept = {"kept_bytes": size} if (size := kept_bytes(trainer.model)) else {}
        self._event("loaded", trainable_parameters=trainable, parameters=total, device=str(device), **kept)
        return trainer

    def _run(self, trainer: Trains) -> None:
        from transformers import TrainerState

        checkpoint = self._resume_from()
        if checkpoint is None:
            trainer.train()
            return
        saved = json.loads((checkpoint / "trainer_state.json").read_bytes())
        if saved["global_step"] >= saved["max_steps"]:
            # The last attempt ended between its last checkpoint and its result.
            trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            return
        self._event("resumed", step=saved["global_step"], checkpoint=checkpoint.name)
        trainer.train(resume_from_checkpoint=str(checkpoint))

    def _resume_from(self) -> Path | None:
        """The checkpoint that this attempt begins from: what the run's state says, else the newest that is whole."""
        state = rundir.read_state(self.run)
        if state is not None and state.get("attempt", 1) > 1:
            resume = state.get("resume") or {}
            named = resume.get("checkpoint") if resume.get("part", self.part.number) == self.part.number else None
            return self.run.path / named if named else None
        if state is not None:
            return None
        whole = [path for path in rundir.checkpoints(self.part) if rundir.verify_checkpoint(path).resumable]
        return whole[-1] if whole else None

    def _finish(self, trainer: Trains) -> bool:
        state, asked = trainer.state, trainer.run_callback.stopped
        # Where nobody asked, training ended early because nothing got better any more.
        finished = asked != "cancel" and (asked is None or state.global_step >= state.max_steps)
        if not self.first:
            return finished
        last = self.part.path / f"checkpoint-{state.global_step}"
        checkpoint: Path | None = last
        if finished and trainer.args.load_best_model_at_end and state.best_model_checkpoint:
            checkpoint = Path(state.best_model_checkpoint)
            if state.global_step < state.max_steps:
                last = checkpoint
        if asked == "cancel":
            checkpoint = None
        elif not (verdict := rundir.verify_checkpoint(last)).valid:
            problem = trainer.run_callback.last_problem or f"the last checkpoint is broken: {verdict.problem}"
            raise RunFault(f"{problem}; make room where the run is and resume it")
        self._event("finished" if finished else "stopped", step=state.global_step)
        rundir.write_result(
            self.run,
            self.part,
            "finished" if finished else "stopped",
            checkpoint=checkpoint,
            step=state.global_step,
            metrics=_last_metrics(state.log_history),
            **self._measured(),
        )
        return finished

    def _measured(self) -> dict[str, Any]:
        """Peaks of this process, in bytes, and its seconds."""
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        measured = {"seconds": round(time.monotonic() - self._began, 1), "peak_rss_bytes": rss, "peak_bytes": rss}
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            measured["peak_bytes"] = measured["peak_cuda_bytes"] = torch.cuda.max_memory_allocated()
            measured["peak_cuda_reserved_bytes"] = torch.cuda.max_memory_reserved()
        return measured

    def _beat(self, phase: str, done: int = 0, total: int | None = None) -> None:
        if self.first:
            self.beats.beat(phase, done, total, self.part.number)

    def _event(self, event: str, **fields: Any) -> None:
        if self.first:
            rundir.append_event(self.run, event, by="worker", part=self.part.name, **fields)


def refuse_unknown(recipe: Recipe) -> None:
    """Refuse what can be planned but is not trained; the checks before launch say the same.

    Raises:
        InputFault: with the key.
    """
    for key, problem, fix in refusals(recipe):
        raise InputFault(f"{problem}; use {fix}", key=key)


def _last_metrics(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The newest value of each loss."""
    found: dict[str, float] = {}
    for logs in history:
        found |= {name: value for name, value in logs.items() if name.endswith("loss")}
    return found


if __name__ == "__main__":
    sys.exit(main())
