"""A recipe file that is wrong gets one sentence with file, line, key and what to write instead."""

import os
from pathlib import Path

import pytest

from tuiwb import recipe
from tuiwb.base.errors import InputFault


def fault(text: str) -> InputFault:
    with pytest.raises(InputFault) as caught:
        recipe.loads(text, source="r.yaml")
    assert caught.value.file == "r.yaml"
    assert "\n" not in str(caught.value)
    return caught.value


def test_yaml_1_2_numbers_and_words() -> None:
    read = recipe.loads("learning_rate: 2e-4\nwarmup_steps: 3\neval_strategy: no\nname: 2026-11-21\nlora_r: 0x10\n")
    assert (read.learning_rate, read.warmup_steps, read.eval_strategy) == (2e-4, 3.0, "no")
    assert (read.name, read.lora_r) == ("2026-11-21", 16)


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("stage: sft\nlearing_rate: 3", 2, "learing_rate", "did you mean `learning_rate`?"),
        ("LoRA-r: 3", 1, "LoRA-r", "write `lora_r`"),
        ("\n\nwarmup_ratio: .03", 3, "warmup_ratio", "write `warmup_steps`"),
        ("evaluation_strategy: steps", 1, "evaluation_strategy", "write `eval_strategy`"),
        ("max_seq_length: 3", 1, "max_seq_length", "write `max_length`"),
        ("torch_dtype: auto", 1, "torch_dtype", "write `dtype`"),
        ("group_by_length: true", 1, "group_by_length", "write `train_sampling_strategy: group_by_length`"),
        ("tokenizer: x", 1, "tokenizer", "comes with `model_name_or_path`"),
        ("lora_r: '8'", 1, "lora_r", "a whole number of at least 1, not the text `8`; take the quotes away"),
        ("lora_r: 0", 1, "lora_r", "a whole number of at least 1, not 0"),
        ("lora_r: 8.5", 1, "lora_r", "not 8.5"),
        ("lora_r: true", 1, "lora_r", "not true"),
        ("name: 3", 1, "name", "must be text, not 3; put it in quotes"),
        ("bf16: yes", 1, "bf16", "in YAML 1.2 `yes` is a word"),
        ("stage: stf", 1, "stage", "did you mean `sft`?"),
        ("learning_rate: .nan", 1, "learning_rate", "not a usable number"),
        ("reward_funcs: a", 1, "reward_funcs", "write `[a]`"),
        ("lora_r: 1\nlora_r: 2", 2, "lora_r", "already stands in line 1"),
        ("datasets: x.json", 1, "datasets", "write `- path: x.json`"),
        ("datasets:\n- x.json", 2, "datasets[0]", "write `path: x.json`"),
        ("datasets:\n- path: x\n  weight: 0", 3, "datasets[0].weight", "a number above 0"),
        ("datasets:\n- path: x\n- format: auto", 3, "datasets[1].path", "is missing"),
        ("datasets:\n- path: x\n  columns:\n    a: b\n    c: 3", 5, "datasets[0].columns.c", "must be text"),
        ("datasets:\n- pth: x", 2, "datasets[0].pth", "did you mean `path`?"),
        ("launch:\n  gpu: 1", 2, "launch.gpu", "did you mean `gpus`?"),
        ("stages:\n- stage: sft\n- stage: dpo\n  lora_q: 2", 4, "stages[1].lora_q", "did you mean `lora_r`?"),
        ("stages:\n- method: qlora\n  load_in_4bit: false", 3, "stages[0].load_in_4bit", "means a base in 4 bits"),
    ],
)  # fmt: skip
def test_names_line_key_and_what_to_write(text: str, line: int, key: str, words: str) -> None:
    error = fault(text)
    assert (error.line, error.key) == (line, key)
    assert words in error.message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("method: qlora\nload_in_4bit: false", "load_in_4bit"),
        ("method: qlora\nload_in_8bit: true", "load_in_8bit"),
        ("method: dora\nuse_dora: false", "use_dora"),
        ("method: full\nuse_dora: true", "use_dora"),
        ("method: ia3\nuse_rslora: true", "use_rslora"),
        ("method: full\nload_in_8bit: true", "load_in_8bit"),
        ("load_in_4bit: true\nload_in_8bit: true", "load_in_8bit"),
        ("method: prefix\ngradient_checkpointing: true", "gradient_checkpointing"),
        ("bf16: true\nfp16: true", "fp16"),
        ("eval_fraction: 0.1\neval_datasets: [{path: x}]", "eval_fraction"),
        ("load_best_model_at_end: true\neval_strategy: no", "load_best_model_at_end"),
        ("load_best_model_at_end: true\neval_strategy: steps\nsave_strategy: epoch", "save_strategy"),
        ("load_best_model_at_end: true\neval_steps: 10\nsave_steps: 25", "save_steps"),
        ("load_best_model_at_end: true\neval_steps: 0.5\nsave_steps: 1", "save_steps"),
        ("logging_steps: 2.5", "logging_steps"),
        ("lr_scheduler_type: reduce_lr_on_plateau\neval_strategy: no", "lr_scheduler_type"),
    ],
)
def test_contradictions_name_the_key_and_its_line(text: str, key: str) -> None:
    error = fault(text)
    assert error.key == key
    assert text.splitlines()[(error.line or 0) - 1].startswith(key) or text.startswith(("load_in_4bit", "eval_fra"))


def test_a_repeated_method_is_no_contradiction() -> None:
    both = recipe.loads("method: qlora\nload_in_4bit: true\nbf16: true\nfp16: false")
    assert both.load_in_4bit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("{}", "is empty"),
        ("- a\n- b", "holds a list"),
        ("3", "holds a single value"),
        ("a: [", "not valid YAML"),
        ("x\n# comment\nlora_r: 1", "but found <block mapping start>"),
        ("\tlora_r: 1", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("lora_r: 1\n---\nlora_r: 2", "not valid YAML"),
        ("lora_r: !!python/object:os.system 3", "not valid YAML"),
        ("tags: &x [*x]", "an alias refers to itself"),
        ("<<: {a: 1}", "merging with << is not supported"),
        ("? [a]\n: b", "a key must be a plain word"),
        ("a: \x00", "not valid YAML"),
        ("lr_scheduler_kwargs: " + "{a: " * 3000, "not"),
    ],
)
def test_what_is_no_recipe_gets_one_sentence(text: str, words: str) -> None:
    assert words in fault(text).message


def test_aliases_that_multiply_end_soon() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 10):
        text += f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 10) + "]\n"
    assert "aliases multiply" in fault(text).message


def test_files_that_cannot_be_read_get_one_sentence(tmp_path: Path) -> None:
    def words(path: Path) -> str:
        with pytest.raises(InputFault) as caught:
            recipe.load(path)
        assert caught.value.file == str(path)
        return caught.value.message

    assert "no such file" in words(tmp_path / "none.yaml")
    assert "folder" in words(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"stage: sft\nname: \xff")
    assert "not valid UTF-8 at byte 17" in words(tmp_path / "bytes.yaml")
    (tmp_path / "long.yaml").write_bytes(b"#" * (5 << 20))
    assert "longer than 4 MiB" in words(tmp_path / "long.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_gets_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "closed.yaml"
    file.write_text("stage: sft")
    file.chmod(0)
    with pytest.raises(InputFault, match="Permission denied"):
        recipe.load(file)


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes("\ufeffstage: sft\r\nlora_r: 8\r\n".encode())
    assert recipe.load(file).lora_r == 8
