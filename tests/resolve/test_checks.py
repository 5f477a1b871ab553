"""What is wrong with a recipe is said before a run exists; what is right is not complained about."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from machines import a_gpu, a_host
from tiny import make_tiny_model

from tuiwb import recipe
from tuiwb.base import settings
from tuiwb.recipe import DatasetEntry, Launch, Recipe
from tuiwb.resolve import Assessment, Check, assess, check_machine
from tuiwb.resolve.check_machine import check_logout

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(GOOD) + "\n" for _ in range(400)))
    return path


@pytest.fixture
def good(tiny_model: Path, rows: Path) -> Recipe:
    return Recipe(
        model_name_or_path=str(tiny_model), datasets=(DatasetEntry(path=str(rows)),), method="lora", max_length=256
    )


def found(one: Recipe, **machine: object) -> Assessment:
    host = machine.get("host") or a_host()
    gpus = machine.get("gpus") or []
    return assess(one, host=host, gpus=gpus)  # type: ignore[arg-type]


def check_on(assessment: Assessment, key: str) -> Check:
    matching = [check for check in assessment.checks if check.key == key]
    assert matching, f"nothing on {key}, only {assessment.checks}"
    return matching[0]


def test_a_good_recipe_can_be_launched(good: Recipe) -> None:
    assessment = found(good)
    assert assessment.ok
    assert assessment.model is not None
    assert assessment.plan is not None
    assert [check.level for check in assessment.checks] == ["note"], "the number of steps"
    assert "about 75 optimizer steps of 16 examples" in assessment.checks[0].message


def test_a_missing_model_and_dataset_are_errors_with_what_to_do() -> None:
    assessment = found(Recipe())
    assert not assessment.ok
    assert check_on(assessment, "model_name_or_path").fix
    assert check_on(assessment, "datasets").fix
    assert assessment.fault().key == "model_name_or_path"


def test_a_model_that_cannot_be_opened_says_why(good: Recipe, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check = check_on(
        found(msgspec.structs.replace(good, model_name_or_path=str(tmp_path / "empty"))), "model_name_or_path"
    )
    assert check.level == "error"
    assert check.message


def test_a_configuration_alone_can_be_planned_but_not_trained(good: Recipe, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    shutil.copy(tiny_model / "config.json", tmp_path / "config")
    assessment = found(msgspec.structs.replace(good, model_name_or_path=str(tmp_path / "config")))
    assert assessment.plan is not None
    errors = [check for check in assessment.checks if check.level == "error"]
    assert len(errors) == 1, "the tokenizer and the template come with the weights"
    assert "only the configuration" in errors[0].message


def test_conversations_need_a_chat_template(good: Recipe, tmp_path: Path) -> None:
    bare = make_tiny_model(tmp_path / "bare", chat_template=None)
    without = msgspec.structs.replace(good, model_name_or_path=str(bare))
    assert check_on(found(without), "chat_template").fix == "chat_template: chatml"
    assert found(msgspec.structs.replace(without, chat_template="chatml")).ok
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "Once upon a time."}\n' * 300)
    assert found(msgspec.structs.replace(without, datasets=(DatasetEntry(path=str(text)),))).ok


def test_a_chat_template_that_is_none_is_an_error(good: Recipe, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jinja"
    broken.write_text("{% for message in messages %}")
    assert check_on(found(msgspec.structs.replace(good, chat_template=str(broken))), "chat_template").level == "error"
    assert check_on(found(msgspec.structs.replace(good, chat_template="no-such")), "chat_template").level == "error"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no rows"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 9, "pairs of a chosen and a rejected answer"),
    ],
)
def test_data_that_the_stage_cannot_learn_from(good: Recipe, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(content)
    check = check_on(found(msgspec.structs.replace(good, datasets=(DatasetEntry(path=str(path)),))), "datasets[0]")
    assert check.level == "error"
    assert words in check.message


def test_data_that_are_not_there_or_cannot_be_read(good: Recipe, tmp_path: Path) -> None:
    missing = msgspec.structs.replace(good, datasets=(DatasetEntry(path=str(tmp_path / "none.jsonl")),))
    assert check_on(found(missing), "datasets[0]").level == "error"
    second = msgspec.structs.replace(good, eval_datasets=(DatasetEntry(path=str(tmp_path / "none.jsonl")),))
    assert check_on(found(second), "eval_datasets[0]").level == "error"


def test_a_dataset_is_looked_at_again_when_it_changed(good: Recipe, rows: Path) -> None:
    assert found(good).ok
    rows.write_text("")
    assert not found(good).ok


def test_few_rows_and_an_empty_share_are_said(good: Recipe, rows: Path) -> None:
    rows.write_text("".join(json.dumps(GOOD) + "\n" for _ in range(20)))
    assessment = found(msgspec.structs.replace(good, eval_fraction=0.01))
    assert "make only 4 optimizer steps" in check_on(assessment, "gradient_accumulation_steps").message
    assert check_on(assessment, "eval_fraction").level == "error"


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"stage": "dpo"}, "datasets[0]"),
        ({"packing": True, "packing_strategy": "wrapped"}, "packing"),
        ({"packing": True, "method": "prompt"}, "packing"),
        ({"padding_free": True, "attn_implementation": "somebody/kernel"}, "padding_free"),
        ({"method": "freeze", "freeze_layers": 2}, "freeze_layers"),
        ({"launch": {"nodes": 2}}, "launch.nodes"),
        ({"stage": "ppo", "launch": {"processes": 2, "sharding": "fsdp"}}, "launch.sharding"),
        ({"launch": {"sharding": "zero3"}}, "launch.sharding"),
        ({"stage": "ppo", "launch": {"processes": 2, "sharding": "zero2"}}, "launch.sharding"),
        ({"launch": {"processes": 2, "sharding": "ddp", "offload": "all"}}, "launch.offload"),
        ({"launch": {"processes": 2, "sharding": "fsdp", "offload": "optimizer"}}, "launch.offload"),
        ({"method": "prompt", "launch": {"processes": 2, "sharding": "fsdp"}}, "launch.sharding"),
        ({"load_in_8bit": True, "launch": {"processes": 2, "sharding": "fsdp"}}, "load_in_8bit"),
        ({"optim": "adamw_8bit", "launch": {"processes": 2, "sharding": "fsdp"}}, "optim"),
        (
            {
                "method": "qlora",
                "bnb_4bit_quant_storage": "uint8",
                "launch": {"processes": 2, "sharding": "fsdp"},
            },
            "bnb_4bit_quant_storage",
        ),
        ({"loss_type": "dpo"}, "loss_type"),
        ({"eval_strategy": "steps"}, "eval_strategy"),
        ({"fp16": True}, "fp16"),
        ({"tf32": True}, "tf32"),
        ({"attn_implementation": "flash_attention_2"}, "attn_implementation"),
        ({"launch": {"gpus": [3]}}, "launch.gpus"),
        ({"optim": "galore_adamw"}, "optim"),
        ({"report_to": ["no-such", "wandb"]}, "report_to"),
        ({"lora_target_modules": ["q_proj", "qq_proj"]}, "lora_target_modules"),
        ({"lora_target_modules": ["lm_head"]}, "lora_target_modules"),
        ({"lora_target_modules": r".*\.qq_proj"}, "lora_target_modules"),
        ({"lora_modules_to_save": ["no_such"]}, "lora_modules_to_save"),
    ],
)
def test_what_cannot_be_trained_here_is_refused(good: Recipe, keys: dict[str, object], key: str) -> None:
    stated = recipe.to_plain(good) | keys
    check = check_on(found(msgspec.convert(stated, Recipe)), key)
    assert check.level == "error"


@pytest.mark.parametrize(
    "keys",
    [
        {"lora_target_modules": ("q_proj", "mlp.up_proj")},
        {"lora_target_modules": r".*\.(q|v)_proj"},
        {"lora_modules_to_save": ("embed_tokens",)},
        {"method": "freeze", "freeze_layers": 1},
        {"method": "dora"},
        {"report_to": "none"},
        {"launch": Launch(processes=2, sharding="fsdp")},
        {"launch": Launch(processes=2, sharding="fsdp", offload="all"), "method": "full"},
        {"launch": Launch(processes=2, sharding="fsdp"), "method": "qlora"},
    ],
)
def test_what_can_be_trained_is_not_refused(good: Recipe, keys: dict[str, object]) -> None:
    assert found(msgspec.structs.replace(good, **keys)).ok


def test_trained_weights_in_16_bits_are_warned_of(good: Recipe) -> None:
    stated = msgspec.structs.replace(good, method="full", dtype="bfloat16")
    check = check_on(found(stated, gpus=[a_gpu()]), "dtype")
    assert check.level == "warning"
    assert "lose updates" in check.message
    frozen = msgspec.structs.replace(good, dtype="bfloat16")
    assert not [one for one in found(frozen, gpus=[a_gpu()]).checks if one.key == "dtype"], "a frozen base may be"


def test_slow_and_idle_keys_are_said_but_not_refused(good: Recipe) -> None:
    assessment = found(msgspec.structs.replace(good, bf16=True, bnb_4bit_quant_type="nf4", max_length=1000))
    assert assessment.ok
    assert check_on(assessment, "bf16").level == "warning"
    assert check_on(assessment, "bnb_4bit_quant_type").level == "note"
    assert check_on(assessment, "max_length").level == "warning"
    assert found(msgspec.structs.replace(good, bf16=True), host=a_host(bf16=True)).checks[0].level == "note"


def test_an_old_gpu_is_not_asked_for_what_it_lacks(good: Recipe) -> None:
    old = [a_gpu(name="T4", capability=(7, 5), gib=15)]
    assert found(good, gpus=old).ok
    assert check_on(found(msgspec.structs.replace(good, bf16=True), gpus=old), "bf16").level == "error"


def test_each_gpu_that_is_named_gets_a_process(good: Recipe) -> None:
    pair = [a_gpu(0), a_gpu(1)]
    two = found(msgspec.structs.replace(good, launch=Launch(gpus=(0, 1))), gpus=pair)
    assert two.ok
    launch = two.resolved.recipe.launch
    assert launch is not None
    assert (launch.processes, launch.sharding, launch.gpus) == (2, "ddp", (0, 1))
    chosen = found(msgspec.structs.replace(good, launch=Launch(processes=2)), gpus=pair).resolved.recipe.launch
    assert chosen is not None
    assert (chosen.gpus, chosen.sharding) == ((0, 1), "ddp")
    one = msgspec.structs.replace(good, launch=Launch(gpus=(0, 1), processes=1))
    assert check_on(found(one, gpus=pair), "launch.processes").level == "error"
    alone = msgspec.structs.replace(good, launch=Launch(processes=2))
    assert check_on(found(alone, gpus=[a_gpu(0)]), "launch.processes").level == "error"


def test_memory_that_is_short_is_said_with_a_remedy(good: Recipe) -> None:
    assessment = found(good, gpus=[a_gpu(gib=0.3)])
    (warning,) = [check for check in assessment.checks if check.level == "warning"]
    assert "A100 has 0.30 GiB" in warning.message
    on_cpu = found(good, host=a_host(free=1 << 20))
    assert any("memory are free" in check.message for check in on_cpu.checks if check.level == "warning")


def test_a_full_disk_is_an_error(good: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assessment = found(good)
    assert not assessment.ok
    assert "free" in assessment.fault().message


def test_another_interpreter_s_packages_are_not_judged(good: Recipe) -> None:
    settings.save("worker.python", "/opt/torch/bin/python")
    assert found(msgspec.structs.replace(good, optim="galore_adamw")).ok


def test_logout_that_ends_runs_is_said(tmp_path: Path) -> None:
    config, linger = tmp_path / "logind.conf", tmp_path / "linger"
    linger.mkdir()
    assert not list(check_logout(config, linger))
    config.write_text("[Login]\n#KillUserProcesses=no\n")
    assert not list(check_logout(config, linger))
    config.write_text("[Login]\nKillUserProcesses=yes\n")
    (warning,) = check_logout(config, linger)
    assert warning.fix == "loginctl enable-linger"
    import getpass

    (linger / getpass.getuser()).touch()
    assert not list(check_logout(config, linger))


def test_errors_come_first(good: Recipe) -> None:
    levels = [check.level for check in found(msgspec.structs.replace(good, bf16=True, fp16=False, stage="dpo")).checks]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def test_cleaning_steps_decide_what_is_there_to_learn_from(good: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"prompt": "p{n}", "completion": "{"long " * n}"}}\n' for n in range(1, 4)))
    entry = DatasetEntry(path=str(path), steps=({"words": {"min": 2}},))
    assert "2 rows make only" in str(found(msgspec.structs.replace(good, datasets=(entry,), eval_fraction=None)).checks)
    none = msgspec.structs.replace(entry, steps=({"words": {"min": 9}},))
    check = check_on(found(msgspec.structs.replace(good, datasets=(none,))), "datasets[0]")
    assert "the steps leave none of the 3 rows" in check.message


def test_rows_that_cannot_be_read_are_no_hindrance_where_others_can(good: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text('{"messages": NaN}\n' + (json.dumps(GOOD) + "\n") * 40)
    assert found(msgspec.structs.replace(good, datasets=(DatasetEntry(path=str(path)),))).ok
    path.write_text('{"messages": NaN}\n' * 40)
    check = check_on(found(msgspec.structs.replace(good, datasets=(DatasetEntry(path=str(path)),))), "datasets[0]")
    assert "line 1: NaN is no JSON value" in check.message
