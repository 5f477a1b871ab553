"""Recipes from other tools: every key is accounted for, and what is learned stays what it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuiwb.base.errors import InputFault
from tuiwb.recipe import dumps, imports, loads

LLAMAFACTORY = """
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: q_proj,v_proj
quantization_bit: 4
dataset: identity,chats,pairs_of_two
dataset_dir: data
template: llama3
cutoff_len: 1024
max_samples: 1000
overwrite_cache: true
output_dir: saves/sft
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
mask_history: true
resume_from_checkpoint: null
val_size: 0.1
eval_strategy: steps
flash_attn: fa2
"""
INFO = {
    "identity": {"file_name": "identity.json"},
    "chats": {
        "file_name": "chats.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "talk", "images": "pictures"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    },
    "pairs_of_two": {
        "hf_hub_url": "somebody/pairs",
        "subset": "en",
        "ranking": True,
        "columns": {"prompt": "question", "chosen": "good", "rejected": "bad"},
    },
    "odd": {"file_name": "odd.json", "formatting": "sharegpt", "tags": {"role_tag": "who", "content_tag": "says"}},
}
AXOLOTL = """
base_model: NousResearch/Meta-Llama-3-8B
model_type: AutoModelForCausalLM
load_in_4bit: true
strict: false
datasets:
  - path: tatsu-lab/alpaca
    type: alpaca
dataset_prepared_path:
val_set_size: 0.05
output_dir: ./outputs
adapter: qlora
lora_model_dir:
sequence_len: 4096
sample_packing: true
lora_r: 32
lora_alpha: 16
lora_target_linear: true
lora_target_modules:
wandb_project: mine
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 4
optimizer: paged_adamw_32bit
lr_scheduler: cosine
cosine_min_lr_ratio: 0.1
learning_rate: 0.0002
train_on_inputs: false
group_by_length: false
bf16: auto
gradient_checkpointing: true
flash_attention: true
xformers_attention:
warmup_steps: 10
evals_per_epoch: 4
saves_per_epoch: 1
special_tokens:
  pad_token: "<|end_of_text|>"
"""
TRL = """
model_name_or_path: Qwen/Qwen2.5-0.5B
dataset_name: trl-lib/ultrafeedback_binarized
use_peft: true
lora_r: 32
beta: 0.2
loss_type: [sigmoid]
eval_strategy: steps
eval_steps: 50
precompute_ref_log_probs: true
learning_rat: 3
"""
COMMANDS = {
    "train_bash": """#!/bin/bash
MODEL=/models/llama-2-7b
CUDA_VISIBLE_DEVICES=0,1 python src/train_bash.py \\
    --stage sft --do_train \\
    --model_name_or_path $MODEL \\
    --dataset identity --template llama2 \\
    --finetuning_type lora --lora_target q_proj,v_proj --quantization_bit 4 \\
    --output_dir out --overwrite_cache --per_device_train_batch_size 4 \\
    --gradient_accumulation_steps 4 --lr_scheduler_type cosine --logging_steps 10 \\
    --evaluation_strategy steps --save_steps 1000 --learning_rate 5e-5 --num_train_epochs 3.0 --plot_loss --fp16
""",
    "sft_2023": """accelerate launch --config_file multi_gpu.yaml --num_processes=1 \\
        examples/scripts/sft.py \\
        --model_name mistralai/Mixtral-8x7B-v0.1 --dataset_name trl-lib/ultrachat_200k_chatml \\
        --batch_size 2 --gradient_accumulation_steps 1 --learning_rate 2e-4 --save_steps 200_000 --seq_length 512 \\
        --use_peft --peft_lora_r 16 --peft_lora_alpha 32 --target_modules q_proj k_proj v_proj o_proj --load_in_4bit
""",
    "alpaca": """torchrun --nproc_per_node=4 --master_port=29500 train.py \\
    --model_name_or_path /llama-7b --data_path ./alpaca_data.json --bf16 True --output_dir out \\
    --num_train_epochs 3 --per_device_train_batch_size 4 --gradient_accumulation_steps 8 --evaluation_strategy "no" \\
    --save_strategy "steps" --save_steps 2000 --save_total_limit 1 --learning_rate 2e-5 --weight_decay 0. \\
    --warmup_ratio 0.03 --lr_scheduler_type "cosine" --logging_steps 1 --fsdp "full_shard auto_wrap" \\
    --fsdp_transformer_layer_cls_to_wrap 'LlamaDecoderLayer' --tf32 True
""",
    "qlora": """python qlora.py --model_name_or_path huggyllama/llama-7b --dataset alpaca --bf16 True --bits 4 \\
    --quant_type nf4 --double_quant --lora_r 64 --source_max_len 384 --target_max_len 128 --group_by_length \\
    --max_steps 1875 --do_mmlu_eval --output_dir out
""",
    "dpo": """$ trl dpo --model_name_or_path Qwen/Qwen2-0.5B --dataset_name my/pairs --beta 0.1 --use_peft \\
    --max_prompt_length 512 --num_train_epochs 20 --learning_rate 5e-7
""",
}


def entries_of(found: imports.Imported) -> dict[str, imports.Entry]:
    return {entry.key: entry for entry in found.entries if entry.stated}


def read(text: str, folder: Path, name: str = "source.yaml", **keys: Any) -> imports.Imported:
    (folder / name).write_text(text)
    return imports.read_file(folder / name, **keys)


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    """A folder as LLaMA-Factory's, with the YAML two folders below the one where data/ is."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_info.json").write_text(json.dumps(INFO))
    (tmp_path / "examples/lora").mkdir(parents=True)
    return tmp_path


def test_llamafactory_with_its_dataset_info(factory: Path) -> None:
    found = read(LLAMAFACTORY, factory / "examples/lora")
    recipe, entries = found.recipe, entries_of(found)
    assert found.tool == "LLaMA-Factory"
    assert (recipe.stage, recipe.method, recipe.load_in_4bit) == ("sft", "qlora", None)
    assert recipe.chat_template == "llama-3"
    assert recipe.lora_target_modules == ("q_proj", "v_proj")
    assert (recipe.max_length, recipe.warmup_steps, recipe.eval_fraction) == (1024, 0.1, 0.1)
    assert recipe.attn_implementation == "flash_attention_2"
    assert recipe.datasets is not None
    identity, chats, pairs = recipe.datasets
    assert (identity.path, identity.format) == (str(factory / "data/identity.json"), "alpaca")
    assert (chats.format, chats.columns) == ("messages", {"messages": "talk"})
    assert (pairs.path, pairs.subset, pairs.format) == ("somebody/pairs", "en", "preference")
    assert pairs.columns == {"chosen": "good", "rejected": "bad", "prompt": "question"}
    assert {entry.max_examples for entry in recipe.datasets} == {1000}
    assert "pictures" in entries["dataset"].why, "a column that is left out is said"
    assert entries["mask_history"].outcome == "refused"
    assert entries["mask_history"].matters
    assert entries["output_dir"].outcome == "refused"
    assert not entries["output_dir"].matters
    assert entries["learning_rate"].outcome == "taken"
    assert entries["lora_rank"].outcome == "translated"
    assert entries["resume_from_checkpoint"].why.startswith("it is empty")


def test_defaults_of_the_other_tool_are_made_explicit(factory: Path) -> None:
    found = read("stage: sft\nfinetuning_type: lora\nmodel_name_or_path: m\nlora_rank: 4\n", factory)
    unstated = {entry.key: entry for entry in found.entries if not entry.stated}
    assert (found.recipe.learning_rate, found.recipe.lora_alpha, found.recipe.max_length) == (5e-5, 8, 2048)
    assert unstated["learning_rate"].why == "LLaMA-Factory does so unless told otherwise"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dataset: unheard_of", "knows no dataset unheard_of"),
        ("dataset: odd", "tuiwb data convert"),
        ("dataset: identity\ndataset_dir: elsewhere", "--dataset-dir"),
        ("finetuning_type: oft", "method oft is not offered"),
        ("pref_loss: simpo\nstage: dpo", "the loss simpo is not offered"),
        ("val_size: 100", "eval_fraction is a share"),
        ("quantization_bit: 3", "4 and 8 are"),
        ("freeze_trainable_layers: 5\nfinetuning_type: freeze", "number of layers minus 5"),
        ("lora_rank: many", "lora_r must be a whole number"),
        ("cutoff_lenn: 5", "a recipe has no such setting"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(factory: Path, line: str, words: str) -> None:
    found = read(f"model_name_or_path: m\n{line}\n", factory, tool="llamafactory")
    (entry,) = [entry for entry in found.entries if entry.matters]
    assert entry.outcome == "refused"
    assert words in entry.why


def test_axolotl(tmp_path: Path) -> None:
    found = read(AXOLOTL, tmp_path)
    recipe, entries = found.recipe, entries_of(found)
    assert found.tool == "Axolotl"
    assert (recipe.stage, recipe.method, recipe.packing) == ("sft", "qlora", True)
    assert recipe.chat_template == "alpaca", "the type alpaca writes ### Instruction: itself"
    assert recipe.datasets is not None
    assert (recipe.datasets[0].path, recipe.datasets[0].format) == ("tatsu-lab/alpaca", "alpaca")
    assert recipe.lora_target_modules == "all-linear"
    assert (recipe.per_device_train_batch_size, recipe.gradient_accumulation_steps) == (2, 4)
    assert recipe.lr_scheduler_type == "cosine_with_min_lr"
    assert recipe.lr_scheduler_kwargs == {"min_lr_rate": 0.1}
    assert (recipe.eval_strategy, recipe.eval_steps, recipe.save_steps) == ("steps", 1 / 16, 0.25)
    assert recipe.bf16 is None, "auto is left to the machine"
    assert set(entries) == {line.split(":")[0] for line in AXOLOTL.split("\n") if line and line[0] not in " -"}


def test_axolotl_conversations_and_roles(tmp_path: Path) -> None:
    text = (
        "base_model: m\nrl: dpo\nrl_beta: 0.3\ndatasets:\n  - path: a.jsonl\n    type: chat_template\n"
        "    field_messages: talk\n    message_property_mappings: {role: from, content: value}\n"
        "    roles_to_train: [assistant, user]\n    train_on_eos: last\n"
    )
    recipe = read(text, tmp_path).recipe
    assert recipe.datasets is not None
    assert (recipe.datasets[0].format, recipe.datasets[0].columns) == ("sharegpt", {"messages": "talk"})
    assert (recipe.train_roles, recipe.train_on_eos) == (("assistant", "user"), "last")
    assert (recipe.stage, recipe.beta, recipe.method) == ("dpo", 0.3, "full")


def test_trl(tmp_path: Path) -> None:
    found = read(TRL, tmp_path)
    recipe, entries = found.recipe, entries_of(found)
    assert found.tool == "TRL"
    assert (recipe.stage, recipe.method, recipe.beta) == ("dpo", "lora", 0.2)
    assert recipe.eval_datasets is not None
    assert recipe.eval_datasets[0].split == "test"
    assert (recipe.learning_rate, recipe.lora_dropout) == (1e-6, 0.05)
    assert entries["learning_rat"].why == "a recipe has no such setting; the nearest is learning_rate"


def test_trl_learns_every_turn_unless_told_otherwise(tmp_path: Path) -> None:
    text = "model_name_or_path: m\ndataset_name: d\nmax_length: 64\n"
    assert read(text, tmp_path).recipe.train_roles == ("system", "user", "assistant", "tool")
    assert read(text + "assistant_only_loss: true\n", tmp_path).recipe.train_roles == ("assistant",)


def test_command_lines_of_2023(factory: Path) -> None:
    bash = read(COMMANDS["train_bash"], factory, "run.sh").recipe
    assert (bash.model_name_or_path, bash.method, bash.fp16) == ("/models/llama-2-7b", "qlora", True)
    assert (bash.learning_rate, bash.eval_strategy, bash.chat_template) == (5e-5, "steps", "llama-2")
    assert bash.launch is not None
    assert bash.launch.gpus == (0, 1)
    sft = read(COMMANDS["sft_2023"], factory, "run.sh").recipe
    assert (sft.stage, sft.method, sft.lora_r, sft.max_length) == ("sft", "qlora", 16, 512)
    assert sft.lora_target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert sft.save_steps == 200_000
    alpaca = read(COMMANDS["alpaca"], factory, "run.sh").recipe
    assert (alpaca.method, alpaca.warmup_steps, alpaca.eval_strategy) == ("full", 0.03, "no")
    assert alpaca.launch is not None
    assert (alpaca.launch.processes, alpaca.launch.sharding) == (4, "fsdp")
    qlora = read(COMMANDS["qlora"], factory, "run.sh").recipe
    assert (qlora.method, qlora.use_bnb_nested_quant, qlora.max_length) == ("qlora", True, 512)
    assert (qlora.chat_template, qlora.train_sampling_strategy) == ("alpaca", "group_by_length")
    dpo = read(COMMANDS["dpo"], factory, "run.sh")
    assert (dpo.recipe.stage, dpo.recipe.num_train_epochs, dpo.recipe.learning_rate) == ("dpo", 20, 5e-7)
    assert entries_of(dpo)["max_prompt_length"].matters


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_a_command_is_accounted_for(factory: Path, name: str) -> None:
    text = COMMANDS[name]
    entries = entries_of(read(text, factory, "run.sh"))
    flags = {word.lstrip("-").split("=")[0].replace("-", "_") for word in text.split() if word.startswith("--")}
    assert flags <= set(entries)
    assert all(entry.into or entry.why for entry in entries.values())


def test_a_command_may_name_a_yaml_file(factory: Path) -> None:
    (factory / "sft.yaml").write_text("stage: sft\nfinetuning_type: full\nmodel_name_or_path: m\nlearning_rate: 1e-5\n")
    found = read("FORCE_TORCHRUN=1 llamafactory-cli train sft.yaml learning_rate=2e-5\n", factory, "run.sh")
    assert (found.recipe.method, found.recipe.learning_rate) == ("full", 2e-5)


def test_deepspeed_is_read_where_it_is(factory: Path) -> None:
    config = {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}
    (factory / "ds.json").write_text(json.dumps(config))
    here = read("finetuning_type: full\nstage: sft\ndeepspeed: ds.json\n", factory).recipe.launch
    assert here is not None
    assert (here.sharding, here.offload) == ("zero3", "all")
    named = read("finetuning_type: full\nstage: sft\ndeepspeed: gone/ds_z2_config.json\n", factory).recipe.launch
    assert named is not None
    assert named.sharding == "zero2"


def test_what_contradicts_itself_is_refused_not_raised(factory: Path) -> None:
    found = read("model_name_or_path: m\nstage: sft\nbf16: true\nfp16: true\n", factory)
    assert (found.recipe.bf16, found.recipe.fp16) == (True, None)
    assert entries_of(found)["fp16"].outcome == "refused"


@pytest.mark.parametrize("text", [LLAMAFACTORY, AXOLOTL, TRL, *COMMANDS.values()])
def test_what_came_of_it_is_a_recipe_file(factory: Path, text: str) -> None:
    recipe = read(text, factory, "x").recipe
    assert loads(dumps(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "tool", "words"),
    [
        ("just words\n", "auto", "neither keys and values nor a command line"),
        ("a: 1\n", "auto", "is of no tool that is known"),
        ("output_dir: x\n", "axolotl", "no key of Axolotl"),
        ("echo hello\n", "command", "no command that trains"),
        ("python train.py --x 'open\n", "auto", "no command line"),
        ("trl sft --config gone.yaml\n", "auto", "gone.yaml, which is not here"),
    ],
)
def test_what_is_no_configuration_is_one_sentence(tmp_path: Path, text: str, tool: str, words: str) -> None:
    with pytest.raises(InputFault, match=words):
        read(text, tmp_path, tool=tool)
