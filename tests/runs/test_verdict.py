"""Causes and verdicts from their evidence alone."""

from pathlib import Path

import pytest

from tuiwb.rundir import CheckpointVerdict
from tuiwb.runs import causes
from tuiwb.runs.causes import Cause
from tuiwb.runs.ladder import Ladder
from tuiwb.runs.pace import Pace
from tuiwb.runs.verdict import Evidence, judge

STOPPED = {"outcome": "stopped"}
TRACE = "Traceback (most recent call last):\n  File 'x.py', line 1, in <module>\n"
WHOLE = CheckpointVerdict(Path("checkpoint-40"), True, True, 40, None, 1)
BROKEN = CheckpointVerdict(Path("checkpoint-50"), False, False, None, "it is cut off", 1)


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "out_of_memory",
            "out of GPU memory",
        ),
        ("[rank0]: torch.OutOfMemoryError: CUDA out of memory.", "out_of_memory", "out of GPU memory"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried", "host_memory", "out of host memory"),
        ("OSError: [Errno 28] No space left on device", "disk_full", "the disk is full"),
        (
            "RuntimeError: CUDA error: an illegal memory access",
            "cuda",
            "RuntimeError: CUDA error: an illegal memory access",
        ),
        ("ModuleNotFoundError: No module named 'trl'", "import", "ModuleNotFoundError: No module named 'trl'"),
        ("my.package.OddError: what it is", "error", "OddError: what it is"),
        ("[rank1]: ValueError: no", "error", "ValueError: no"),
        ("torch.distributed.elastic.multiprocessing.api.SignalException: Process 5 got signal: 15", "signal", ""),
    ],
)
def test_ends_that_are_recognised(tmp_path, end, code, words):
    log = tmp_path / "output.log"
    log.write_text("loading\n" + TRACE + end + "\n")
    found = causes.of_output(log)
    assert found.code == code
    assert not words or found.sentence == words


def test_a_warning_that_was_got_over_is_no_cause(tmp_path):
    log = tmp_path / "output.log"
    log.write_text("No module named 'kernels'. Please make sure you already `pip install kernels`\n")
    assert causes.of_output(log) is None
    log.write_text("UserWarning: CUDA out of memory, trying a smaller batch\n" + "step\n" * 20)
    assert causes.of_output(log) is None


def test_only_the_output_of_this_attempt_counts(tmp_path):
    log = tmp_path / "output.log"
    log.write_text(TRACE + "ValueError: of the first attempt\n")
    assert causes.of_output(log).sentence == "ValueError: of the first attempt"
    assert causes.of_output(log, log.stat().st_size) is None


def test_a_module_that_python_does_not_find(tmp_path):
    log = tmp_path / "output.log"
    log.write_text("/opt/venv/bin/python3.11: No module named tuiwb.workers\n")
    assert causes.of_output(log).code == "import"


@pytest.mark.parametrize(
    ("evidence", "state", "words"),
    [
        (Evidence(finished=True, named=WHOLE, returncode=1), "finished", ""),
        (Evidence(finished=True, named=BROKEN, returncode=0), "failed", "checkpoint-50 is broken: it is cut off"),
        (Evidence(finished=True, named=WHOLE, asked="cancel"), "finished", ""),
        (Evidence(asked="cancel", returncode=-9), "cancelled", ""),
        (Evidence(asked="stop", named=WHOLE, result=STOPPED, returncode=1), "stopped", "saved at step 40"),
        (Evidence(asked="pause", named=WHOLE, result=STOPPED), "paused", "saved at step 40"),
        (Evidence(asked="stop", named=BROKEN, newest=WHOLE), "stopped", "its newest whole checkpoint is step 40"),
        (Evidence(asked="stop", helped=("terminate",), began=True), "stopped", "SIGTERM as it did not answer"),
        (Evidence(asked="stop", result={"outcome": "failed", "message": "no room"}), "failed", "no room"),
        (Evidence(returncode=0), "failed", "exit code 0 and without a result"),
        (Evidence(returncode=-9, newest=WHOLE), "failed", "ended by SIGKILL from outside"),
        (Evidence(returncode=137), "failed", "ended by SIGKILL from outside"),
        (Evidence(returncode=-9, host_memory=True), "failed", "out of host memory"),
        (Evidence(returncode=-11), "failed", "ended by SIGSEGV"),
        (Evidence(returncode=-15), "stopped", "ended by SIGTERM from outside; before the first step"),
        (
            Evidence(asked="stop", newest=WHOLE),
            "stopped",
            "before the first step; its newest whole checkpoint is step 40",
        ),
        (Evidence(returncode=143, began=True), "stopped", "it saved nothing"),
        (Evidence(returncode=1, cause=Cause("signal", "")), "stopped", "ended by a signal from outside"),
        (Evidence(returncode=1, cause=Cause("cuda", "CUDA error: x")), "failed", "CUDA error: x"),
        (Evidence(seen=False), "lost", "nobody saw how it ended"),
        (Evidence(seen=False, finished=True, named=WHOLE), "finished", ""),
        (Evidence(returncode=None), "failed", "without a result"),
    ],
)  # fmt: skip
def test_verdicts(evidence, state, words):
    verdict = judge(evidence)
    assert (verdict.state, words in verdict.reason) == (state, True), verdict


def test_a_failure_keeps_the_workers_own_words_and_cause():
    result = {"outcome": "failed", "message": "out of memory in step 3: use less", "cause": "out_of_memory"}
    verdict = judge(Evidence(result=result, returncode=5))
    assert (verdict.state, verdict.reason, verdict.cause) == (
        "failed",
        "out of memory in step 3: use less",
        "out_of_memory",
    )


TRAINING = Pace(phase="train", longest_step_s=10, last_save_s=40)


def test_the_grace_is_three_steps_and_a_save():
    ladder = Ladder(grace_s=60, term_s=15)
    assert ladder.ask("stop", 0)
    assert not ladder.ask("stop", 5)
    assert ladder.next(69, TRAINING) is None
    assert ladder.next(70, TRAINING) == "terminate"
    assert ladder.next(84, TRAINING) is None
    assert ladder.next(85, TRAINING) == "kill"
    assert ladder.next(999, TRAINING) is None


def test_the_grace_is_never_less_than_was_set():
    ladder = Ladder(grace_s=60, term_s=15)
    ladder.ask("stop", 0)
    assert ladder.next(59, Pace(phase="train")) is None
    assert ladder.next(60, Pace(phase="train")) == "terminate"


def test_before_training_nothing_is_lost_by_haste():
    ladder = Ladder(grace_s=60, term_s=15)
    ladder.ask("stop", 0)
    assert ladder.next(5, Pace(phase="load")) == "terminate"


def test_a_save_that_goes_on_growing_is_left_alone():
    ladder = Ladder(grace_s=60, term_s=15)
    ladder.ask("stop", 0)
    assert ladder.next(500, Pace(phase="save", still_s=59)) is None
    assert ladder.next(501, Pace(phase="save", still_s=60)) == "terminate"


@pytest.mark.parametrize("phase", ["save", "eval"])
def test_the_step_after_a_long_save_or_evaluation_has_its_own_time(phase: str):
    ladder = Ladder(grace_s=60, term_s=15)
    ladder.ask("stop", 0)
    assert ladder.next(500, Pace(phase=phase, still_s=1)) is None
    assert ladder.next(558, TRAINING) is None
    assert ladder.next(569, TRAINING) == "terminate"


def test_who_has_answered_gets_time_to_leave():
    ladder = Ladder(grace_s=60, term_s=15)
    ladder.ask("stop", 0)
    ladder.acknowledged(50)
    assert ladder.next(109, Pace(phase="train")) is None
    assert ladder.next(110, Pace(phase="train")) == "terminate"


def test_a_cancel_waits_for_nothing():
    ladder = Ladder(grace_s=60, term_s=15)
    ladder.ask("stop", 0)
    assert ladder.ask("cancel", 3)
    assert ladder.next(3, TRAINING) == "terminate"
    assert not ladder.ask("stop", 4)
    assert ladder.next(18, TRAINING) == "kill"


def test_a_stop_that_could_not_save_is_withdrawn():
    ladder = Ladder(grace_s=60, term_s=15)
    ladder.ask("stop", 0)
    ladder.withdraw()
    assert ladder.next(999, TRAINING) is None
    assert ladder.ask("stop", 1000)
    assert ladder.next(1001, TRAINING) is None
