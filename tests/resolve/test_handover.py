"""What is handed over to TRL: the same rows, keys that its parser knows, and one sentence where it lacks something."""

import ast
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from machines import a_host

from tuiwb import models, resolve
from tuiwb.base.errors import TuiwbError
from tuiwb.cli import main
from tuiwb.data.prepare import PrepareSettings, prepare
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve.handover import Handover, hand_over

ALL = ("sft", "pretrain", "reward", "dpo", "kto", "grpo", "rloo")


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Path]:
    """A file for each kind of stage."""
    ask, good, bad = ([{"role": role, "content": text}] for role, text in
                      (("user", "What is it?"), ("assistant", "Paris."), ("assistant", "The lazy dog.")))  # fmt: skip
    made: dict[str, list[dict[str, Any]]] = {
        "sft": [{"messages": [{"role": "user", "content": f"What is {n}?"}, *good]} for n in range(12)],
        "dpo": [{"prompt": ask, "chosen": good, "rejected": bad, "n": n} for n in range(12)],
        "kto": [{"prompt": ask, "completion": (good, bad)[n % 2], "label": n % 2 == 0} for n in range(12)],
        "grpo": [{"prompt": ask, "wanted": n} for n in range(12)],
    }
    paths = {}
    for name, values in made.items():
        paths[name] = tmp_path / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(value) + "\n" for value in values))
    same = {"pretrain": "sft", "reward": "dpo", "rloo": "grpo"}
    return paths | {name: paths[other] for name, other in same.items()}


def recipe_for(stage: Any, model: Path, rows: dict[str, Path], folder: Path, **keys: Any) -> Recipe:
    if stage in ("grpo", "rloo"):
        (folder / "mine.py").write_text("def score(completions, **kwargs):\n    return [0.0 for _ in completions]\n")
        keys["reward_funcs"] = (f"{folder / 'mine.py'}:score",)
    named = DatasetEntry(path=str(rows[stage]))
    return Recipe(stage=stage, model_name_or_path=str(model), datasets=(named,), eval_fraction=0.25, **keys)


def exported(recipe: Recipe, folder: Path, kind: Any = "trl") -> tuple[Handover, str]:
    found = hand_over(resolve.assess(recipe, host=a_host(), gpus=[]), folder, kind)
    return found, found.file.read_text()


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rows_are_those_that_are_trained_on_here(tmp_path: Path, tiny_model: Path, rows: dict[str, Path]) -> None:
    found, text = exported(recipe_for("sft", tiny_model, rows, tmp_path), tmp_path / "out")
    tokenizer = models.load_tokenizer(tiny_model)
    prepared = prepare([rows["sft"]], tokenizer, tokenizer.template(), PrepareSettings(max_length=512))
    trained, held = prepared.split(0.25, 42)
    assert (found.rows, found.held_out) == (len(trained), len(held)) == (9, 3)
    for name, numbers in (("train", trained), ("test", held)):
        for row, number in zip(read_jsonl(tmp_path / f"out/data/{name}.jsonl"), numbers.tolist(), strict=True):
            ids, mask = prepared.sequence(number)
            assert row["input_ids"] == ids.tolist()
            assert [label != -100 for label in row["labels"]] == mask.tolist()
    assert "eval_strategy: steps" in text
    assert (tmp_path / "out/recipe.yaml").is_file()


def test_text_stages_get_a_model_with_the_template_that_the_recipe_names(
    tmp_path: Path, tiny_model: Path, rows: dict[str, Path]
) -> None:
    recipe = recipe_for("dpo", tiny_model, rows, tmp_path, chat_template="alpaca")
    _, text = exported(recipe, tmp_path / "out")
    assert "model_name_or_path: ./model" in text
    assert "### Response:" in (tmp_path / "out/model/chat_template.jinja").read_text()
    assert (tmp_path / "out/model/model.safetensors").samefile(tiny_model / "model.safetensors")
    row = read_jsonl(tmp_path / "out/data/train.jsonl")[0]
    assert row["chosen"] == [{"role": "assistant", "content": "Paris."}]
    assert "train_sampling_strategy: random" in text, "TRL cannot tell the length of a pair"


def test_numbers_mean_the_same_to_yaml_1_1(tmp_path: Path, tiny_model: Path, rows: dict[str, Path]) -> None:
    from ruamel.yaml import YAML

    recipe = recipe_for("sft", tiny_model, rows, tmp_path, learning_rate=1e-5, eval_strategy="no")
    _, text = exported(recipe, tmp_path / "out")
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)  # type: ignore[assignment]
    read = yaml.load(text)
    assert read["learning_rate"] == 1e-5
    assert read["adam_epsilon"] == 1e-8
    assert read["eval_strategy"] == "no"
    assert read["bf16"] is False


@pytest.mark.parametrize(
    ("keys", "kind", "words"),
    [
        ({"stage": "ppo"}, "script", "TRL has no command for stage ppo"),
        ({"stage": "orpo"}, "trl", "TRL has no command for stage orpo"),
        ({"method": "ia3"}, "trl", "no flag for method ia3"),
        ({"adapter_name_or_path": "a"}, "trl", "no flag for adapter_name_or_path"),
        ({"stage": "grpo", "reward_funcs": ("judge:me",)}, "trl", "no reward function judge:me"),
        ({"stage": "grpo", "reward_funcs": ("exact:",)}, "trl", "name a column"),
    ],
)
def test_what_trl_lacks_is_one_sentence(
    tmp_path: Path, tiny_model: Path, rows: dict[str, Path], keys: dict[str, Any], kind: str, words: str
) -> None:
    recipe = Recipe(model_name_or_path=str(tiny_model), datasets=(DatasetEntry(path=str(rows["sft"])),), **keys)
    with pytest.raises(TuiwbError, match=words):
        exported(recipe, tmp_path / "out", kind)
    assert not (tmp_path / "out").exists()


def test_reward_functions_are_called_as_they_are_here(
    tmp_path: Path, tiny_model: Path, rows: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL has turns where the prompt is a conversation, and brings more than there are columns."""
    _, text = exported(recipe_for("grpo", tiny_model, rows, tmp_path), tmp_path / "out")
    assert "reward_funcs: [mine_on_texts.score]" in text
    (tmp_path / "out/mine.py").write_text("def score(prompts, completions, wanted):\n    return list(completions)\n")
    monkeypatch.syspath_prepend(tmp_path / "out")
    score = runpy.run_path(str(tmp_path / "out/mine_on_texts.py"))["score"]
    sys.modules.pop("mine")  # it is no other test's
    turns = [[{"role": "assistant", "content": "Paris."}], "Rome."]
    given = {"prompts": ["a", "b"], "wanted": [1, 2], "completion_ids": [[1], [2]], "trainer_state": object()}
    assert score(completions=turns, **given) == ["Paris.", "Rome."]


def test_built_in_rewards_are_written_out(tmp_path: Path, tiny_model: Path, rows: dict[str, Path]) -> None:
    from tuiwb.data.example import Example
    from tuiwb.workers.rewards import Asked, rewards_of

    named = ("length:4", "exact:wanted", "regex:^P.*\\d$", "length:2", r"regex:a'b\"")
    keys = {"stage": "grpo", "reward_funcs": named, "model_name_or_path": str(tiny_model)}
    recipe = Recipe(datasets=(DatasetEntry(path=str(rows["grpo"])),), **keys)  # type: ignore[arg-type]
    _, text = exported(recipe, tmp_path / "out")
    names = ["length", "exact", "regex", "length_2", "regex_2"]
    assert f"[{', '.join(f'built_in_rewards.{name}' for name in names)}]" in text
    there = runpy.run_path(str(tmp_path / "out/built_in_rewards.py"))
    answers = ["Paris\n1", r"So \boxed{7}", "#### 8.", "a'b\""]
    turns = [[{"role": "assistant", "content": answer}] for answer in answers]
    ids = [[1] * length for length in (1, 4, 6, 2)]
    wanted = [1, "7", 8, None]
    asked = [Asked([1], Example(id=n, extra={"wanted": value})) for n, value in enumerate(wanted)]
    places = [str(n) for n in range(4)]
    for name, here in zip(names, rewards_of(recipe, asked), strict=True):
        ours = here(prompts=places, completions=answers, completion_ids=ids)
        assert there[name](completions=turns, completion_ids=ids, wanted=wanted, prompts=turns) == ours, name
        assert len({*ours}) > 1, "they tell answers apart"


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, tiny_model: Path, rows: dict[str, Path]) -> None:
    with pytest.raises(TuiwbError, match="name a new folder"):
        exported(recipe_for("sft", tiny_model, rows, tmp_path), rows["sft"].parent)


@pytest.mark.parametrize("method", ["full", "freeze", "lora", "qlora", "dora", "ia3", "prefix", "prompt", "continued"])
def test_the_script_is_python_without_tuiwb(
    tmp_path: Path, tiny_model: Path, rows: dict[str, Path], method: Any
) -> None:
    keys = {"method": "lora", "adapter_name_or_path": "/some/adapter"} if method == "continued" else {"method": method}
    _, text = exported(recipe_for("sft", tiny_model, rows, tmp_path, **keys), tmp_path / "out", "script")
    tree = ast.parse(text)
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not any(str(module).startswith("tuiwb") for module in imported)
    assert names <= used, "nothing is imported in vain"
    assert {name for name in used if name[0].isupper() and not name.isupper()} <= names


def test_the_verb(tmp_path: Path, tiny_model: Path, rows: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--set", f"model_name_or_path={tiny_model}", "--set", f"datasets.0.path={rows['sft']}"]
    out = str(tmp_path / "out")
    assert main.main(["recipe", "export", "trl", "sft-lora", *arguments, "-o", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == f"cd {out} && trl sft --config trl.yaml"
    assert main.main(["recipe", "export", "trl", "sft-lora", *arguments, "--set", "stage=ppo", "-o", out + "2"]) == 2
    assert "TRL has no command for stage ppo" in capsys.readouterr().err


def test_the_import_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "theirs.yaml"
    source.write_text("stage: sft\nfinetuning_type: lora\nmodel_name_or_path: m\nmask_history: true\nplot_loss: true\n")
    mine = str(tmp_path / "mine.yaml")
    assert main.main(["recipe", "import", str(source), "--set", "lora_r=4", "-o", mine, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["from"] == "LLaMA-Factory"
    assert found["recipe"]["lora_r"] == 4
    assert {entry["key"]: entry["outcome"] for entry in found["keys"] if entry["stated"]} == {
        "stage": "taken", "finetuning_type": "translated", "model_name_or_path": "taken", "mask_history": "refused",
        "plot_loss": "refused",
    }  # fmt: skip
    assert main.main(["recipe", "show", mine, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["lora_r"] == 4
    assert main.main(["recipe", "import", str(source), "-o", mine]) == 2, "a file is not written over"
    assert main.main(["recipe", "import", str(source)]) == 0
    out, err = capsys.readouterr()
    assert "method: lora" in out
    assert "were not taken: mask_history" in err


@pytest.mark.torch
def test_the_parser_of_trl_knows_every_key(tmp_path: Path, tiny_model: Path, rows: dict[str, Path]) -> None:
    import importlib

    for stage in ALL:
        keys: dict[str, Any] = {"method": "qlora"} if stage == "sft" else {}
        recipe = recipe_for(stage, tiny_model, rows, tmp_path, learning_rate=3e-5, lora_r=5, **keys)
        found, _ = exported(recipe, tmp_path / stage)
        command = found.command.split(" trl ")[1].split()[0]
        parser = importlib.import_module(f"trl.scripts.{command}").make_parser()
        _, config, model, _ = parser.parse_args_and_config(["--config", str(found.file)])
        assert config.learning_rate == 3e-5
        assert model.lora_r == 5
        assert model.lora_task_type == ("SEQ_CLS" if stage == "reward" else "CAUSAL_LM")
        assert config.bf16 is False
