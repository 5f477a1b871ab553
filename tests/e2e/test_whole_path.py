"""The whole path in a real terminal: from the empty screen over plan, data, training and watching to an answer."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from terminal import Terminal
from tiny import make_tiny_model

pytestmark = pytest.mark.torch

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {n} and {n}?"},
            {"role": "assistant", "content": f"It is {2 * n}."},
        ]
    }
    for n in range(24)
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder with a tiny model, a dataset and a recipe."""
    work = tmp_path / "work"
    work.mkdir()
    make_tiny_model(work / "tiny")
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (work / "sums.yaml").write_text(
        "name: sums\nstage: sft\nmethod: lora\nmodel_name_or_path: tiny\ndatasets:\n  - path: rows.jsonl\n"
        "max_length: 128\nmax_steps: 12\nper_device_train_batch_size: 4\nlora_r: 4\nlearning_rate: 1e-2\n"
        "save_strategy: steps\nsave_steps: 6\n"
    )
    return work


def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TMUX", "NO_COLOR"))},
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "TUIWB_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
    }


def answers(term: Terminal) -> int:
    """How many lanes tell what their answer cost."""
    return len(re.findall(r"\d tokens · [\d.]+/s", term.text()))


def test_from_the_empty_screen_to_a_chat_answer(home: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    with Terminal([sys.executable, "-m", "tuiwb"], env=env, cwd=home) as term:
        term.until("1 Plan")
        term.press("ctrl+o")
        term.until("Open a recipe or a preset")
        term.press("sums.yaml", "enter")
        term.until(lambda: "Open a recipe or a preset" not in term.text(), 30)
        term.press("1")
        term.until("peak", 30)
        term.press("2")
        term.until("What is 0 and 0?", 30)
        term.press("3")
        term.until("Launch")
        term.press("l")
        term.until(lambda: "Launch it all the same?" in term.text() or "finished" in term.text(), 240)
        if "Launch it all the same?" in term.text():  # a machine that has enough to do
            term.press("y")
            term.until("finished", 240)  # the Runs screen, once the run has ended
        assert "Traceback" not in term.text()
        term.press("6")
        term.until("You to", 60)
        term.press("What is 3 and 3?", "enter")
        term.until(lambda: answers(term) == 2, 240)  # base and tuned side by side
        term.press("ctrl+q")
        assert term.wait() == 0
    assert "Traceback" not in term.raw.decode(errors="replace")
    (run,) = (tmp_path / "home" / "data" / "runs").iterdir()
    assert json.loads((run / "state.json").read_text())["state"] == "finished"


def test_a_terminal_that_is_too_small_says_so_and_recovers(home: Path, tmp_path: Path) -> None:
    with Terminal([sys.executable, "-m", "tuiwb"], env=environment(tmp_path), cwd=home, columns=20, lines=5) as term:
        term.until("too small")
        term.resize(80, 24)
        term.until("1 Plan")
        term.press("q")
        assert term.wait() == 0


def test_without_a_terminal_the_workbench_says_what_to_do(home: Path, tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "tuiwb"],
        env=environment(tmp_path),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


@pytest.mark.slow
def test_the_demo_on_the_real_model(home: Path, tmp_path: Path) -> None:
    """`tuiwb demo` as its reader runs it: the real model is brought, trained and asked. Minutes, and 93 MB."""
    with Terminal([sys.executable, "-m", "tuiwb", "demo"], env=environment(tmp_path), cwd=home) as term:
        term.until("Demo 2/5", 300)
        term.until("peak", 60)
        term.press("ctrl+n")
        term.until("Demo 3/5")
        term.until("What is a processor?", 60)
        term.press("ctrl+n")
        term.until("Demo 4/5")
        term.until("loss", 300)
        term.until("Demo 5/5", 1200)
        term.until("on cpu" if not Path("/dev/nvidia0").exists() else "on cuda", 300)
        term.until("What is a compiler?", 60)  # the first held-out question stands in the text field
        term.press("enter")
        term.until(lambda: answers(term) == 2, 300)
        assert "NAME: " in term.text()  # the tuned model's page, beside the base's prose
        term.press("ctrl+q")
        assert term.wait() == 0
    assert "Traceback" not in term.raw.decode(errors="replace")
