"""What a checkpoint carries besides weights, so that chat and export need nothing else: the tokenizer, the chat
template that it was trained with, the tokens that end an answer, and the recipe."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tuiwb.base import atomic
from tuiwb.data.prepared import Prepared
from tuiwb.data.render import Renderer
from tuiwb.models import ChatTemplate, Tokenizer

# As transformers and the models' authors name them.
_TOKENIZER_FILES = (
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
)
_SAMPLE = 200


def write_companions(
    folder: Path,
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
    stop_ids: Sequence[int],
    recipe: str,
) -> None:
    """Put everything into a checkpoint's folder that is not weights.

    Args:
        template: the template of the training, which becomes the checkpoint's own.
        stop_ids: ids that end an answer, the first of them the tokenizer's eos.
        recipe: YAML of the resolved recipe.
    """
    source = tokenizer.source
    if source.is_dir():
        # The files as they are: saving a loaded tokenizer anew changes what other programs know it by.
        for name in _TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        if (source / "additional_chat_templates").is_dir():
            shutil.copytree(
                source / "additional_chat_templates", folder / "additional_chat_templates", dirs_exist_ok=True
            )
        config = _json(source / "tokenizer_config.json")
    else:
        tokenizer.backend.save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if tokenizer.added:
        tokenizer.backend.save(str(folder / "tokenizer.json"))
        (folder / "added_tokens.json").unlink(missing_ok=True)
    config |= dict(tokenizer.special_tokens)
    if template is not None:
        config.pop("chat_template", None)
        atomic.write_text(folder / "chat_template.jinja", template.source)
        (folder / "chat_template.json").unlink(missing_ok=True)
    atomic.write_json(folder / "tokenizer_config.json", config, indent=2)
    generation = _json(source / "generation_config.json") if source.is_dir() else {}
    generation |= {"eos_token_id": list(stop_ids) if len(stop_ids) != 1 else stop_ids[0]} if stop_ids else {}
    for name, number in (("bos_token_id", tokenizer.bos_token_id), ("pad_token_id", pad_id(tokenizer))):
        if number is not None:
            generation[name] = number
    atomic.write_json(folder / "generation_config.json", generation, indent=2)
    atomic.write_text(folder / "recipe.yaml", recipe)


def pad_id(tokenizer: Tokenizer) -> int:
    """The id that fills up short rows. It is never looked for, so any will do."""
    for number in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if number is not None:
            return number
    return 0


def stop_ids(prepared: Prepared, tokenizer: Tokenizer, template: ChatTemplate | None) -> list[int]:
    """Ids that end an answer: the tokenizer's eos, and the special tokens with which trained answers end. Where there
    are only prompts, those with which the template ends an answer."""
    ends: Counter[int] = Counter()
    special = tokenizer.special_ids
    for row in range(min(len(prepared.rows), _SAMPLE)):
        for side in range(len(prepared.sides)):
            ids, mask = prepared.sequence(row, side)
            trained = [number for number in ids[mask].tolist() if number in special]
            ends.update(trained[-1:])
    if prepared.sides == ("prompt",) and template is not None:
        renderer = Renderer(tokenizer, template)
        turns = [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]
        (encoded,) = renderer.encode([renderer.answer(*turns)])
        ends.update([number for number in encoded.ids[encoded.mask].tolist() if number in special][-1:])
    # A token that ends one answer in twenty was cut off there or belongs to the text.
    usual = [number for number, count in ends.most_common() if count * 20 > ends.total()]
    first = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return list(dict.fromkeys([*first, *usual]))


def _json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return value if isinstance(value, dict) else {}
