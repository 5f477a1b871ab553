"""Files, presets, `--set`, paths and differences."""

from pathlib import Path

import pytest

from tuiwb import recipe
from tuiwb.base import paths
from tuiwb.base.errors import InputFault
from tuiwb.recipe import DatasetEntry, Launch, Recipe


def test_relative_paths_start_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "base").mkdir()
    file = tmp_path / "r.yaml"
    file.write_text(
        "model_name_or_path: base\nchat_template: chatml\nadapter_name_or_path: ../other\n"
        "datasets:\n- {path: data/train.jsonl, journal: edits.jsonl}\n- {path: owner/set}\n- {path: /abs/x.csv}\n"
        "stages:\n- eval_datasets: [{path: ./here}]\n"
    )
    read = recipe.load(file)
    assert read.model_name_or_path == str(tmp_path / "base")
    assert read.chat_template == "chatml"
    assert read.adapter_name_or_path == str(tmp_path.parent / "other")
    assert read.datasets is not None
    assert [entry.path for entry in read.datasets] == [
        str(tmp_path / "data/train.jsonl"), "owner/set", "/abs/x.csv",
    ]  # fmt: skip
    assert read.datasets[0].journal == str(tmp_path / "edits.jsonl")
    assert read.stages is not None
    assert read.stages[0].eval_datasets == (DatasetEntry(path=str(tmp_path / "here")),)


def test_a_recipe_may_be_named_by_file_or_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recipe.load("sft-lora").method == "lora"
    monkeypatch.chdir(tmp_path)
    Path("sft-lora").write_text("method: full")
    assert recipe.load("sft-lora").method == "full", "a file of that name goes first"
    with pytest.raises(InputFault, match="did you mean `sft-qlora`"):
        recipe.load("sft-qlorra")


def test_every_preset_loads_and_says_when_to_use_it() -> None:
    presets = {preset.name: preset for preset in recipe.presets()}
    assert {"sft-lora", "sft-qlora", "sft-full"} <= set(presets)
    for preset in presets.values():
        assert len(preset.summary) > 20, preset.name
        loaded = recipe.load(preset.name)
        assert loaded.stage is not None or loaded.stages


def test_the_user_s_own_preset_takes_the_place_of_ours() -> None:
    folder = paths.private_folder(paths.config_home() / "presets")
    (folder / "sft-lora.yaml").write_text("# mine\nlora_r: 4\n")
    assert recipe.preset("sft-lora").summary == "mine"
    assert recipe.load("sft-lora").lora_r == 4
    with pytest.raises(InputFault, match="no such preset"):
        recipe.preset("nothing-like-it")


def test_set_replaces_typed_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changed = recipe.with_settings(
        Recipe(lora_r=16, name="old", seed=3),
        {
            "lora_r": "8",
            "learning_rate": "1e-5",
            "bf16": "true",
            "name": "null",
            "notes": "3 of 4",
            "launch.gpus": "0,1",
            "launch.nodes": "2",
            "datasets.0.path": "x.json",
            "datasets.0.weight": "2",
            "datasets.1.path": "owner/set",
            "lora_target_modules": "q_proj,v_proj",
            "train_roles": "assistant",
            "eval_strategy": "no",
            "report_to": "none",
            "sample_prompts": "Who, when, and why?",
        },
    )
    assert changed == Recipe(
        lora_r=8,
        seed=3,
        learning_rate=1e-5,
        bf16=True,
        notes="3 of 4",
        launch=Launch(gpus=(0, 1), nodes=2),
        datasets=(DatasetEntry(path=str(tmp_path / "x.json"), weight=2.0), DatasetEntry(path="owner/set")),
        lora_target_modules=("q_proj", "v_proj"),
        train_roles=("assistant",),
        eval_strategy="no",
        report_to="none",
        sample_prompts=("Who, when, and why?",),
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("lora_r", "many", "must be a whole number"),
        ("lora_rr", "8", "did you mean `lora_r`?"),
        ("datasets.3.path", "x", "no such place"),
        ("launch.gpus", "all", "auto or a list"),
        ("lora_r.x", "8", "no such place"),
        ("method", "qlora2", "did you mean `qlora`?"),
        ("tags", "[a", "not valid YAML"),
        ("load_in_4bit", "false", "method qlora means"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: str, words: str) -> None:
    with pytest.raises(InputFault) as caught:
        recipe.with_settings(Recipe(method="qlora", lora_r=1), {key: value})
    assert words in caught.value.message
    assert (caught.value.file or "").startswith("--set")


def test_set_leaves_paths_alone_that_it_does_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm").mkdir()
    before = Recipe(model_name_or_path="smollm")
    assert recipe.with_settings(before, {"lora_r": "8"}).model_name_or_path == "smollm"


def test_differences_name_each_key_in_the_order_of_the_model() -> None:
    before = Recipe(lora_r=8, stage="sft", launch=Launch(nodes=1, gpus="auto"))
    after = Recipe(stage="dpo", launch=Launch(nodes=2, gpus="auto"), seed=1, lora_r=8)
    found = [(one.key, one.before, one.after) for one in recipe.differences(before, after)]
    assert found == [("stage", "sft", "dpo"), ("seed", None, 1), ("launch.nodes", 1, 2)]


def test_dumps_quotes_what_other_tools_take_for_false() -> None:
    assert "eval_strategy: 'no'" in recipe.dumps(Recipe(eval_strategy="no"))
    assert recipe.dumps(Recipe(lora_r=8, name="a b")) == "name: a b\nlora_r: 8\n"


def test_schema_describes_every_key() -> None:
    schema = recipe.schema()
    properties = schema["$defs"]["Recipe"]["properties"]
    assert set(properties) == set(Recipe.__struct_fields__)
    assert all(described["description"] for described in properties.values())
    assert schema["$defs"]["DatasetEntry"]["properties"]["path"]["description"]
    assert schema["$defs"]["Recipe"]["additionalProperties"] is False


def test_fields_cover_the_model_in_order_with_a_group_and_help() -> None:
    keys = [field.key for field in recipe.fields()]
    tops = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    assert tops == list(Recipe.__struct_fields__)
    assert all(field.group and field.help and field.accepts for field in recipe.fields())
    by_key = {field.key: field for field in recipe.fields()}
    assert by_key["method"].choices[:3] == ("full", "freeze", "lora"), "in the order in which the model writes them"
    assert by_key["max_length"].unit == "tokens"
    assert by_key["warmup_steps"].accepts == "a number of at least 0"
