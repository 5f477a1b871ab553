"""Shell completion, asked as the shell asks it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuiwb.base import settings


def complete(line: str) -> list[str]:
    """What Tab offers at the end of `line`."""
    environment = os.environ | {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    code = "import os, sys; os.dup2(1, 8); from tuiwb.cli.main import main; main(['unused'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return [word.strip() for word in done.stdout.split("\n") if word]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tuiwb pl", "plan"),
        ("tuiwb runs st", "stop"),
        ("tuiwb plan --gpu A100-8", "A100-80GB"),
        ("tuiwb train sft-l", "sft-lora"),
    ],
)
def test_verbs_options_and_names_are_completed(line: str, offered: str) -> None:
    assert offered in complete(line)


def test_runs_are_completed_from_the_home(tmp_path: Path) -> None:
    from tuiwb import rundir

    run = rundir.RunDir(settings.runs_root() / "20260101-000000-mine-abcdef")
    run.path.mkdir(parents=True)
    rundir.write_job(run, {"kind": "train"})
    rundir.write_state(run, "finished")
    assert complete("tuiwb chat 2026") == [run.run_id]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_for_the_shell_names_the_program(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuiwb", "completion", shell], capture_output=True, text=True, check=True
    )
    assert "tuiwb" in done.stdout
