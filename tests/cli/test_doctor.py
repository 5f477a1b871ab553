"""`tuiwb doctor`: each thing that can be wrong with a remedy, and nothing wrong where nothing is."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb.base import settings
from tuiwb.cli.main import main
from tuiwb.hardware.logout import logout_problem
from tuiwb.resolve import doctor

HEALTHY = {
    "interpreter": "/usr/bin/python3",
    "torch": "2.13.0",
    "cuda": "12.8",
    "available": True,
    "bf16": True,
    "archs": ["sm_80", "sm_90"],
    "capability": ["sm_89"],
    "transformers": "5.2",
    "trl": "1.16",
    "peft": "0.2",
    "accelerate": "1.15",
    "datasets": "5.0",
    "kernels": "0.1",
    "bitsandbytes": "0.49",
    "tensorboard": "2.21",
}


def worst(found: dict[str, Any], gpus: int = 1) -> dict[str, tuple[str, str]]:
    return {
        each.name: (each.level, each.message) for each in doctor.stack(found, gpus=gpus) if each.level not in ("ok",)
    }


def test_a_healthy_stack_has_nothing_to_mend() -> None:
    assert worst(HEALTHY) == {}


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"cuda": None, "available": False}, "torch", "cannot use the GPUs"),
        ({"available": False}, "torch", "finds no GPU"),
        ({"capability": ["sm_120"]}, "torch", "no kernels for sm_120"),
        ({"trl": None}, "packages", "trl missing"),
        ({"bitsandbytes_error": "OSError: libcudart"}, "bitsandbytes", "libcudart"),
    ],
)
def test_what_is_wrong_with_the_stack_is_said(change: dict[str, Any], name: str, words: str) -> None:
    assert words in worst(HEALTHY | change)[name][1]


def test_every_fault_has_a_remedy() -> None:
    broken = {"interpreter": "python", "torch_error": "ImportError: libc", "trl": None}
    found = [*doctor.stack(broken, gpus=1), *doctor.stack({"interpreter": "x", "problem": "gone"}, gpus=0)]
    assert all(each.fix for each in found if each.level in ("warning", "error"))


def test_an_interpreter_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUIWB_WORKER_PYTHON", "/nowhere/python")
    assert doctor.ask_worker(settings.load())["problem"] == "No such file or directory"


def test_the_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    found = doctor.hub(settings.Settings(), fetch=refuse)
    assert (found.level, "no route to host" in found.message) == ("warning", True)
    assert found.fix


@pytest.mark.parametrize(
    ("environ", "answers", "level"),
    [
        ({}, {}, "ok"),
        ({"TMUX": "x"}, {"set-clipboard": "on"}, "ok"),
        ({"TMUX": "x"}, {"set-clipboard": "external", "allow-passthrough": "off"}, "warning"),
        ({"TMUX": "x"}, {"allow-passthrough": "all"}, "ok"),
        ({"TERM": "screen.xterm"}, {}, "note"),
    ],
)
def test_the_clipboard(environ: dict[str, str], answers: dict[str, str], level: str) -> None:
    assert doctor.clipboard(environ, settings.Settings(), lambda argv: answers.get(argv[-1])).level == level


SESSION, MANAGER = (
    "/user.slice/user-1000.slice/session-3.scope",
    "/user.slice/user-1000.slice/user@1000.service/tmux.scope",
)


def test_what_logging_out_does(tmp_path: Path) -> None:
    assert logout_problem(tmp_path, SESSION, "ann") is None  # systemd's own default
    assert logout_problem(tmp_path, "/docker/abc", "ann") is None
    assert "linger" in (logout_problem(tmp_path, MANAGER, "ann") or ("", ""))[1]
    folder = tmp_path / "etc/systemd/logind.conf.d"
    folder.mkdir(parents=True)
    (folder.parent / "logind.conf").write_text("[Login]\n#KillUserProcesses=no\nKillUserProcesses=yes\n")
    assert "KillUserProcesses" in (logout_problem(tmp_path, SESSION, "ann") or ("", ""))[0]
    (folder / "ours.conf").write_text("[Login]\nKillUserProcesses = no\n")
    assert logout_problem(tmp_path, SESSION, "ann") is None
    linger = tmp_path / "var/lib/systemd/linger/ann"
    linger.parent.mkdir(parents=True)
    linger.touch()
    assert logout_problem(tmp_path, MANAGER, "ann") is None


def test_the_verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask_worker", lambda _: HEALTHY | {"available": False, "cuda": None})
    assert main(["doctor", "--offline", "--json"]) in (0, 4)
    found = json.loads(capsys.readouterr().out)
    assert {"driver", "processor", "disk, runs", "logout", "clipboard", "hub", "torch", "packages"} <= {
        each["name"] for each in found
    }
    monkeypatch.setattr(doctor, "ask_worker", lambda _: {"interpreter": "python", "problem": "gone"})
    assert main(["doctor", "--offline"]) == 4
    assert "ERROR   python" in capsys.readouterr().out
