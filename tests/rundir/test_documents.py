"""State, beat, requests, results and identities."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tuiwb import rundir
from tuiwb.base import atomic
from tuiwb.rundir import BeatWriter, Identity, RunDir


@pytest.fixture
def run(tmp_path):
    found = RunDir(tmp_path / "run")
    found.path.mkdir()
    return found


def test_the_room_costs_little_and_is_standard_library_alone():
    script = "import sys; import tuiwb.rundir; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    names = set(eval(subprocess.check_output([sys.executable, "-S", "-c", script], text=True, env=_search())))
    strangers = {name for name in names if name not in sys.stdlib_module_names and name != "tuiwb"}
    assert strangers <= {"__main__"}


def test_ids_sort_are_unique_and_safe():
    ids = [rundir.new_run_id("../Ein Läufer ⟨x⟩\n", "train") for _ in range(100)]
    assert len(set(ids)) == 100
    for run_id in ids:
        assert run_id.isascii()
        assert run_id.replace("-", "").isalnum()
        assert Path(run_id).name == run_id
    assert rundir.new_run_id("…", "train").split("-")[2] == "train"
    assert len(rundir.new_run_id("x" * 999, "train")) < 70


def test_state_counts_up_and_keeps_what_is_not_changed(run):
    rundir.write_state(run, "starting", attempt=1, wrapper={"pid": 1})
    rundir.write_state(run, "running", reason="because")
    state = rundir.write_state(run, "running", reason=None)
    assert state == rundir.read_state(run)
    assert (state["seq"], state["attempt"], state["wrapper"]) == (3, 1, {"pid": 1})
    assert "reason" not in state


def test_a_failed_write_leaves_the_old_state(run, monkeypatch):
    rundir.write_state(run, "running")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        rundir.write_state(run, "finished")
    assert rundir.read_state(run)["state"] == "running"
    assert [path.name for path in run.path.iterdir()] == ["state.json"]


def test_an_unreadable_state_is_put_aside_never_overwritten(run):
    run.state_file.write_text("{ torn")
    assert rundir.read_state(run) is None
    rundir.write_state(run, "running")
    assert rundir.read_state(run)["state"] == "running"
    assert [path.read_text() for path in run.path.glob("state.json.broken-*")] == ["{ torn"]


def test_a_job_is_yaml_too(run):
    from ruamel.yaml import YAML

    job = {"kind": "train", "input": {"learning_rate": 2e-4, "name": "Nützlich: ja\n# no comment"}, "plan": None}
    rundir.write_job(run, job)
    assert rundir.read_job(run) == job
    assert YAML(typ="safe").load(run.job_file) == job


def test_a_beat_tells_its_age_whatever_the_clock_does(run, monkeypatch):
    assert rundir.read_beat(run) is None
    assert rundir.write_beat(run, "train", 3, 10, part=1)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    beat = rundir.read_beat(run)
    assert (beat["phase"], beat["step"], beat["total_steps"], beat["part"]) == ("train", 3, 10, 1)
    assert 0 <= beat["age_s"] < 30


def test_a_beat_that_cannot_be_written_kills_nobody(run):
    assert rundir.write_beat(RunDir(run.path / "gone"), "train") is False
    assert list(run.path.iterdir()) == []


def test_beats_measure_the_longest_step_and_the_last_save(run, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    beats = BeatWriter(run)
    for seconds, phase, step in [(0, "load", 0), (50, "train", 0), (4, "train", 1), (2, "train", 2), (1, "save", 2)]:
        clock[0] += seconds
        beats.beat(phase, step, 10)
    clock[0] += 7
    beats.beat("train", 2, 10)
    clock[0] += 3
    beats.beat("train", 3, 10)
    beat = rundir.read_beat(run)
    assert (beat["longest_step_s"], beat["last_save_s"]) == (4, 7)


def test_beats_are_not_written_for_each_step(run, monkeypatch):
    clock, written = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    real = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: written.append(target) or real(path, target))
    beats = BeatWriter(run, every_s=0.2)
    for step in range(1000):
        clock[0] += 0.001
        beats.beat("train", step, 1000)
    assert 4 <= len(written) <= 6


def test_requests_are_answered_one_by_one(run):
    assert rundir.pending_requests(run) == []
    save = rundir.request(run, "save", by="user")
    stop = rundir.request(run, "stop")
    assert rundir.pending_requests(run) == [save, stop]
    rundir.acknowledge(run, save, checkpoint=run.path / "parts" / "1-sft" / "checkpoint-5", step=5)
    assert rundir.pending_requests(run) == [stop]
    answer = rundir.acknowledgement(run, save)
    assert (answer["checkpoint"], answer["step"]) == ("parts/1-sft/checkpoint-5", 5)
    assert rundir.acknowledgement(run, stop) is None
    assert rundir.all_requests(run) == [save, stop]


def test_a_request_knows_its_attempt(run):
    rundir.write_state(run, "starting", attempt=3)
    assert rundir.request(run, "stop").attempt == 3
    assert rundir.pending_requests(run)[0].attempt == 3


def test_only_known_things_can_be_asked(run):
    with pytest.raises(ValueError):
        rundir.request(run, "explode")


def test_askers_at_the_same_time_get_numbers_of_their_own(run):
    asked = []
    threads = [
        threading.Thread(target=lambda: asked.extend(rundir.request(run, "save").id for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == [f"{number:06d}" for number in range(1, 81)]
    assert len(rundir.pending_requests(run)) == 80
    assert not [path for path in run.control.iterdir() if path.name.startswith(".")]


def test_a_request_that_is_half_written_is_not_seen(run, monkeypatch):
    monkeypatch.setattr(atomic, "write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError):
        rundir.request(run, "stop")
    assert rundir.pending_requests(run) == []


def test_results_belong_to_an_attempt_and_move_with_the_run(run, monkeypatch):
    monkeypatch.setenv(rundir.ATTEMPT, "2")
    part = run.part(1, "SFT stage!")
    rundir.write_result(run, part, "failed", message="no", checkpoint=part.path / "checkpoint-3", step=3, peak_bytes=7)
    result = rundir.read_result(part)
    assert result["attempt"] == 2
    assert result["checkpoint"] == "parts/1-sft-stage/checkpoint-3"
    assert (result["outcome"], result["message"], result["peak_bytes"]) == ("failed", "no", 7)
    assert (run.parts(), part.number, part.name) == ([part], 1, "sft-stage")


def test_parts_sort_as_numbers(run):
    for number in (10, 2, 1):
        run.part(number, "x").path.mkdir(parents=True)
    (run.parts_folder / "notes").mkdir()
    assert [part.number for part in run.parts()] == [1, 2, 10]


def test_an_exit_counts_for_its_attempt_only(run):
    state = rundir.write_state(run, "running", attempt=2)
    rundir.write_exit(run, attempt=1, state="stopped", reason="")
    assert rundir.ended(run, state) is None
    rundir.write_exit(run, attempt=2, state="failed", reason="")
    assert rundir.ended(run, state)["state"] == "failed"


def test_an_identity_is_more_than_a_number():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = Identity.of(child.pid)
    assert found.alive()
    assert Identity.from_json(json.loads(json.dumps(found.to_json()))) == found
    os.close(found.open_pidfd())
    other = Identity(found.machine_id, found.boot_id, found.pid, found.start_time + 1)
    elsewhere = Identity(found.machine_id, "another-boot", found.pid, found.start_time)
    for stranger in (other, elsewhere):
        assert not stranger.alive()
        assert not stranger.send(9)
    assert child.poll() is None
    child.communicate(b"\n")
    assert not found.alive()
    with pytest.raises(ProcessLookupError):
        found.open_pidfd()


def test_a_zombie_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = Identity.of(child.pid)
    assert not zombie.alive()
    child.wait()


def test_a_process_may_have_any_name(tmp_path):
    import shutil

    odd = tmp_path / "a) R 1 (b"
    shutil.copy(shutil.which("sleep"), odd)
    child = subprocess.Popen([str(odd), "60"])
    try:
        status = rundir.process_status(child.pid)
        assert status.parent == os.getpid()
    finally:
        child.kill()
        child.wait()


def test_identity_from_something_else():
    assert Identity.from_json(None) is None
    assert Identity.from_json({"pid": 3}) is None


def _search():
    import tuiwb

    return {**os.environ, "PYTHONPATH": str(Path(tuiwb.__file__).parent.parent)}
