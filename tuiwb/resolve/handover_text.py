"""The texts of a handover: TRL's YAML, and a Python script."""

import json
import re
from collections.abc import Mapping
from typing import Any

import tuiwb
from tuiwb.recipe import Recipe
from tuiwb.recipe.trl_keys import TrlRun

_PREFIX = {"sft": "SFT", "reward": "Reward", "dpo": "DPO", "kto": "KTO", "grpo": "GRPO", "rloo": "RLOO"}
# What YAML 1.1 takes for something else than a word.
_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", ".nan", ".inf"}
_CONTINUED = """\
    model = AutoModelForCausalLM.from_pretrained(MODEL, **LOADING{quantization})
    model = PeftModel.from_pretrained(model, {adapter}, is_trainable=True)
"""
_FROZEN = """\
    model = AutoModelForCausalLM.from_pretrained(MODEL, **LOADING)
    model.get_input_embeddings().requires_grad_(False)
    layers = max((part for part in model.modules() if isinstance(part, ModuleList)), key=len)
    for layer in layers[:{layers}]:
        layer.requires_grad_(False)
"""


def yaml_config(run: TrlRun, settings: Mapping[str, Any], model: str) -> str:
    """What `trl <stage> --config` reads: YAML 1.1, which wants a point in `2.0e-4`."""
    measured = settings.get("eval_strategy", "no") != "no"
    groups: list[tuple[str, dict[str, Any]]] = [
        ("The data, prepared beside this file", {"dataset_name": "./data", "dataset_train_split": "train"}
         | ({"dataset_test_split": "test"} if measured else {})),
        ("The base model", {"model_name_or_path": model, **run.model}),
        ("The adapter", {"use_peft": True, **run.adapter} if run.adapter else {}),
        ("What scores the answers", dict(run.rewards)),
        ("The training", {"output_dir": "./output", **settings}),
    ]  # fmt: skip
    lines = [
        f"# Run it in this folder: trl {run.command} --config trl.yaml",
        f"# Written by tuiwb {tuiwb.__version__} for TRL 1.16, from the resolved recipe in recipe.yaml.",
    ]
    for title, values in groups:
        if values:
            lines += ["", f"# {title}", *(f"{key}: {_yaml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def python_script(recipe: Recipe, run: TrlRun, settings: Mapping[str, Any], model: str, *, measured: bool) -> str:
    """A program that trains the same without tuiwb."""
    prefix = _PREFIX[run.command]
    loading = {key: value for key, value in run.model.items() if key in ("dtype", "attn_implementation")}
    if "model_revision" in run.model:
        loading["revision"] = run.model["model_revision"]
    if settings.get("trust_remote_code"):
        loading["trust_remote_code"] = True
    quantized = any(run.model.get(key) for key in ("load_in_4bit", "load_in_8bit"))
    config = _config(recipe)
    body, imports = _model_lines(recipe, config, quantized)
    own_model = bool(body)
    imports |= {("datasets", "load_dataset"), ("trl", f"{prefix}Config"), ("trl", f"{prefix}Trainer")}
    given = {key: value for key, value in settings.items() if key != "chat_template_path"}
    if "chat_template_path" in settings:
        given["chat_template_path"] = _Code('str(HERE / "chat_template.jinja")')
    if not own_model:
        given = {"model_init_kwargs": _Code("LOADING"), **given}
    parts = [
        _header(recipe, run),
        _imports(imports | ({("transformers", "BitsAndBytesConfig")} if quantized else set())),
        "HERE = Path(__file__).resolve().parent",
        'MODEL = str(HERE / "model")' if model == "./model" else f"MODEL = {_python(model)}",
        f"LOADING = {_python(loading)}",
        "",
        "",
        "def main() -> None:",
        '    files = {"train": str(HERE / "data/train.jsonl")'
        + (', "test": str(HERE / "data/test.jsonl")' if measured else "")
        + "}",
        '    rows = load_dataset("json", data_files=files)',
        _call(f"    arguments = {prefix}Config", {"output_dir": _Code('str(HERE / "output")'), **given}),
    ]
    if quantized:
        parts.append(_call("    quantization = BitsAndBytesConfig", _quantization(run)))
    if config and not recipe.adapter_name_or_path:
        parts.append(_call(f"    adapter = {config[0]}", config[1]))
    parts.append(body.rstrip("\n") if body else "    model = MODEL")
    parts += [*_rewards(run), *_trainer(recipe, run, prefix, config, measured, quantized and not own_model)]
    parts += ["", "", 'if __name__ == "__main__":', "    main()", ""]
    return "\n".join(part for part in parts if part is not None)


class _Code(str):
    """Text that stands in the script as it is."""

    __slots__ = ()


def _header(recipe: Recipe, run: TrlRun) -> str:
    stage, method = recipe.stage or "sft", recipe.method or "lora"
    return (
        f'"""Stage {stage}, method {method}: what `tuiwb train` does with recipe.yaml, in plain TRL.\n\n'
        f"Written by tuiwb {tuiwb.__version__} for TRL 1.16, transformers 5 and PEFT 0.21. The data were prepared\n"
        f'beside it.\n"""\n'
    )


def _imports(names: set[tuple[str, str]]) -> str:
    modules: dict[str, list[str]] = {}
    for module, name in sorted(names):
        modules.setdefault(module, []).append(name)
    lines = ["from pathlib import Path", ""]
    lines += [f"from {module} import {', '.join(found)}" for module, found in sorted(modules.items())]
    return "\n".join(lines) + "\n"


def _config(recipe: Recipe) -> tuple[str, dict[str, Any]] | None:
    """The class and the arguments of PEFT's configuration; None where all weights or whole layers are trained."""
    kind = "SEQ_CLS" if recipe.stage == "reward" else "CAUSAL_LM"
    match recipe.method:
        case "lora" | "qlora" | "dora":
            names = {"lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout",
                     "lora_target_modules": "target_modules", "lora_target_parameters": "target_parameters",
                     "lora_modules_to_save": "modules_to_save", "use_rslora": "use_rslora",
                     "use_dora": "use_dora"}  # fmt: skip
            given = {ours: getattr(recipe, key) for key, ours in names.items()}
            return "LoraConfig", {"task_type": kind, **_stated(given)}
        case "ia3":
            return "IA3Config", {"task_type": kind, **_stated({"target_modules": recipe.lora_target_modules})}
        case "prefix":
            given = {"num_virtual_tokens": recipe.num_virtual_tokens, "prefix_projection": recipe.prefix_projection}
            return "PrefixTuningConfig", {"task_type": kind, **_stated(given)}
        case "prompt":
            text = recipe.prompt_tuning_init_text
            told = {
                "prompt_tuning_init": "TEXT",
                "prompt_tuning_init_text": text,
                "tokenizer_name_or_path": _Code("MODEL"),
            }
            given = {"num_virtual_tokens": recipe.num_virtual_tokens, **(told if text else {})}
            return "PromptTuningConfig", {"task_type": kind, **_stated(given)}
    return None


def _model_lines(
    recipe: Recipe, config: tuple[str, dict[str, Any]] | None, quantized: bool
) -> tuple[str, set[tuple[str, str]]]:
    """How the model is made where TRL cannot make it, and what that imports."""
    loads = ("transformers", "AutoModelForCausalLM")
    if recipe.adapter_name_or_path:
        more = ", quantization_config=quantization" if quantized else ""
        return _CONTINUED.format(quantization=more, adapter=_python(recipe.adapter_name_or_path)), {
            loads,
            ("peft", "PeftModel"),
        }
    if recipe.method == "freeze":
        return _FROZEN.format(layers=recipe.freeze_layers or 0), {loads, ("torch.nn", "ModuleList")}
    return "", {("peft", config[0])} if config else set()


def _rewards(run: TrlRun) -> list[str]:
    if run.command not in ("grpo", "rloo"):
        return []
    model = run.rewards.get("reward_model_name_or_path")
    names = [repr(model)] if model else []
    lines = []
    for name in run.rewards.get("reward_funcs", ()):
        module, _, function = name.rpartition(".")
        lines.append(f"    from {module} import {function}  # it lies beside this file")
        names.append(function)
    return ["", *lines, f"    rewards = [{', '.join(names)}]"]


def _trainer(
    recipe: Recipe,
    run: TrlRun,
    prefix: str,
    config: tuple[str, dict[str, Any]] | None,
    measured: bool,
    quantized: bool,
) -> list[str]:
    given: dict[str, Any] = {"model": _Code("model"), "args": _Code("arguments")}
    if run.command in ("grpo", "rloo"):
        given["reward_funcs"] = _Code("rewards")
    if recipe.ref_model_name_or_path and run.command in ("dpo", "kto"):
        given["ref_model"] = recipe.ref_model_name_or_path
    given["train_dataset"] = _Code('rows["train"]')
    if measured:
        given["eval_dataset"] = _Code('rows["test"]')
    if config and not recipe.adapter_name_or_path:
        given["peft_config"] = _Code("adapter")
    if quantized:
        given["quantization_config"] = _Code("quantization")
    lines = [_call(f"    trainer = {prefix}Trainer", given)]
    if recipe.use_cpu and config:
        lines += [
            "    for parameter in trainer.model.parameters():",
            "        if parameter.requires_grad:  # 16 bits would lose small updates, and are slow on most CPUs",
            "            parameter.data = parameter.data.float()",
        ]
    return [*lines, "    trainer.train()", "    trainer.save_model(arguments.output_dir)"]


def _quantization(run: TrlRun) -> dict[str, Any]:
    if run.model.get("load_in_8bit"):
        return {"load_in_8bit": True}
    names = {"load_in_4bit": "load_in_4bit", "bnb_4bit_quant_type": "bnb_4bit_quant_type",
             "use_bnb_nested_quant": "bnb_4bit_use_double_quant", "dtype": "bnb_4bit_compute_dtype",
             "bnb_4bit_quant_storage": "bnb_4bit_quant_storage"}  # fmt: skip
    return {theirs: run.model[ours] for ours, theirs in names.items() if ours in run.model}


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    indent = " " * (len(name) - len(name.lstrip()) + 4)
    lines = [f"{name}("]
    for key, value in arguments.items():
        lines.append(f"{indent}{key}={value if isinstance(value, _Code) else _python(value)},")
    return "\n".join([*lines, indent[4:] + ")"])


def _yaml(value: Any) -> str:
    """A value in YAML that both 1.1 and 1.2 read alike: JSON, with a point in every number that has an exponent."""
    if isinstance(value, float):
        text = repr(value)
        mantissa, mark, exponent = text.partition("e")
        return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else text
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_yaml(item)}" for key, item in value.items()) + "}"
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z./][\w./-]*", value) and value.lower() not in _WORDS
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def _python(value: Any) -> str:
    """A value in Python, with double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_python(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_python(key)}: {_python(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items() if value is not None
    }
