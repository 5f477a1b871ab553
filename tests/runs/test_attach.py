"""Runs that were not launched here: the files of other trainers, and a process that is only watched."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_tools import at_rest, until

from tuiwb import rundir, runs
from tuiwb.base.errors import UsageFault
from tuiwb.cli.main import main
from tuiwb.runs import attaching, foreign


def trainer_log(folder: Path, steps: int = 3) -> None:
    with (folder / "trainer_log.jsonl").open("a") as file:
        for step in range(1, steps + 1):
            line = {
                "current_steps": step,
                "total_steps": 9,
                "loss": 2.0 / step,
                "lr": 1e-4,
                "elapsed_time": f"0:00:0{step}",
            }
            file.write(json.dumps(line | {"eval_loss": None}) + "\n")


def test_a_log_of_llama_factory(tmp_path):
    trainer_log(tmp_path)
    source = foreign.source_of(tmp_path)
    found = source.read()
    assert [line["loss"] for line in found] == [2.0, 1.0, 2.0 / 3]
    assert found[2]["time"] - found[0]["time"] == 2.0
    assert "eval_loss" not in found[0]
    assert source.read() == []


def test_states_of_the_trainer(tmp_path):
    def save(step):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        history = [{"step": at, "loss": 1.0 / at, "learning_rate": 1e-4, "epoch": at / 10} for at in range(1, step + 1)]
        state = {"global_step": step, "max_steps": 20, "log_history": [*history, {"step": step, "train_runtime": 3.0}]}
        (folder / "trainer_state.json").write_text(json.dumps(state))

    save(2)
    source = foreign.source_of(tmp_path)
    assert source.read()[:2] == [
        {"total_steps": 20, "current_steps": 1, "loss": 1.0, "lr": 1e-4, "epoch": 0.1},
        {"total_steps": 20, "current_steps": 2, "loss": 0.5, "lr": 1e-4, "epoch": 0.2},
    ]
    save(4)
    assert [line["current_steps"] for line in source.read() if "loss" in line] == [3, 4]


@pytest.mark.torch
def test_event_files_of_tensorboard(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path / "runs" / "here"))
    for step in (1, 2):
        writer.add_scalar("train/loss", 1.0 / step, step)
        writer.add_scalar("train/learning_rate", 1e-3, step)
    writer.add_scalar("eval/loss", 0.25, 2)
    writer.add_text("args", "no number")
    writer.flush()
    source = foreign.source_of(tmp_path)
    first, second = source.read()
    assert (first["current_steps"], first["loss"], first["lr"]) == (1, 1.0, pytest.approx(1e-3))
    assert (second["loss"], second["eval_loss"]) == (0.5, 0.25)
    writer.add_scalar("train/loss", 0.1, 3)
    writer.close()
    assert [line["current_steps"] for line in source.read()] == [3]


def test_a_folder_becomes_a_run(tmp_path, capsys):
    trainer_log(tmp_path)
    assert main(["runs", "attach", "--folder", str(tmp_path), "--name", "theirs", "--json"]) == 0
    run = runs.find(json.loads(capsys.readouterr().out)["run_id"])
    assert at_rest(run)["state"] == "finished"
    view = runs.view(run)
    assert (view.kind, view.name, view.step, view.total_steps) == ("watch", "theirs", 3, 9)
    assert view.metrics["loss"] == pytest.approx(2 / 3)


def test_what_cannot_be_watched(tmp_path):
    with pytest.raises(UsageFault, match="nothing in"):
        runs.attach(folder=tmp_path)
    with pytest.raises(UsageFault, match="no process"):
        runs.attach(4_194_305)
    assert main(["runs", "attach"]) == 2


def test_a_process_is_watched_to_its_end_and_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    config = tmp_path / "train.yaml"
    config.write_text("model: x\noutput_dir: out\n")
    wait = "import sys; sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", wait, "train.yaml"], cwd=tmp_path, stdin=subprocess.PIPE)
    try:
        until(lambda: attaching.output_of(process.pid) == tmp_path / "out")  # its command line is there a little later
        run = runs.attach(process.pid)
        trainer_log(tmp_path / "out")
        until(lambda: runs.view(run).metrics.get("loss"))
        stopped = runs.attach(process.pid)
        answer = runs.answer(stopped, runs.ask(stopped.run_id, "stop"), wait_s=40)
        assert answer["state"] in ("finished", "stopped")
        assert process.poll() is None
        assert runs.view(run).state == "running"
    finally:
        process.stdin.close()
        process.wait(timeout=30)
    assert at_rest(run)["state"] == "finished"
    assert rundir.read_result(run.part(1, "watch"))["message"] == "the process has ended"
