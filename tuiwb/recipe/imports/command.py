"""Command lines of training scripts: `accelerate launch …`, `torchrun …`, `trl sft …`, `llamafactory-cli train …`.

A command may stand among other lines of a shell script: comments, line continuations and variables that are set before
are understood; the first command that trains is taken.
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from tuiwb.base.errors import InputFault
from tuiwb.recipe.imports.account import Draft, Fate, Rule, drop
from tuiwb.recipe.imports.shared import deepspeed

_PYTHON = re.compile(r"python[\d.]*$")
_LAUNCHERS = ("torchrun", "deepspeed", "accelerate")
_SETTING = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)$", re.DOTALL)
_SEPARATORS = {"&&", ";", "||", "|", "&", "nohup", "exec", "srun", "sudo", "uv", "run", "poetry", "time"}


@dataclass(frozen=True, slots=True)
class Command:
    """A command that trains.

    Attributes:
        program: `trl`, `llamafactory-cli`, `axolotl`, or the file name of a script.
        words: what stands before the flags: the verb, a YAML file.
        flags: the program's.
        launcher: the launcher's, and settings of the environment by their names.
    """

    program: str
    words: tuple[str, ...]
    flags: dict[str, Any]
    launcher: dict[str, Any] = field(default_factory=dict)


def find(text: str, source: str) -> Command | None:
    """The first command in a text that trains; None when there is none.

    Raises:
        InputFault: a quote is not closed.
    """
    variables: dict[str, str] = {}
    for line in _lines(text):
        try:
            words = shlex.split(_filled(line, variables), comments=True)
        except ValueError as error:
            raise InputFault(f"this is no command line: {error}", file=source) from error
        environment: dict[str, Any] = {}
        while words and (words[0] in _SEPARATORS or _SETTING.match(words[0])):
            if setting := _SETTING.match(words[0]):
                environment[setting[1]] = setting[2]
            words = words[1:]
        if not words:
            variables |= {name: str(value) for name, value in environment.items()}
            continue
        command = _command(words, environment)
        if command is not None:
            return command
    return None


def launch_rules() -> dict[str, Rule]:
    """Rules for flags of launchers and for the environment."""
    ports = drop("runs find each other by themselves")
    return {
        "CUDA_VISIBLE_DEVICES": _devices,
        "include": _devices,
        "gpu_ids": _devices,
        "num_processes": _launch("processes"),
        "nproc_per_node": _launch("processes"),
        "num_gpus": _launch("processes"),
        "nnodes": _launch("nodes"),
        "num_nodes": _launch("nodes"),
        "num_machines": _launch("nodes"),
        "mixed_precision": lambda value, draft: (
            Fate({str(value): True}) if value in ("bf16", "fp16") else Fate(why="precision is chosen for the machine")
        ),
        "zero_stage": lambda value, draft: (
            Fate(why="it is off") if str(value) == "0" else _sharding(f"zero{value}")
        ),
        "use_fsdp": lambda value, draft: _sharding("fsdp"),
        "use_deepspeed": drop("the sharding says it"),
        "deepspeed_config_file": deepspeed,
        "config_file": drop("processes and sharding are written under launch; what this file says is not read"),
        "multi_gpu": drop("the number of processes says it"),
        "PYTHONPATH": drop("the interpreter is that of worker.python"),
        "FORCE_TORCHRUN": drop("the number of processes says it"),
        **dict.fromkeys(("master_port", "main_process_port", "master_addr", "main_process_ip", "rdzv_backend",
                         "rdzv_endpoint", "rdzv_id", "node_rank", "machine_rank", "standalone", "MASTER_PORT",
                         "MASTER_ADDR"), ports),
    }  # fmt: skip


def flags_of(words: list[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Words before the first flag, and flags with their values: `--a 1 --b=2 --c x y --d` and `key=value`."""
    bare: list[str] = []
    flags: dict[str, Any] = {}
    name = ""
    for word in words:
        if re.match(r"--?[A-Za-z]", word):
            name, equals, value = word.lstrip("-").partition("=")
            name = name.replace("-", "_")
            flags[name] = _typed(value) if equals else True
        elif name:
            now = flags[name]
            flags[name] = _typed(word) if now is True else [*(now if isinstance(now, list) else [now]), _typed(word)]
        elif re.match(r"[A-Za-z_]\w*=", word):  # hydra's spelling, which llamafactory-cli takes too
            key, _, value = word.partition("=")
            flags[key] = _typed(value)
        else:
            bare.append(word)
    return tuple(bare), flags


def _lines(text: str) -> list[str]:
    """Commands, their continued lines joined. A comment behind the backslash, as tutorials write it, goes."""
    joined = re.sub(r"\\[ \t]*(#[^\n]*)?\n", " ", text)
    joined = re.sub(r"^\s*[$>%]\s+", "", joined, flags=re.MULTILINE)  # a prompt that was copied along
    return [part for line in joined.splitlines() for part in re.split(r"\s(?:&&|;)\s", line) if part.strip()]


def _filled(line: str, variables: dict[str, str]) -> str:
    """`$NAME` and `${NAME}` that were set before."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], found[0]), line)


def _command(words: list[str], environment: dict[str, Any]) -> Command | None:
    program = PurePath(words[0]).name
    if program in ("llamafactory-cli", "llamafactory", "lmf") and words[1:2] == ["train"]:
        bare, flags = flags_of(words[2:])
        return Command("llamafactory-cli", bare, flags, environment)
    if program == "trl" and len(words) > 1:
        bare, flags = flags_of(words[2:])
        return Command("trl", (words[1], *bare), flags, environment)
    if program == "axolotl" and words[1:2] == ["train"]:
        bare, flags = flags_of(words[2:])
        return Command("axolotl", bare, flags, environment)
    if not (_PYTHON.match(program) or program in _LAUNCHERS):
        return None
    return _script(words, environment)


def _script(words: list[str], environment: dict[str, Any]) -> Command | None:
    for at, word in enumerate(words[1:], 1):
        module = words[at - 1] == "-m"
        if not (word.endswith(".py") or module) or (module and word.startswith(("torch.distributed", "accelerate"))):
            continue
        before = [one for one in words[1:at] if one not in ("launch", "-u", "-m", "torch.distributed.run")]
        _, launcher = flags_of([one for one in before if not one.startswith("torch.distributed")])
        bare, flags = flags_of(words[at + 1 :])
        if module and word.startswith("axolotl"):
            return Command("axolotl", bare, flags, environment | launcher)
        name = PurePath(word).name if word.endswith(".py") else word.rpartition(".")[2] + ".py"
        return Command(name, bare, flags, environment | launcher) if flags or bare else None
    return None


def _typed(word: str) -> Any:
    lower = word.lower()
    return lower == "true" if lower in ("true", "false") else None if lower in ("none", "null") else word


def _devices(value: Any, draft: Draft) -> Fate:
    numbers = re.findall(r"\d+", str(value).partition(":")[2] or str(value))
    return Fate({"launch": {"gpus": [int(number) for number in numbers]}})


def _launch(key: str) -> Rule:
    def rule(value: Any, draft: Draft) -> Fate:
        try:
            return Fate({"launch": {key: int(value)}})
        except (TypeError, ValueError):
            return Fate(why="the number of GPUs is chosen here", refused=True)

    return rule


def _sharding(name: str) -> Fate:
    return Fate({"launch": {"sharding": name}})
