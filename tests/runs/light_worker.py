"""A worker that behaves as the trainer does and needs nothing but Python: `python -m light_worker RUN_DIR`.

What it does is told by the job's input; see `Plan`. Its losses follow from its random state alone, so a resumed run can
be compared with one that was never stopped.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import PartDir, Request, RunDir


@dataclass(frozen=True, kw_only=True)
class Plan:
    steps: int = 20
    step_s: float = 0.01
    save_every: int = 5
    save_s: float = 0.0
    load_s: float = 0.0
    eval_every: int = 0
    eval_s: float = 0.0
    weight_bytes: int = 4096
    children: int = 0  # processes that outlive us, each in a session of its own
    hold_at: int = 0  # waits after this step (first attempt) until there is a file `go` or a request
    fail_at: int = 0
    fail_words: str = "the loss went away"
    cut_checkpoint: int = 0  # this checkpoint is cut off behind the back of the worker
    deaf: bool = False  # never looks into control/
    stubborn: bool = False  # ignores SIGTERM
    mute: bool = False  # ends without a result
    exit_code: int = 0
    log_bytes: int = 0  # printed at each step
    logs: dict[str, dict[str, Any]] = field(default_factory=dict)  # by step: values of its line of metrics
    freeze_at: int = 0  # after this step nothing moves any more (first attempt) until there is a file `go`
    loader: bool = False  # takes its rows from torch's DataLoader, with a process of its own
    runs: dict[str, Any] = field(default_factory=dict)  # what it says of itself when training begins


def main() -> int:
    run = RunDir(Path(sys.argv[1]))
    plan = Plan(**rundir.read_job(run)["input"])
    part = run.part(1, "main")
    if plan.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(plan.children):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    if int(os.environ.get("RANK", "0")) > 0:
        return follow_the_first_rank(part)
    return Worker(run, part, plan).work()


def follow_the_first_rank(part: PartDir) -> int:
    """Another rank of torchrun: it goes when the first one has written its result."""
    while not part.result_file.exists():
        time.sleep(0.01)
    return 0


class Worker:
    def __init__(self, run: RunDir, part: PartDir, plan: Plan) -> None:
        self.run, self.part, self.plan = run, part, plan
        self.beats = rundir.BeatWriter(run, every_s=0.0)
        self.metrics = rundir.MetricsWriter(part.metrics_file)
        self.random = random.Random(0)
        self.step = 0
        self.loss = 0.0

    def work(self) -> int:
        try:
            return self._train()
        except Exception as error:
            with contextlib.suppress(OSError):  # the disk is full: the wrapper finds out by itself
                rundir.write_result(
                    self.run, self.part, "failed", message=str(error), error=type(error).__name__, step=self.step
                )
            raise

    def _train(self) -> int:
        plan = self.plan
        self.beats.beat("load")
        _sleep(plan.load_s)
        if point := rundir.resume_point(self.run):
            self._restore(point[1].path)
        print(f"training from step {self.step}", flush=True)
        rundir.append_event(self.run, "training", by="worker", runs=plan.runs)
        rows = _rows() if plan.loader else None
        while self.step < plan.steps:
            if rows is not None:
                next(rows)
            self.beats.beat("train", self.step, plan.steps)
            _sleep(plan.step_s)
            self.step += 1
            loss = self.loss = self.random.random()
            self.beats.beat("train", self.step, plan.steps)
            line = {"time": time.time(), "current_steps": self.step, "total_steps": plan.steps, "loss": loss}
            self.metrics.write(line | plan.logs.get(str(self.step), {}))
            if self.step == plan.freeze_at and rundir.current_attempt(self.run) == 1:
                while not (self.run.path / "go").exists():
                    time.sleep(0.01)
            if plan.log_bytes:
                print("x" * plan.log_bytes, flush=True)
            if self.step == plan.fail_at:
                raise RuntimeError(plan.fail_words)
            if plan.save_every and self.step % plan.save_every == 0:
                self._save()
            if plan.eval_every and self.step % plan.eval_every == 0:
                self._evaluate()
            if self.step == plan.hold_at and rundir.current_attempt(self.run) == 1:
                self._hold()
            if self._asked_to_end():
                return 0
        final = self._save()
        if not plan.mute:
            rundir.write_result(self.run, self.part, "finished", checkpoint=final, step=self.step)
        return plan.exit_code

    def _evaluate(self) -> None:
        """Batch by batch, with a beat for each; nothing is answered meanwhile."""
        end = time.monotonic() + self.plan.eval_s
        while time.monotonic() < end:
            self.beats.beat("eval", self.step, self.plan.steps)
            time.sleep(0.02)
        self.beats.beat("train", self.step, self.plan.steps)

    def _hold(self) -> None:
        while not (self.run.path / "go").exists() and (self.plan.deaf or not self._requests()):
            time.sleep(0.01)

    def _requests(self) -> list[Request]:
        return [request for request in rundir.pending_requests(self.run) if request.verb in ("save", "stop", "pause")]

    def _asked_to_end(self) -> bool:
        if self.plan.deaf:
            return False
        return any(self._answer(request) for request in self._requests())

    def _answer(self, request: Request) -> bool:
        try:
            saved = self._save()
        except OSError as error:  # as the trainer does: nothing is lost by going on
            shutil.rmtree(self.part.path / f"checkpoint-{self.step}")
            rundir.acknowledge(self.run, request, step=self.step, problem=str(error))
            return False
        rundir.acknowledge(self.run, request, checkpoint=saved, step=self.step)
        if request.verb == "save":
            return False
        if not self.plan.mute:
            rundir.write_result(self.run, self.part, "stopped", checkpoint=saved, step=self.step)
        return True

    def _save(self) -> Path:
        """As transformers does: straight into checkpoint-N, weights first, trainer_state.json last."""
        folder = self.part.path / f"checkpoint-{self.step}"
        self.beats.beat("save", self.step, self.plan.steps)
        folder.mkdir(parents=True, exist_ok=True)
        write_safetensors(folder / "adapter_model.safetensors", self.plan.weight_bytes)
        (folder / "adapter_config.json").write_text("{}")
        _sleep(self.plan.save_s)
        write_zip(folder / "optimizer.pt")
        write_zip(folder / "scheduler.pt")
        write_zip(folder / "rng_state.pth", repr(self.random.getstate()))
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": self.step}))
        rundir.append_event(self.run, "saved", by="worker", part=self.part.name, step=self.step, loss=self.loss)
        if self.step == self.plan.cut_checkpoint:
            cut(folder / "adapter_model.safetensors")
        self.beats.beat("train", self.step, self.plan.steps)
        return folder

    def _restore(self, checkpoint: Path) -> None:
        self.step = json.loads((checkpoint / "trainer_state.json").read_text())["global_step"]
        with zipfile.ZipFile(checkpoint / "rng_state.pth") as archive:
            state: Any = eval(archive.read("archive/data").decode())
        self.random.setstate(state)


def write_safetensors(path: Path, size: int) -> None:
    """A file of the format with one tensor of `size` bytes."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + os.urandom(size))


def write_zip(path: Path, content: str = "state") -> None:
    """A file with the outer form of torch.save."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data", content)


def cut(path: Path) -> None:
    """Take the last bytes away."""
    os.truncate(path, path.stat().st_size - 100)


def _rows() -> Any:
    from torch.utils.data import DataLoader

    return iter(DataLoader(range(1_000_000), num_workers=1, prefetch_factor=2))  # type: ignore[arg-type]


def _sleep(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)


if __name__ == "__main__":
    sys.exit(main())
