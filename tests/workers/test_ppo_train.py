"""Stage ppo through the worker, and the three steps of learning from feedback as one run of three parts."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ppo_tools import QUESTIONS, ppo_recipe, write_adapter, write_prompts
from training import ANSWERS, make_run, train, write_rows

from tuiwb import rundir, runs
from tuiwb.recipe import Recipe
from tuiwb.rundir import RunDir

pytestmark = pytest.mark.torch

PARTS = ["sft", "reward", "ppo"]
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


@pytest.fixture(scope="module")
def done(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    """A run of four updates with a reward model on the shared base, and a chain of three parts; in one process."""
    folder = tmp_path_factory.mktemp("runs")
    reward = write_adapter(tiny_model, folder / "reward", scores=True)
    prompts = write_prompts(folder / "prompts.jsonl")
    measured: dict[str, Any] = {"eval_fraction": 0.17, "eval_strategy": "steps", "eval_steps": 2.0}
    recipe = ppo_recipe(
        tiny_model,
        prompts,
        reward_model_name_or_path=str(reward),
        num_train_epochs=2.0,
        kl_target=6.0,
        kl_control="target",
        kl_horizon=100.0,
        critic_learning_rate=1e-4,
        **measured,
    )
    alone = make_run(folder / "alone", recipe, "ppo")
    rundir.request(alone, "save")
    chain = make_chain(folder / "chain", chain_recipe(tiny_model, folder))
    assert train(alone, chain, TUIWB_HOME=str(folder / "home")) == 0, alone.output_file.read_text()
    return {"alone": alone, "chain": chain}


def chain_recipe(model: Path, folder: Path) -> Recipe:
    rows = write_rows(folder / "rows.jsonl", 8)
    pairs = folder / "pairs.jsonl"
    pairs.write_text(
        "".join(
            json.dumps(
                {
                    "prompt": [{"role": "user", "content": f"What is {number}?"}],
                    "chosen": [{"role": "assistant", "content": ANSWERS[number % 3]}],
                    "rejected": [{"role": "assistant", "content": f"{number}"}],
                }
            )
            + "\n"
            for number in range(8)
        )
    )
    # Tokens that the template brings are learned by all three, and one base carries them.
    tokens: dict[str, Any] = {"chat_template": "llama-3", "added_tokens": HEADERS}
    common = {"train_sampling_strategy": "random", "num_train_epochs": 1.0, **tokens}
    sft, ppo = (
        ppo_recipe(model, rows, stage="sft", reward_funcs=None, train_roles=("assistant",), **common),
        ppo_recipe(model, write_prompts(folder / "asked.jsonl"), reward_funcs=None, save_steps=1.0, **common),
    )
    reward = ppo_recipe(model, pairs, stage="reward", reward_funcs=None, **common)
    return Recipe(stages=(sft, reward, ppo))


def make_chain(folder: Path, recipe: Recipe) -> RunDir:
    run = make_run(folder, recipe)
    rundir.write_job(run, rundir.read_job(run) | {"parts": PARTS})
    return run


def metrics(run: RunDir, number: int = 1, name: str = "ppo") -> dict[int, dict[str, Any]]:
    """The newest record of each update."""
    records = rundir.read_all(run.part(number, name).metrics_file)
    return {record["current_steps"]: record for record in records if "loss" in record}


def test_an_update_tells_all_that_is_to_be_known(done: dict[str, RunDir]) -> None:
    found = metrics(done["alone"])
    assert sorted(found) == [1, 2, 3, 4]
    wanted = {
        "reward", "reward_std", "rewards/reward_model/mean", "rewards/length/mean", "objective/kl", "objective/entropy",
        "objective/rlhf_reward", "objective/non_score_reward", "objective/beta", "loss/policy_avg", "loss/value_avg",
        "policy/clipfrac_avg", "policy/approxkl_avg", "val/clipfrac_avg", "val/ratio", "val/ratio_var",
        "val/explained_variance", "completions/mean_length", "completions/clipped_ratio", "grad_norm", "lr",
        "tokens_per_s", "total_tokens", "trained_tokens",
    }  # fmt: skip
    for record in found.values():
        assert wanted <= record.keys()
        assert record["val/ratio_error"] < 1e-4, "before the first step the policy is the one that sampled"
    assert found[1]["objective/kl"] == 0
    assert found[1]["objective/non_score_reward"] == 0
    assert found[2]["objective/kl"] != 0
    assert found[1]["objective/beta"] == 0.05
    assert found[2]["objective/beta"] == pytest.approx(0.05 * (1 - 0.2 * 6 / 100)), "nearer than wanted: less penalty"
    assert 0 < found[4]["trained_tokens"] < found[4]["total_tokens"]
    assert found[4]["remaining_s"] == 0
    records = rundir.read_all(done["alone"].part(1, "ppo").metrics_file)
    assert [record["current_steps"] for record in records if "eval_reward" in record] == [2, 4]


def test_a_checkpoint_is_whole_and_its_policy_is_an_adapter_like_any_other(done: dict[str, RunDir]) -> None:
    run = done["alone"]
    answer = json.loads((run.control / "000001.ack.json").read_bytes())
    assert answer["checkpoint"] == "parts/1-ppo/checkpoint-1"
    result = rundir.read_result(run.part(1, "ppo"))
    assert result is not None
    assert (result["outcome"], result["checkpoint"]) == ("finished", "parts/1-ppo/checkpoint-4")
    folder = run.path / result["checkpoint"]
    assert rundir.verify_checkpoint(folder).resumable
    for name in ("adapter_model.safetensors", "tokenizer.json", "chat_template.jinja", "recipe.yaml"):
        assert (folder / name).is_file()
    assert json.loads((folder / "generation_config.json").read_bytes())["eos_token_id"] == 2
    critic = folder / "critic/adapter_model.safetensors"
    critic.write_bytes(whole := critic.read_bytes()[:-1])
    assert not rundir.verify_checkpoint(folder).valid, "a value that was cut off is no checkpoint"
    critic.write_bytes(whole + b"\0")


def test_the_value_learns_at_a_rate_of_its_own(done: dict[str, RunDir]) -> None:
    import torch

    saved = torch.load(done["alone"].part(1, "ppo").path / "checkpoint-2/optimizer.pt", weights_only=True)
    groups = {group["initial_lr"]: len(group["params"]) for group in saved["param_groups"] if group["params"]}
    # The policy's matrices, and as many of the value's and its head.
    assert groups == {1e-3: groups[1e-3], 1e-4: groups[1e-3] + 1}


def test_some_of_what_was_sampled_can_be_read(done: dict[str, RunDir]) -> None:
    found = [one for one in runs.answers(done["alone"]) if one.part == "ppo"]
    assert [one.step for one in found] == [2, 2, 4, 4], "the two that are held out, at each evaluation"
    for one in found:
        assert one.score is not None
        assert 1 <= one.tokens <= 8
        assert one.prompt.startswith(QUESTIONS)


def test_three_parts_are_one_run(done: dict[str, RunDir]) -> None:
    run = done["chain"]
    assert [part.path.name for part in run.parts()] == ["1-sft", "2-reward", "3-ppo"]
    results = [rundir.read_result(part) for part in run.parts()]
    assert all(result is not None and result["outcome"] == "finished" for result in results)
    assert metrics(run, 3)[1]["objective/kl"] == 0, "the reference is what SFT made, not the base"
    kinds = [event["part"] for event in rundir.read_events(run) if event["event"] == "finished"]
    assert kinds == PARTS


def test_resuming_goes_on_exactly_and_a_chain_in_its_middle(done: dict[str, RunDir], tmp_path: Path) -> None:
    alone, chain = RunDir(tmp_path / "alone"), RunDir(tmp_path / "chain")
    for name, copy in (("alone", alone), ("chain", chain)):
        shutil.copytree(done[name].path, copy.path)
        copy.events_file.unlink()
    # As crashes leave them: one between two updates, one in the third part.
    shutil.rmtree(alone.control)
    for part, last in ((alone.part(1, "ppo"), 4), (chain.part(3, "ppo"), 2)):
        part.result_file.unlink()
        shutil.rmtree(part.path / f"checkpoint-{last}")
        shutil.rmtree(part.path / "tensorboard")
    sft = chain.part(1, "sft").metrics_file.read_bytes()
    half = msgspec.structs.replace(recipe_in(done["alone"]), bf16=True, dtype="bfloat16")
    stopped = make_run(tmp_path / "stopped", half, "ppo")
    rundir.request(stopped, "stop")
    assert train(alone, chain, stopped, TUIWB_HOME=str(tmp_path / "home")) == 0, alone.output_file.read_text()

    for copy, part, begun in ((alone, 1, 2), (chain, 3, 1)):
        name = "alone" if copy is alone else "chain"
        before, again = metrics(done[name], part), metrics(copy, part)
        assert [event["step"] for event in rundir.read_events(copy) if event["event"] == "resumed"] == [begun]
        for step in range(begun + 1, max(before) + 1):
            for key in ("loss", "reward", "objective/kl", "objective/entropy", "grad_norm", "objective/beta"):
                assert again[step][key] == before[step][key], (name, step, key)
    assert chain.part(1, "sft").metrics_file.read_bytes() == sft, "what had finished was not done again"
    ended = [event["part"] for event in rundir.read_events(chain) if event["event"] == "finished"]
    assert ended == ["ppo"]

    result = rundir.read_result(stopped.part(1, "ppo"))
    assert result is not None
    assert (result["outcome"], result["step"]) == ("stopped", 1)
    assert metrics(stopped)[1]["objective/kl"] == 0, "in bfloat16 as well"
    answer = json.loads((stopped.control / "000001.ack.json").read_bytes())
    assert rundir.verify_checkpoint(stopped.path / answer["checkpoint"]).resumable


def recipe_in(run: RunDir) -> Recipe:
    return msgspec.convert(rundir.read_job(run)["input"], Recipe)
