"""What scores the answers raises, hangs, returns no number or never ends: the run says so in a sentence, its directory
is whole, and no process is left. Each through the real worker."""

from pathlib import Path

import psutil
import pytest
from ppo_tools import ppo_recipe, write_prompts
from training import make_run, train

from tuiwb import rundir

pytestmark = pytest.mark.torch

FILE = """
import time


def raises(completions, **rest):
    raise ValueError("no such score")


def nan(completions, **rest):
    return [float("nan") for _ in completions]


def hangs(completions, **rest):
    while True:
        time.sleep(600)
"""
# Time enough to start a process on a busy machine, and less than the two minutes that a batch has.
IMPATIENT = """
import sys
from tuiwb.base import pattern
from tuiwb.workers.rewards import UserFunction
from tuiwb.workers.train import main

UserFunction.__init__.__kwdefaults__["patience_s"] = 15.0
pattern.matches.__kwdefaults__["patience_s"] = 0.2
codes = [main([folder]) for folder in sys.argv[1:]]
assert codes == [5, 5, 5, 5], codes
"""
WANTED = {
    "raises": "the reward function mine.py:raises failed (ValueError: no such score, line 6 of mine.py)",
    "nan": "the reward function mine.py:nan returned nan for answer 0 of a batch",
    "hangs": "the reward function mine.py:hangs took longer than 15 s for a batch",
    "pattern": "reward_funcs: `^(.|..)+\\d{9}$` took longer than 0.2 s on a text of",
}


def test_a_reward_that_fails_ends_the_run_in_a_sentence(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    prompts = write_prompts(tmp_path / "prompts.jsonl", 6)
    rewards = {name: f"{file}:{name}" for name in WANTED} | {"pattern": r"regex:^(.|..)+\d{9}$"}
    made = {
        name: make_run(
            tmp_path / name, ppo_recipe(tiny_model, prompts, reward_funcs=(reward,), max_completion_length=48), "ppo"
        )
        for name, reward in rewards.items()
    }
    assert train(*made.values(), code=IMPATIENT) == 0, next(iter(made.values())).output_file.read_text()
    for name, sentence in WANTED.items():
        part = made[name].part(1, "ppo")
        result = rundir.read_result(part)
        assert result is not None
        assert (result["outcome"], result["step"]) == ("failed", 0), name
        assert result["message"].startswith(sentence), result["message"]
        assert "\n" not in result["message"]
        assert [event["event"] for event in rundir.read_events(made[name])][-1] == "failed"
        assert not list(part.path.glob("checkpoint-*"))
    held = [one.info["cmdline"] for one in psutil.process_iter(["cmdline"]) if str(file) in (one.info["cmdline"] or ())]
    assert not held
