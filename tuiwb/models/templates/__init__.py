"""Where chat templates come from: those of a model's folder, and ours by name for models that bring none.

Ours are the formats that these names stand for in the field, written so that a longer conversation starts with the
text of the shorter one and each answer ends in the token that ends a turn. `{{ bos_token }}` is put in front of those
in `_BOS_BY_TOKENIZER` when the tokenizer itself would begin a text with it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of

_FOLDER = Path(__file__).parent
_BOS_BY_TOKENIZER = frozenset({"chatml", "alpaca", "vicuna", "zephyr", "phi-3"})

SUMMARIES = {
    "chatml": "<|im_start|> and <|im_end|> around each turn; Qwen, SmolLM, Yi, many fine-tunes",
    "llama-3": "header tokens and <|eot_id|>; Llama 3 and later",
    "llama-2": "[INST] … [/INST] with <<SYS>>; Llama 2 chat",
    "mistral": "[INST] … [/INST]; Mistral 7B Instruct",
    "gemma": "<start_of_turn> and <end_of_turn>; Gemma 1 to 3",
    "phi-3": "<|user|> … <|end|>; Phi 3",
    "zephyr": "<|user|> … with the eos token; Zephyr, TinyLlama chat",
    "alpaca": "### Instruction: and ### Response:; needs no special tokens, so any base model can learn it",
    "vicuna": "USER: and ASSISTANT:; needs no special tokens",
}

# The tokens that a template is made of: a model whose tokenizer lacks one would have to spell it letter by letter.
TOKENS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama-3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "phi-3": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
}


def names() -> tuple[str, ...]:
    """Names of our templates, the most used first."""
    return tuple(SUMMARIES)


def named_template(name: str, *, begin_with_bos: bool = False) -> str:
    """The Jinja source of one of our templates.

    Args:
        begin_with_bos: the tokenizer begins each text with its bos token, so the template has to.

    Raises:
        InputFault: there is none of this name.
    """
    if name not in SUMMARIES:
        raise InputFault(f"there is no chat template named {name!r}; there are {', '.join(SUMMARIES)}")
    source = (_FOLDER / f"{name}.jinja").read_text("utf-8")
    if begin_with_bos and name in _BOS_BY_TOKENIZER:
        return "{{- bos_token -}}\n" + source
    return source


def find(name_or_source: str, *, begin_with_bos: bool = False) -> str:
    """The source that a recipe's `chat_template` means: one of our names, Jinja source, or a file.

    Raises:
        InputFault: it is none of these.
        EnvironmentFault: the file cannot be read.
    """
    if name_or_source in SUMMARIES:
        return named_template(name_or_source, begin_with_bos=begin_with_bos)
    if "{%" in name_or_source or "{{" in name_or_source:
        return name_or_source
    file = Path(name_or_source).expanduser()
    try:
        return file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise InputFault(
            f"is neither a chat template's name ({', '.join(SUMMARIES)}) nor a file", file=name_or_source
        ) from error
    except UnicodeDecodeError as error:
        raise InputFault(f"is not valid UTF-8 at byte {error.start}", file=file) from error
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=file) from error


def of_folder(folder: Path, tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
    """The templates that a model's folder brings, by name; `default` is the one used without a name.

    They stand in tokenizer_config.json (one source, or a list of named ones), or in files, which win:
    chat_template.jinja and additional_chat_templates/*.jinja.

    Raises:
        EnvironmentFault, InputFault: a file cannot be read.
    """
    found: dict[str, str] = {}
    configured = tokenizer_config.get("chat_template")
    if isinstance(configured, str):
        found["default"] = configured
    elif isinstance(configured, list):
        found |= {
            str(entry["name"]): entry["template"]
            for entry in configured
            if isinstance(entry, dict) and "name" in entry and isinstance(entry.get("template"), str)
        }
    more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    for name, file in [*((file.stem, file) for file in more), ("default", folder / "chat_template.jinja")]:
        if file.is_file():
            found[name] = find(str(file))
    return found
