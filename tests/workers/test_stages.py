"""Every stage on the tiny model: its numbers, its reference, its checkpoints, and that it goes on exactly."""

import json
from pathlib import Path
from typing import Any

import pytest
from stage_runs import cut_short, records, result, stage_recipe, stage_run, steps, write_judged, write_pairs
from training import make_run, recipe_of, train, write_rows

from tuiwb import rundir
from tuiwb.rundir import RunDir

pytestmark = pytest.mark.torch

STAGES = ("reward", "dpo", "dpo-full", "kto", "orpo", "grpo", "rloo")


@pytest.fixture(scope="module")
def runs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    """A run of each stage, all in one process; dpo and kto go on from an adapter that was trained by examples."""
    folder = tmp_path_factory.mktemp("stages")
    sft = make_run(
        folder / "sft", recipe_of(tiny_model, write_rows(folder / "sft.jsonl"), num_train_epochs=1.0, lora_dropout=0.0)
    )
    adapter = {"adapter_name_or_path": str(sft.part(1, "sft").path / "checkpoint-6")}
    held: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 3.0, "eval_fraction": 0.17}
    pairs = folder / "dpo.jsonl"
    write_pairs(pairs)

    def run(name: str, stage: str, **keys: Any) -> RunDir:
        return stage_run(name, stage, tiny_model, folder, **keys)

    made = {
        "sft": sft,
        "reward": run("reward", "reward", **held, num_train_epochs=2.0, max_steps=6, sample_prompts=("What is 3?",)),
        "dpo": run("dpo", "dpo", **held, **adapter, num_train_epochs=2.0, max_steps=6, sample_prompts=("What is 3?",)),
        "dpo-full": run("dpo-full", "dpo", method="full", loss_type=("sigmoid", "sft"), loss_weights=(1.0, 0.5)),
        "kto": run("kto", "kto", **adapter),
        "orpo": run("orpo", "orpo", method="full"),
        "grpo": run("grpo", "grpo", **adapter, num_train_epochs=2.0, max_steps=6),
        "rloo": run("rloo", "rloo", **held, **adapter, num_train_epochs=2.0, max_steps=6),
    }
    train(*made.values(), timeout=900, TUIWB_HOME=str(folder / "home"))
    for name, one in made.items():
        assert result(one)["outcome"] == "finished", (name, result(one), sft.output_file.read_text()[-4000:])
    return made


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_writes_its_own_numbers(runs: dict[str, RunDir], name: str) -> None:
    found = steps(runs[name])
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    compared = {"rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected"}
    wanted = {
        "reward": {"accuracy", "margin", "mean_reward"},
        "dpo": compared | {"rewards/accuracies"},
        "dpo-full": compared | {"rewards/accuracies"},
        "kto": {"kl"},
        "orpo": compared | {"rewards/accuracies", "log_odds_ratio", "nll_loss"},
        "grpo": {"reward", "reward_std", "kl", "rewards/short/mean", "rewards/length/mean", "completions/mean_length"},
        "rloo": {"reward", "kl", "rewards/short/mean"},
    }[name]
    for record in found.values():
        assert wanted <= record.keys(), wanted - record.keys()
        assert record["trained_tokens"] > 0
    assert 0 < found[6]["trained_tokens"] < found[6]["total_tokens"]


def test_the_distance_to_the_reference_is_nothing_at_the_first_step(runs: dict[str, RunDir]) -> None:
    # Metrics of a step are taken before its update, so the first are those of the adapter that training began from.
    for name in ("dpo", "dpo-full"):
        first, last = steps(runs[name])[1], steps(runs[name])[6]
        assert first["rewards/chosen"] == first["rewards/rejected"] == first["rewards/margins"] == 0.0, name
        assert last["rewards/margins"] > 0, name
    assert steps(runs["kto"])[1]["kl"] == 0.0
    assert [steps(runs["kto"])[1].get(f"rewards/{side}", 0.0) for side in ("chosen", "rejected")] == [0.0, 0.0]
    for name in ("grpo", "rloo"):
        assert steps(runs[name])[1]["kl"] == pytest.approx(0.0, abs=1e-6), name
        assert any(abs(record["kl"]) > 1e-6 for record in steps(runs[name]).values()), name


def test_dpo_and_reward_learn_what_was_preferred(runs: dict[str, RunDir]) -> None:
    reward = steps(runs["reward"])
    assert reward[6]["loss"] < reward[1]["loss"]
    assert steps(runs["orpo"])[6]["loss"] < steps(runs["orpo"])[1]["loss"]
    measured = [record for record in records(runs["dpo"]) if "eval_loss" in record]
    assert len(measured) == 2
    assert {"eval_rewards/margins", "eval_rewards/accuracies"} <= measured[0].keys()
    assert measured[-1]["eval_rewards/accuracies"] == 1.0
    assert any("eval_reward" in record for record in records(runs["rloo"]))


def test_a_checkpoint_holds_the_trained_adapter_alone(runs: dict[str, RunDir]) -> None:
    for name in ("dpo", "kto", "grpo"):
        folder = runs[name].path / result(runs[name])["checkpoint"]
        assert (folder / "adapter_model.safetensors").is_file()
        assert not [path for path in folder.iterdir() if path.is_dir()], name
        assert (folder / "tokenizer.json").is_file()


def test_prompts_are_answered_at_each_evaluation(runs: dict[str, RunDir]) -> None:
    (part,) = runs["dpo"].parts()
    found = rundir.read_all(part.answers_file)
    assert [one["current_steps"] for one in found] == [3, 6]
    assert {one["prompt"] for one in found} == {"What is 3?"}
    assert all(one["tokens"] > 0 and isinstance(one["answer"], str) for one in found)
    (part,) = runs["reward"].parts()
    assert not part.answers_file.exists(), "a model that scores writes nothing"
    for name in ("grpo", "rloo"):
        (part,) = runs[name].parts()
        sampled = rundir.read_all(part.answers_file)
        assert sampled, name
        assert all(one["tokens"] > 0 and isinstance(one["score"], float) for one in sampled), name


def test_a_reward_model_is_saved_with_its_head_and_scores_the_same(runs: dict[str, RunDir], tiny_model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from tuiwb.data.example import Example
    from tuiwb.workers.scorer import Scorer, head_of, saved_head

    folder = runs["reward"].path / result(runs["reward"])["checkpoint"]
    head = saved_head(folder)
    assert head is not None
    scorer = Scorer(str(folder), device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(head_of(scorer.model), head)
    # As anybody else would load it, with padding at the right, though answers end in the model's own padding token.
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    special = json.loads((folder / "tokenizer_config.json").read_bytes())
    assert special["pad_token"] != special["eos_token"]
    other = PeftModel.from_pretrained(base, folder).eval()
    pad = scorer._tokenizer.token_id(special["pad_token"])
    other.config.get_text_config().pad_token_id = pad
    rows = [[5, 9, 2], [7, 8, 6, 11, 2, 3]]
    ids = torch.tensor([rows[0] + [pad] * 3, rows[1]])
    with torch.no_grad():
        theirs = other(input_ids=ids, attention_mask=(ids != pad).long()).logits[:, 0]
    torch.testing.assert_close(scorer.score(rows), theirs, rtol=1e-5, atol=1e-6)
    asked = Example(id=0, prompt=[{"role": "user", "content": "What is 5?"}])
    good, bad = scorer([asked, asked], ["The lazy dog.", "No. No. No."])
    assert good > bad


def test_each_stage_goes_on_exactly(runs: dict[str, RunDir], tmp_path: Path) -> None:
    again = {name: cut_short(runs[name], tmp_path) for name in STAGES}
    train(*again.values(), timeout=900, TUIWB_HOME=str(tmp_path / "home"))
    for name, run in again.items():
        assert result(run)["outcome"] == "finished", (name, result(run))
        before, after = steps(runs[name]), steps(run)
        assert [event["step"] for event in rundir.read_events(run) if event["event"] == "resumed"] == [3], name
        for step in (4, 5, 6):
            same = {key for key in before[step] if key in ("loss", "grad_norm", "total_tokens", "reward", "kl")}
            for key in same:
                assert after[step][key] == before[step][key], (name, step, key)


def test_training_ends_when_nothing_gets_better(tiny_model: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 1.0, "save_steps": 1.0, "eval_fraction": 0.17}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    recipe = stage_recipe("dpo", tiny_model, tmp_path, **keys, **best, early_stopping_patience=2, learning_rate=1e-12)
    stopped = make_run(tmp_path / "stopped", recipe, "dpo")
    write_judged(tmp_path / "kto.jsonl", label=True)
    same = stage_run("same", "kto", tiny_model, tmp_path)
    failing = (f"{tmp_path / 'rewards.py'}:broken",)
    raises = stage_run("raises", "grpo", tiny_model, tmp_path, reward_funcs=failing)
    few = stage_run("few", "grpo", tiny_model, tmp_path, gradient_accumulation_steps=16)
    train(stopped, same, raises, few, timeout=900)

    found = result(stopped)
    assert found["outcome"] == "finished"
    assert found["step"] < 5
    assert rundir.verify_checkpoint(stopped.path / found["checkpoint"]).valid
    for run, message in (
        (same, "all 24 answers are labelled good"),
        (raises, "the reward function rewards.py:broken failed (ValueError: no such score, line"),
        (few, "a step takes 32 prompts and there are 24"),
    ):
        failed = result(run)
        assert failed["outcome"] == "failed"
        assert message in failed["message"]


def test_the_odds_ratio_is_trl_s(tiny_model: Path) -> None:
    from types import SimpleNamespace

    import torch
    from torch.nn import functional
    from trl.experimental.orpo import ORPOTrainer

    from tuiwb.workers.orpo import log_odds_ratio

    torch.manual_seed(3)
    chosen, rejected = -torch.rand(64) * 6, -torch.rand(64) * 6
    holder = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device="cpu"))
    theirs, *_ = ORPOTrainer.odds_ratio_loss(holder, chosen, rejected)
    torch.testing.assert_close(0.3 * functional.logsigmoid(log_odds_ratio(chosen, rejected)), theirs)
    near = torch.tensor([-1e-7, -40.0], requires_grad=True)
    log_odds_ratio(near, torch.tensor([-1.0, -1.0])).sum().backward()
    assert torch.isfinite(near.grad).all()


def test_answers_of_a_batch_are_paired_with_other_prompts(tiny_model: Path, tmp_path: Path) -> None:
    from tuiwb import models
    from tuiwb.data.prepare import PrepareSettings, prepare
    from tuiwb.workers.batches import JudgedCollator

    tokenizer = models.load_tokenizer(tiny_model)
    file = write_judged(tmp_path / "kto.jsonl", 3)
    prepared = prepare([file], tokenizer, tokenizer.template(), PrepareSettings(shape="judged"))
    batch = JudgedCollator(prepared, 2)([{"row": row} for row in range(3)])
    assert batch["label"].tolist() == [False, True, False]

    def answer(name: str, row: int) -> str:
        wanted = batch[f"{name}completion_mask"][row].bool()
        return tokenizer.decode(batch[f"{name}input_ids"][row][wanted].tolist())

    own = [answer("", row) for row in range(3)]
    assert [answer("KL_", row) for row in range(3)] == [own[2], own[0], own[1]]
    text = tokenizer.decode(batch["KL_input_ids"][1].tolist())
    assert "What is 1?" in text
    assert own[0] in text
    pairs = prepare(
        [write_pairs(tmp_path / "pairs.jsonl", 4)], tokenizer, tokenizer.template(), PrepareSettings(shape="judged")
    )
    assert pairs.labels is not None
    assert pairs.labels.tolist() == [1, 0] * 4, "a pair is a good answer and a bad one"
