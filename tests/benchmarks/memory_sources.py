"""What the rows of measured.csv ran, source by source: a recipe, the assumptions of its stack, and what was measured.

Nothing is fitted here: each mapping says what the source says of itself. A row whose configuration is not stated, or
whose code is none that the plan knows, is left out with the reason.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memory_configs import config_named

from tuiwb.base.units import GIB
from tuiwb.recipe import Launch, Recipe

GB = 10**9
Row = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        measure: what the figure is: the peak `allocated` by PyTorch, what is there `after` the answer, what PyTorch's
            allocator has `reserved`, or the `device`'s.
        bytes: the figure.
        gpu: name in the catalogue, where its workspaces matter.
    """

    config: dict[str, Any]
    recipe: Recipe
    measure: str
    bytes: float
    assume: Mapping[str, str] = field(default_factory=dict)
    answers: bool = False
    gpu: str = ""


def case_of(row: Row) -> Case | str:
    """The case of a row, or why it is left out."""
    source = row["id"].rsplit("-", 1)[0]
    make = SOURCES.get(source)
    if make is None:
        return "no training or answering of a model (one operation), or its settings are not stated"
    if not re.match(r"[\d.]+$", row["peak_gb"]):
        return "out of memory, or a sum over several devices"
    return make(row)


def _config(row: Row) -> dict[str, Any] | None:
    return config_named(row["model"])


def _number(text: str) -> int:
    return int((re.search(r"\d+", text) or ["0"])[0])


# --------------------------------------------------------------------------------------------- answering


def _qwen3_inference(row: Row) -> Case | str:
    config = _config(row)
    if config is None:
        return f"no configuration of {row['model']}"
    prompt, generated = (int(number) for number in re.findall(r"\d+", row["seq_len"]))
    quantized = {
        "FP8": {"quant_method": "fp8", "weight_block_size": [128, 128]},
        "GPTQ-Int8": {"quant_method": "gptq", "bits": 8, "group_size": 128},
        "AWQ-INT4": {"quant_method": "awq", "bits": 4, "group_size": 128},
    }.get(row["weights_dtype"])
    if quantized:
        config = {**config, "quantization_config": quantized}
    recipe = Recipe(
        dtype="bfloat16", per_device_train_batch_size=1, max_length=prompt, max_completion_length=generated,
        attn_implementation="flash_attention_2", use_cpu=False,
    )  # fmt: skip
    return Case(config, recipe, "after", float(row["peak_gb"]) * GIB, answers=True, gpu="H20-96GB")


def _qwen1_inference(row: Row) -> Case | str:
    if "int8 KV" in row["extra"]:
        return "a cache in int8, by code of the model's own"
    if "generate" not in row["seq_len"] or int(row["micro_batch"]) > 1:
        return "several prompts at once, whose lengths are not stated"
    name = "Qwen-7B" if "assumed" in row["model"] else row["model"]
    config = config_named(name)
    if config is None:
        return f"no configuration of {name}"
    bits = _number(row["weights_dtype"].split("int")[1]) if "gptq" in row["weights_dtype"] else 0
    if bits:
        config = {**config, "quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": 128}}
    recipe = Recipe(
        dtype="bfloat16", per_device_train_batch_size=1, max_length=1, max_completion_length=_number(row["seq_len"]),
        attn_implementation="eager", use_cpu=False,
    )  # fmt: skip
    return Case(config, recipe, "device", float(row["peak_gb"]) * GB, answers=True, gpu="A100-80GB")


# ----------------------------------------------------------------------------------------------- litgpt


def _litgpt(row: Row) -> Case | str:
    """litgpt's own modelling code: adapters in the type of the weights, everything in bfloat16 without autocast, the
    loss in pieces, memory as torch.cuda.max_memory_allocated() / 1e9."""
    method = row["method"]
    if method.startswith("adapter"):
        return "LLaMA-Adapter, a method that no recipe has"
    config = _config(row)
    if config is None:
        return f"no configuration of {row['model']}"
    if int(row["n_gpus"] or 1) > 1:
        return "several GPUs, whose sharding is not stated"
    nf4 = "nf4" in row["weights_dtype"]
    if nf4:
        return (
            "NF4 inside Lightning's own layers, which hold a quarter more than bitsandbytes' (the plan is 20 % below)"
        )
    if method == "full" and row["id"].startswith("litgpt-hub"):
        return "less than AdamW's states alone take: the settings changed after the measurement"
    quantized: dict[str, Any] = (
        {"load_in_4bit": True, "use_bnb_nested_quant": "double" in row["weights_dtype"]} if nf4 else {}
    )
    common: dict[str, Any] = {"dtype": "bfloat16", "attn_implementation": "sdpa", "use_cpu": False, **quantized}
    size = float(row["peak_gb"]) * GB
    if method == "inference":
        # generate/base.py: 50 new tokens after a short prompt.
        recipe = Recipe(per_device_train_batch_size=1, max_length=10, max_completion_length=50, **common)
        return Case(config, recipe, "allocated", size, {"loss": "chunked"}, answers=True)
    length = _number(row["seq_len"])
    recipe = Recipe(
        stage="sft", method="full" if method == "full" else "qlora" if nf4 else "lora", optim="adamw_torch",
        per_device_train_batch_size=int(row["micro_batch"]), gradient_accumulation_steps=1, max_length=length,
        gradient_checkpointing=False,
        **({} if method == "full" else {
            "lora_r": _number(row["lora_r"]) or 8, "lora_dropout": 0.05,
            "lora_target_modules": _litgpt_targets(row["lora_targets"], config),
        }),
        **common,
    )  # fmt: skip
    assume = {"adapter_dtype": "bf16", "loss": "full_logits", "logits_held": "true", "padding": "false"}
    if nf4:
        assume["kbit_upcast"] = "false"
    return Case(config, recipe, "allocated", size, assume | ({"adapter_dtype": "fp32"} if method == "full" else {}))


def _litgpt_targets(text: str, config: Mapping[str, Any]) -> str | tuple[str, ...]:
    if "mlp" in text or not text:
        return "all-linear"
    fused = {"gpt_neox": "query_key_value", "falcon": "query_key_value", "phi3": "qkv_proj"}.get(config["model_type"])
    return (fused,) if fused else ("q_proj", "v_proj")


# ------------------------------------------------------------------------------------------- ms-swift, Qwen


def _swift(row: Row) -> Case | str:
    method = row["method"]
    if method not in ("lora", "qlora", "full", "dora"):
        return f"{method}, a method that no recipe has"
    if "Tuners table" in row["extra"]:
        return "lengths of the examples are not stated"
    if int(row["n_gpus"] or 1) > 1:
        return "layers spread over two GPUs by device_map"
    config = _config(row)
    if config is None:
        return f"no configuration of {row['model']}"
    text = row["weights_dtype"]
    if "gptq" in text:
        bits = _number(text)
        config = {**config, "quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": 128}}
    nf4 = "bnb" in text
    fused = config["model_type"] in ("qwen", "baichuan")
    attention = (
        ("c_attn",) if config["model_type"] == "qwen" else ("W_pack",) if fused else ("q_proj", "k_proj", "v_proj")
    )
    recipe = Recipe(
        stage="sft", method="full" if method == "full" else "qlora" if nf4 else "lora", dtype="bfloat16", bf16=True,
        load_in_4bit=nf4 or None, use_bnb_nested_quant=True if nf4 else None, optim="adamw_torch",
        per_device_train_batch_size=int(row["micro_batch"]), gradient_accumulation_steps=16,
        max_length=_number(row["seq_len"]), gradient_checkpointing=row["grad_ckpt"] == "on",
        attn_implementation="eager" if row["attn"] == "eager" else "flash_attention_2", use_cpu=False,
        **({} if method == "full" else {
            "lora_r": _number(row["lora_r"]), "lora_dropout": 0.05,
            "lora_target_modules": "all-linear" if "ALL" in row["lora_targets"] else attention,
        }),
    )  # fmt: skip
    assume = {"transformers": "4.44", "loss": "full_logits", "foreach": "true"}
    if nf4:
        assume["kbit_upcast"] = "true"
    return Case(config, recipe, "device", float(row["peak_gb"]) * GIB, assume)


def _qwen1(row: Row) -> Case | str:
    if "multinode" in row["method"] or int(row["n_gpus"] or 1) > 1:
        return "a sum over GPUs of several machines, or of ZeRO-3 with two GPUs and no more stated"
    config = _config(row)
    if config is None:
        return f"no configuration of {row['model']}"
    full, gptq, whole = row["method"] == "full", "gptq" in row["weights_dtype"], "emb" in row["method"]
    if gptq:
        config = {**config, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    if full:
        return "ZeRO-3 on one GPU, of which the plan makes no sharding"
    recipe = Recipe(
        stage="sft", method="lora", dtype="float16" if gptq else "bfloat16", bf16=False,
        optim="adamw_torch", per_device_train_batch_size=1, gradient_accumulation_steps=8,
        max_length=_number(row["seq_len"]), gradient_checkpointing=True, attn_implementation="flash_attention_2",
        lora_r=64, lora_dropout=0.05, lora_target_modules=tuple(row["lora_targets"].split(",")),
        lora_modules_to_save=("embed_tokens", "lm_head") if whole else None, use_cpu=False,
    )  # fmt: skip
    # Its loss is computed in the type of the weights: 9 bytes a logit between 4096 and 8192 tokens.
    assume = {"transformers": "4.44", "loss": "full_logits", "foreach": "true"}
    return Case(config, recipe, "device", float(row["peak_gb"]) * GB, assume)


# ------------------------------------------------------------------------------------------------ the others


def _fsdp_qlora(row: Row) -> Case | str:
    if "offload" in row["sharding"]:
        return "parameters offloaded by FSDP to the host, gathered batch by batch"
    config = config_named("llama-2-7b")
    assert config is not None
    qlora = row["method"] == "qlora"
    recipe = Recipe(
        stage="sft", method=row["method"], dtype="bfloat16", bf16=False, load_in_4bit=qlora or None,  # type: ignore[arg-type]
        use_bnb_nested_quant=True if qlora else None, optim="adamw_torch", gradient_accumulation_steps=1,
        per_device_train_batch_size=int(row["micro_batch"]), max_length=int(row["seq_len"]),
        gradient_checkpointing=True, attn_implementation="sdpa", lora_r=64, lora_dropout=0.1,
        lora_target_modules=("q_proj", "k_proj", "v_proj", "up_proj", "down_proj", "gate_proj"), use_cpu=False,
        launch=Launch(processes=2, sharding="ddp" if "ddp" in row["sharding"] else "fsdp"),
    )  # fmt: skip
    assume = {"transformers": "4.44", "loss": "full_logits", "adapter_dtype": "bf16", "foreach": "true"}
    if (recipe.launch.sharding if recipe.launch else "") == "fsdp":
        assume["fsdp"] = "1"
    if qlora:
        assume["kbit_upcast"] = "false"
    stated = re.search(r"max allocated ([\d.]+)", row["extra"])
    if stated:
        return Case(config, recipe, "allocated", float(stated[1]) * GIB, assume)
    return Case(config, recipe, "reserved", float(row["peak_gb"]) * GIB, assume)


def _axolotl(row: Row) -> Case | str:
    config = _config(row)
    if config is None:
        return f"no configuration of {row['model']}"
    if not row["micro_batch"] or "predates" in row["extra"] or "offload" in row["grad_ckpt"]:
        return "settings not stated, or activations offloaded to the host"
    if int(row["n_gpus"] or 1) > 1 or row["method"] != "qlora":
        return "several GPUs, whose sharding is not stated"
    recipe = Recipe(
        stage="sft", method="qlora", load_in_4bit=True, use_bnb_nested_quant=True, dtype="bfloat16", bf16=True,
        optim=row["optimizer"], per_device_train_batch_size=int(row["micro_batch"]), gradient_accumulation_steps=4,  # type: ignore[arg-type]
        max_length=_number(row["seq_len"]), gradient_checkpointing=row["grad_ckpt"] == "on", packing=True,
        attn_implementation="flash_attention_2", lora_r=_number(row["lora_r"]), lora_dropout=0.05,
        lora_target_modules="all-linear", use_cpu=False,
    )  # fmt: skip
    cut = "full_logits" if "no CCE" in row["extra"] else "chunked"
    return Case(config, recipe, "reserved", float(row["peak_gb"]) * GIB, {"kbit_upcast": "false", "loss": cut})


def _torchtune(row: Row) -> Case | str:
    if "unpacked" in row["seq_len"] or not row["grad_ckpt"]:
        return "lengths of the examples are not stated"
    if "compile=yes" in row["extra"] or "torch.compile" in row["extra"] or "compile," in row["extra"]:
        return "compiled: which tensors exist is up to the compiler"
    config = _config(row)
    if config is None:
        return f"no configuration of {row['model']}"
    recipe = Recipe(
        stage="sft", method="full", dtype="bfloat16", optim="adamw_torch_fused", per_device_train_batch_size=2,
        gradient_accumulation_steps=1, max_length=4096, gradient_checkpointing=False, attn_implementation="sdpa",
        use_cpu=False, packing=True,
    )  # fmt: skip
    return Case(config, recipe, "allocated", float(row["peak_gb"]) * GIB, {"loss": "full_logits"})


def _fms_pr(row: Row) -> Case | str:
    config = _config(row)
    assert config is not None
    qlora = row["method"] == "qlora"
    recipe = Recipe(
        stage="sft", method=row["method"], load_in_4bit=qlora or None, use_bnb_nested_quant=True if qlora else None,  # type: ignore[arg-type]
        dtype="bfloat16", bf16=True, optim="adamw_torch", per_device_train_batch_size=4, gradient_accumulation_steps=1,
        max_length=4096, gradient_checkpointing=True, attn_implementation="flash_attention_2", lora_r=16,
        lora_dropout=0.1, lora_target_modules=("q_proj", "k_proj", "v_proj", "o_proj"), use_cpu=False,
    )  # fmt: skip
    assume = {"transformers": "4.48", "loss": "full_logits", "foreach": "true"}
    if qlora:
        assume["kbit_upcast"] = "false"
    return Case(config, recipe, "allocated", float(row["peak_gb"]) * GIB, assume)


SOURCES: dict[str, Callable[[Row], Case | str]] = {
    "qwen3-inf": _qwen3_inference,
    "qwen1-inf": _qwen1_inference,
    "litgpt": _litgpt,
    "litgpt-hub": _litgpt,
    "swift": _swift,
    "qwen1": _qwen1,
    "fsdp_qlora": _fsdp_qlora,
    "axolotl": _axolotl,
    "torchtune": _torchtune,
    "fms-pr": _fms_pr,
    "peft-readme": lambda row: "batch, length and rank are not stated",
    "peft-docs": lambda row: "a figure read off a dashboard, of 70B on 2 to 8 GPUs",
    "fms-moe": lambda row: "lengths of the examples are not stated",
    "hf-anatomy": lambda row: "BERT, an encoder",
    "trl-pr": lambda row: "one operation, whose shapes are not stated",
    "liger-kernel": lambda row: "one operation, not a training",
    "hf-t4-fit": lambda row: "a decision, checked as one below",
    "unsloth-ctx": lambda row: "a longest context, checked as one below",
}
