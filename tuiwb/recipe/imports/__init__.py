"""Recipes from other tools: LLaMA-Factory, Axolotl and TRL, in their YAML and in the command lines of the guides.

`read` gives a recipe and the account of every key: taken, translated, or refused and why.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tuiwb.base.errors import InputFault
from tuiwb.recipe.imports import axolotl, command, llamafactory, scripts, trl
from tuiwb.recipe.imports.account import Draft, Entry, Imported, drop
from tuiwb.recipe.model import Recipe
from tuiwb.recipe.places import anchor
from tuiwb.recipe.reading import parse, read_text

Tool = Literal["auto", "llamafactory", "axolotl", "trl", "command"]
TOOLS: tuple[Tool, ...] = ("auto", "llamafactory", "axolotl", "trl", "command")
# Keys that only one of the tools has.
_SIGNS = {
    "axolotl": ("base_model", "adapter", "sequence_len", "micro_batch_size", "sample_packing", "val_set_size"),
    "llamafactory": ("finetuning_type", "cutoff_len", "dataset_dir", "template", "lora_rank", "lora_target", "stage"),
    "trl": ("dataset_name", "use_peft", "max_length", "lora_r", "dataset_train_split", "assistant_only_loss"),
}
_LLAMAFACTORY = ("train_bash.py", "train_sft.py", "train_pt.py", "train_rm.py", "train_ppo.py", "train_dpo.py")
_TRL = {
    "sft.py": "sft", "sft_trainer.py": "sft", "run_sft.py": "sft", "sft_llama2.py": "sft", "sft_mistral.py": "sft",
    "supervised_finetuning.py": "sft", "dpo.py": "dpo", "run_dpo.py": "dpo", "dpo_llama2.py": "dpo",
    "dpo_trl.py": "dpo",
    "reward_modeling.py": "reward", "reward_trainer.py": "reward", "reward.py": "reward", "ppo.py": "ppo",
    "rl_training.py": "ppo", "ppo_trainer.py": "ppo", "kto.py": "kto", "orpo.py": "orpo", "run_orpo.py": "orpo",
    "grpo.py": "grpo", "rloo.py": "rloo",
}  # fmt: skip


def read_file(file: Path, tool: Tool = "auto", *, extra: Mapping[str, Any] | None = None) -> Imported:
    """As `read`, with relative paths made absolute: from the working directory, where the other tools look, or else
    from the folder of the file."""
    found = read(read_text(file), str(file), tool, extra=extra)
    return Imported(found.tool, placed(found.recipe, (Path.cwd(), file.absolute().parent)), found.entries)


def read(text: str, source: str, tool: Tool = "auto", *, extra: Mapping[str, Any] | None = None) -> Imported:
    """A recipe from the configuration or the command line of another tool.

    Args:
        source: the name of the text in errors; where it is a file, what it names is looked for beside it.
        extra: keys that are added to those of the text, such as `dataset_dir`.

    Raises:
        InputFault: it is neither, or nothing of it can be taken.
    """
    if tool in ("auto", "command"):
        found = command.find(text, source)
        if found is not None:
            return _from_command(found, source, extra or {})
        if tool == "command":
            raise InputFault(
                "holds no command that trains, such as `accelerate launch sft.py --model_name_or_path …`", file=source
            )
    values = {**_mapping(text, source), **(extra or {})}
    if tool == "auto":
        tool = _told_by(values, source)
    draft = Draft(values, source)
    match tool:
        case "llamafactory":
            llamafactory.read(values, draft)
            return draft.done(llamafactory.TOOL)
        case "axolotl":
            axolotl.read(values, draft)
            return draft.done(axolotl.TOOL)
        case _:
            trl.read(values, draft)
            return draft.done(trl.TOOL)


def placed(recipe: Recipe, folders: tuple[Path, ...]) -> Recipe:
    """The recipe with absolute paths, from the first folder that has its first dataset, else from the last."""
    paths = [entry.path for entry in recipe.datasets or ()]
    folder = next((one for one in folders if paths and (one / paths[0]).exists()), folders[-1])
    return anchor(recipe, folder)


def _mapping(text: str, source: str) -> dict[str, Any]:
    values = parse(text, source).values
    if not isinstance(values, dict):
        raise InputFault("holds neither keys and values nor a command line that trains", file=source)
    return values


def _told_by(values: Mapping[str, Any], source: str) -> Tool:
    """The tool with most of its own keys in it."""
    scores = {name: sum(key in values for key in keys) for name, keys in _SIGNS.items()}
    best = max(scores, key=lambda name: scores[name])
    if not scores[best]:
        raise InputFault("is of no tool that is known; name it: --from llamafactory, axolotl or trl", file=source)
    return best  # type: ignore[return-value]


def _from_command(found: command.Command, source: str, extra: Mapping[str, Any]) -> Imported:
    values = {**_named_config(found, source), **found.flags, **extra}
    draft = Draft({**found.launcher, **values}, source)
    others = {name: drop("environment variables are set where tuiwb is started") for name in found.launcher}
    launch = others | command.launch_rules()
    draft.apply_to(found.launcher, launch)
    if found.program == "llamafactory-cli" or found.program in _LLAMAFACTORY:
        llamafactory.read(values, draft)
        return draft.done(llamafactory.TOOL)
    if found.program == "axolotl":
        axolotl.read(values, draft)
        return draft.done(axolotl.TOOL)
    if found.program == "trl" or found.program in _TRL or "peft_lora_r" in values:
        stage = found.words[0] if found.program == "trl" else _TRL.get(found.program, "sft")
        # Flags of 2023 went with other defaults, which are not known here: what is left out is chosen by us.
        old = {"model_name", "peft_lora_r", "seq_length", "max_prompt_length", "batch_size"} & set(values)
        trl.read(values, draft, stage, modern=not old and found.program == "trl")
        return draft.done(trl.TOOL)
    scripts.read(values, draft, found.program)
    return draft.done(scripts.TOOL)


def _named_config(found: command.Command, source: str) -> dict[str, Any]:
    """The keys of the YAML file that the command names."""
    named = [word for word in found.words if word.endswith((".yaml", ".yml", ".json"))]
    if found.program == "trl" and isinstance(found.flags.get("config"), str):
        named = [found.flags.pop("config")]
    if not named:
        return {}
    tried = [Path(named[0]).expanduser(), Path(source).absolute().parent / named[0]]
    file = next((one for one in tried if one.is_file()), None)
    if file is None:
        raise InputFault(f"the command names {named[0]}, which is not here", file=source)
    return _mapping(read_text(file), str(file))


__all__ = ["TOOLS", "Entry", "Imported", "Tool", "placed", "read", "read_file"]
