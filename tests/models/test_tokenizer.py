"""Token ids without transformers, equal to those of transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from gguf_files import byte_level_vocabulary, sentencepiece_vocabulary, write_llama
from hypothesis import given, settings
from hypothesis import strategies as st

from tuiwb import models
from tuiwb.base.errors import InputFault
from tuiwb.models.tokenizer import Tokenizer

TEXTS = ["The quick brown fox", "  two  spaces\n\nand lines ", "In 1984: 12,345.67", "naïve Zürich 日本 🙂", ""]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return models.load_tokenizer(tiny_model)


def test_ids_and_text_there_and_back(tokenizer: Tokenizer) -> None:
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    ids, offsets = tokenizer.encode_with_offsets("The fox")
    assert ids == tokenizer.encode("The fox")
    assert offsets[0][0] == 0
    assert offsets[-1][1] == 7


@given(text=st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_recognised_and_never_added(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<|im_start|>a<|im_end|>")[::2] == [1, 2]
    assert tokenizer.encode("") == []
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<|im_start|>", 1)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|im_end|>", 2)
    assert (tokenizer.unk_token, tokenizer.unk_token_id) == (None, None)
    assert tokenizer.special_ids == {0, 1, 2}
    assert tokenizer.decode([1, *tokenizer.encode("a"), 2], skip_special=True) == "a"
    assert tokenizer.token(tokenizer.vocab_size - 1) != ""
    assert tokenizer.token(tokenizer.vocab_size) == ""
    assert tokenizer.token(1) == "<|im_start|>"
    assert tokenizer.token(99_999) == ""
    assert not tokenizer.adds_bos


@pytest.mark.torch
def test_a_folder_gives_the_ids_of_transformers(tokenizer: Tokenizer, tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny_model)
    for text in [*TEXTS, "<|im_start|>user\nhi<|im_end|>\n"]:
        assert tokenizer.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.special_tokens == theirs.special_tokens_map


def test_a_saved_limit_does_not_cut(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    saved = json.loads((folder / "tokenizer.json").read_text())
    saved["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    text = "a much longer text than that"
    assert models.load_tokenizer(folder).decode(models.load_tokenizer(folder).encode(text)) == text


def test_special_tokens_in_their_older_places(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["bos_token"], config["pad_token"]
    config["eos_token"] = {"content": "<|im_end|>", "__type": "AddedToken"}
    file.write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "<|endoftext|>"}}))
    tokenizer = models.load_tokenizer(folder)
    assert tokenizer.special_tokens == {
        "bos_token": "<|im_start|>",  # from the id in config.json
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    config["bos_token"] = None
    file.write_text(json.dumps(config))
    assert models.load_tokenizer(folder).bos_token is None


def test_the_fingerprint_follows_what_decides_the_ids(tiny_model: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    assert models.load_tokenizer(folder).fingerprint == tokenizer.fingerprint
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "<|endoftext|>"}))
    assert models.load_tokenizer(folder).fingerprint != tokenizer.fingerprint


def test_without_a_chat_template_the_recipe_has_to_name_one(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = models.load_tokenizer(folder)
    assert tokenizer.chat_template is None
    with pytest.raises(InputFault, match=r"set `chat_template:` in the recipe to a name \(chatml.*alpaca") as fault:
        tokenizer.template()
    assert fault.value.file == str(folder)
    assert "<|im_end|>" in tokenizer.template("chatml").render([{"role": "user", "content": "hi"}])


def test_templates_in_files_and_by_name(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    (folder / "chat_template.jinja").write_text("from the file")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("for tools")
    tokenizer = models.load_tokenizer(folder)
    messages = [{"role": "user", "content": "hi"}]
    assert tokenizer.template().render(messages) == "from the file"
    assert tokenizer.template().render(messages, tools=[]) == "for tools"
    assert tokenizer.template("tool_use").render(messages) == "for tools"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer\.json"),
        (lambda folder: (folder / "tokenizer.json").rename(folder / "tokenizer.model"), "only in an old form"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a tokenizer"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{"), "not valid JSON"),
    ],
)
def test_broken_tokenizers(tiny_model: Path, tmp_path: Path, spoil: Any, words: str) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    spoil(folder)
    with pytest.raises(InputFault, match=words):
        models.load_tokenizer(folder)


def test_a_byte_level_vocabulary_in_a_gguf_file(tiny_model: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_llama(tmp_path / "a.gguf", tokenizer_pre="gpt-2", **byte_level_vocabulary(tiny_model))
    info = models.open_model(str(path))
    ours = models.load_tokenizer(info)
    for text in [*TEXTS, "<|im_start|>user\nhi<|im_end|>\n"]:
        assert ours.encode(text) == tokenizer.encode(text)
    assert (ours.bos_token_id, ours.eos_token_id, ours.pad_token_id) == (1, 2, 2)
    assert ours.special_ids == {0, 1, 2}


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("gpt-2", ["In", " 1984", "!"]),
        ("smollm", ["In", " ", "1", "9", "8", "4", "!"]),
        ("llama-bpe", ["In", " ", "198", "4", "!"]),
        ("qwen2", ["In", " ", "1", "9", "8", "4", "!"]),
        ("tekken", ["In", " ", "1", "9", "8", "4", "!"]),
        ("gpt-4o", ["In", " ", "198", "4", "!"]),
    ],
)
def test_text_is_split_as_the_vocabulary_was_made(
    tiny_model: Path, tmp_path: Path, pre: str, pieces: list[str]
) -> None:
    path = write_llama(tmp_path / "a.gguf", tokenizer_pre=pre, **byte_level_vocabulary(tiny_model))
    split = models.load_tokenizer(path).backend.pre_tokenizer.pre_tokenize_str("In 1984!")
    assert [piece.replace("Ġ", " ") for piece, _ in split] == pieces


@pytest.mark.torch
def test_a_sentencepiece_vocabulary_in_a_gguf_file(tmp_path: Path) -> None:
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer

    path = write_llama(tmp_path / "a.gguf", **sentencepiece_vocabulary())
    ours = models.load_tokenizer(path)
    architecture, tokenizer, _ = get_gguf_tokenizer(str(path))
    theirs, _ = convert_gguf_tokenizer(architecture, tokenizer)
    for text in ["hello", "hello hello", "hello world", "né 日", "hel\nlo"]:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids, text
    assert ours.encode("hello") == [ours.token_id("▁hello")]
    # As llama.cpp and the tokenizer.json of Llama 2 have it: the text after a special token begins a word.
    assert ours.encode("<s>hello</s>") == [1, ours.token_id("▁hello"), 2]
    assert ours.decode(ours.encode("hello né 日")) == "hello né 日"
    assert ours.adds_bos


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "carries no tokenizer"),
        ({"tokenizer_model": "bert", "token_list": ["a"]}, "of the kind 'bert'"),
        (
            {"tokenizer_model": "gpt2", "tokenizer_pre": "new", "token_list": ["a"], "token_merges": []},
            r"\('new'\).*not known",
        ),
    ],
)
def test_gguf_vocabularies_that_are_not_read(tmp_path: Path, metadata: dict[str, Any], words: str) -> None:
    with pytest.raises(InputFault, match=words):
        models.load_tokenizer(write_llama(tmp_path / "a.gguf", **metadata))
