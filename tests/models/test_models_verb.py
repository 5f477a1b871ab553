"""`tuiwb models`: what it prints and how it ends."""

import json
import shutil
from pathlib import Path

import pytest

from tuiwb import models
from tuiwb.base import settings
from tuiwb.base.tasks import Progress, Task
from tuiwb.cli import progress
from tuiwb.cli.main import main


@pytest.fixture
def mine(tiny_model: Path) -> Path:
    root = settings.models_root()
    root.mkdir(parents=True)
    return Path(shutil.copytree(tiny_model, root / "mine"))


def test_an_empty_machine_is_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "tuiwb models get smollm2-135m-instruct" in err


def test_list(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in found["models"]] == ["mine"]
    assert found["models"][0]["path"] == str(mine)
    assert len(found["catalogue"]) == len(models.catalogue())
    assert main(["models", "list"]) == 0
    assert "mine" in capsys.readouterr().out


def test_show(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "mine", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["parameters"] == models.open_model("mine").parameters
    assert shown["config"]["hidden_size"] == 32
    assert main(["models", "show", str(mine)]) == 0
    out = capsys.readouterr().out
    assert "LlamaForCausalLM" in out
    assert f"{shown['parameters']:,}" in out
    assert main(["models", "show", "mine", "--template"]) == 0
    assert capsys.readouterr().out.strip() == shown["chat_template"].strip()


def test_show_of_a_model_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "smollm2-135m-instruct"]) == 0
    assert "not on this machine (`tuiwb models get smollm2-135m-instruct`)" in " ".join(capsys.readouterr().out.split())
    assert main(["models", "show", "smollm2-135m-instruct", "--template"]) == 2
    assert main(["models", "show", "/nowhere"]) == 3


def test_delete_asks(mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["models", "delete", "mine"]) == 2
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: "")
    assert main(["models", "delete", "mine"]) == 0
    assert mine.exists()
    assert main(["models", "delete", "mine", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["deleted"] == "mine"
    assert not mine.exists()


def test_get_cancels_its_work_on_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def slow(name: str, *, task: Task) -> Path:
        try:
            while True:
                task.step("downloading", 1, 2, "bytes")
        finally:
            ended.append(name)

    def interrupt(_: object, now: Progress) -> None:
        if now.doing:
            raise KeyboardInterrupt

    monkeypatch.setattr(models, "get", slow)
    monkeypatch.setattr(progress.ProgressLine, "show", interrupt)
    assert main(["models", "get", "x"]) == 130
    assert ended == ["x"]


def test_progress_in_words() -> None:
    assert progress.words(Progress("downloading", 50 * 2**20, 200 * 2**20, "bytes")) == (
        "downloading  50.0 MiB of 200 MiB, 25 %"
    )
    assert progress.words(Progress("dequantizing", 2, 5, "steps")) == "dequantizing  2 of 5 steps"
    assert progress.words(Progress("asking\x1b[2J")) == "asking␛[2J …"
