"""Token ids without torch or transformers: the `tokenizers` library over a folder's tokenizer.json or a GGUF file."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.models import templates
from tuiwb.models.files import read_json
from tuiwb.models.info import ModelInfo
from tuiwb.models.template import ChatTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer with its special tokens and chat templates. Safe between threads once made.

    Attributes:
        source: the folder or GGUF file it was read from, for messages.
        adds_bos: whether the tokenizer itself begins a text with bos (we never do; the chat template has to).
        special_tokens: `{"bos_token": "<s>", …}`, only those that exist. Note that pad may be the same token as eos.
        chat_templates: by name; `default` is the one used without a name.
        fingerprint: same fingerprint, same ids for the same text.
        added: special tokens that `with_tokens` put behind those of the source.
    """

    source: Path
    special_tokens: Mapping[str, str]
    chat_templates: Mapping[str, str]
    fingerprint: str
    adds_bos: bool
    backend: "Backend" = field(repr=False)
    added: tuple[str, ...] = ()

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Special tokens written in the text are recognised; none is ever added."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts, in parallel unless TOKENIZERS_PARALLELISM says no."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids, and for each the (start, end) characters of `text` that it stands for."""
        encoding = self.backend.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=skip_special)

    def token(self, number: int) -> str:
        """A token as the vocabulary spells it (`Ġthe`); empty for an id that does not exist."""
        return self.backend.id_to_token(number) or ""

    def token_id(self, token: str) -> int | None:
        return self.backend.token_to_id(token)

    @functools.cached_property
    def vocab_size(self) -> int:
        """The number of ids, added tokens included; a model's embedding may be larger (padded)."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @functools.cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of all special tokens, the named ones and those that the vocabulary marks."""
        marked = {number for number, token in self.backend.get_added_tokens_decoder().items() if token.special}
        named = (self.token_id(token) for token in self.special_tokens.values())
        return frozenset(marked | {number for number in named if number is not None})

    @property
    def chat_template(self) -> str | None:
        """The source of the default chat template; None for most base models."""
        return self.chat_templates.get("default")

    def template(self, name_or_source: str | None = None) -> ChatTemplate:
        """A chat template ready to render with this tokenizer's special tokens.

        Args:
            name_or_source: one of our names (`chatml`, `alpaca` …), one of the model's own (`tool_use`), a file, or
                Jinja source; None takes the model's own default.

        Raises:
            InputFault: there is none, no such name or file, or it has a syntax error.
        """
        if name_or_source is None:
            source, tool_source = self.chat_template, self.chat_templates.get("tool_use")
            if source is None:
                raise InputFault(
                    "has no chat template; set `chat_template:` in the recipe to a name "
                    f"({', '.join(templates.names())}) or to a file",
                    file=self.source,
                )
            return ChatTemplate(source, self.special_tokens, tool_source)
        source = self.chat_templates.get(name_or_source)
        if source is None:
            source = templates.find(name_or_source, begin_with_bos=self.adds_bos)
        return ChatTemplate(source, self.special_tokens)

    def with_tokens(self, tokens: Sequence[str]) -> "Tokenizer":
        """The tokenizer with these as special tokens, behind all others; itself where it has them already."""
        missing = tuple(token for token in dict.fromkeys(tokens) if self.token_id(token) is None)
        if not missing:
            return self
        from tokenizers import AddedToken
        from tokenizers import Tokenizer as Backend

        backend = Backend.from_str(self.backend.to_str())
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in missing])
        fingerprint = _fingerprint(self.fingerprint.encode(), dict.fromkeys(missing, "added"))
        return replace(self, backend=backend, added=(*self.added, *missing), fingerprint=fingerprint)

    def _id_of(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self.token_id(token)

    @property
    def bos_token(self) -> str | None:
        return self.special_tokens.get("bos_token")

    @property
    def bos_token_id(self) -> int | None:
        return self._id_of("bos_token")

    @property
    def eos_token(self) -> str | None:
        return self.special_tokens.get("eos_token")

    @property
    def eos_token_id(self) -> int | None:
        return self._id_of("eos_token")

    @property
    def pad_token(self) -> str | None:
        return self.special_tokens.get("pad_token")

    @property
    def pad_token_id(self) -> int | None:
        return self._id_of("pad_token")

    @property
    def unk_token(self) -> str | None:
        return self.special_tokens.get("unk_token")

    @property
    def unk_token_id(self) -> int | None:
        return self._id_of("unk_token")


def load_tokenizer(model: ModelInfo | Path) -> Tokenizer:
    """The tokenizer of a model that was opened, or of a folder or `.gguf` file.

    Raises:
        InputFault: there is none, or it cannot be read as one.
        EnvironmentFault: a file cannot be read.
    """
    path = model if isinstance(model, Path) else model.path
    if path is None:
        assert isinstance(model, ModelInfo)
        raise InputFault(f"the tokenizer of {model.ref} is not on this machine; run `tuiwb models get {model.ref}`")
    if path.is_dir():
        return _from_folder(path)
    return _from_gguf(path)


def _from_folder(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer as Backend

    file = folder / "tokenizer.json"
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise InputFault(_no_tokenizer(folder), file=folder) from error
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=file) from error
    try:
        backend = Backend.from_buffer(content)
    except Exception as error:  # the library raises bare Exceptions
        raise InputFault(f"is not a tokenizer that the tokenizers library reads ({error})", file=file) from error
    backend.no_truncation()
    backend.no_padding()
    config = read_json(folder / "tokenizer_config.json")
    special = _special_tokens(folder, config, backend)
    return Tokenizer(
        source=folder,
        special_tokens=special,
        chat_templates=templates.of_folder(folder, config),
        fingerprint=_fingerprint(content, special),
        adds_bos=_adds_bos(backend, config, special),
        backend=backend,
    )


def _from_gguf(path: Path) -> Tokenizer:
    from tuiwb.models import gguf_tokenizer
    from tuiwb.models.gguf_header import read_gguf

    header = read_gguf(path)
    backend = gguf_tokenizer.build_tokenizer(header)
    special = gguf_tokenizer.special_tokens(header)
    prefix = "tokenizer.chat_template"
    sources = {"default": header.get(prefix)} | {
        name: header.get(f"{prefix}.{name}") for name in header.get("tokenizer.chat_templates", [])
    }
    return Tokenizer(
        source=path,
        special_tokens=special,
        chat_templates={name: source for name, source in sources.items() if isinstance(source, str)},
        fingerprint=_fingerprint(backend.to_str().encode(), special),
        # llama.cpp's rule: a SentencePiece vocabulary that says nothing adds it.
        adds_bos=bool(header.get("tokenizer.ggml.add_bos_token", header.get("tokenizer.ggml.model") == "llama")),
        backend=backend,
    )


def _special_tokens(folder: Path, config: Mapping[str, Any], backend: "Backend") -> dict[str, str]:
    """Named special tokens, from tokenizer_config.json, else special_tokens_map.json, else config.json's ids."""
    older = read_json(folder / "special_tokens_map.json")
    found = {}
    for name in SPECIAL_NAMES:
        for place in (config, older):
            value = place.get(name)
            token = value.get("content") if isinstance(value, dict) else value
            if isinstance(token, str):
                found[name] = token
                break
        else:
            if name in config:
                continue  # `"bos_token": null` says that there is none
            numbers = read_json(folder / "config.json").get(f"{name}_id")
            number = numbers[0] if isinstance(numbers, list) and numbers else numbers
            if isinstance(number, int) and (known := backend.id_to_token(number)) is not None:
                found[name] = known
    return found


def _adds_bos(backend: "Backend", config: Mapping[str, Any], special: Mapping[str, str]) -> bool:
    stated = config.get("add_bos_token")
    if isinstance(stated, bool):
        return stated and "bos_token" in special
    first = backend.encode("a").ids[:1]
    bos = special.get("bos_token")
    return bool(first) and bos is not None and first[0] == backend.token_to_id(bos)


def _no_tokenizer(folder: Path) -> str:
    if (folder / "tokenizer.model").exists() or (folder / "vocab.json").exists():
        return "has a tokenizer only in an old form; save it once with transformers to get a tokenizer.json"
    return "has no tokenizer.json"


def _fingerprint(content: bytes, special: Mapping[str, str]) -> str:
    digest = hashlib.blake2b(content, digest_size=12)
    digest.update(json.dumps(sorted(special.items())).encode())
    return digest.hexdigest()
