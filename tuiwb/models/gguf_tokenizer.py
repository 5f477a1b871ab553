"""A `tokenizers` tokenizer built from the vocabulary that a GGUF file carries.

A byte-level vocabulary (`tokenizer.ggml.model` = gpt2) brings its merges, and `tokenizer.ggml.pre` names the way text
is split before them. A SentencePiece vocabulary (= llama) brings scores, from which the merges follow.
"""

from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import InputFault
from tuiwb.models.gguf_header import GgufHeader

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

# Token types of the file (llama.h, `llama_token_type`).
_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _TAIL
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _TAIL
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}" + _CASED_TAIL
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}" + _CASED_TAIL
)

# How text is split before the merges, by `tokenizer.ggml.pre` (llama.cpp, llama-vocab.cpp). A regular expression, or
# `gpt2` (the splitting of GPT-2), or `digits` (single digits first, then as GPT-2).
SPLITS = {
    **dict.fromkeys(("gpt-2", "gpt2", "default", "mpt", "olmo", "jais", "phi-2", "roberta-bpe", "trillion"), "gpt2"),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), "digits"),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "dbrx", "smaug-bpe", "lfm2"), _LLAMA3
    ),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan"), _QWEN2),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2"), _GPT4O),
    "tekken": _TEKKEN,
}


def build_tokenizer(header: GgufHeader) -> "Backend":
    """The tokenizer that a GGUF file describes.

    Raises:
        InputFault: the file has no vocabulary, or one of a kind that is not built here.
    """
    kind = header.get("tokenizer.ggml.model")
    if kind is None or not header.length("tokenizer.ggml.tokens"):
        raise InputFault("carries no tokenizer; use the model's safetensors folder", file=header.path)
    if kind == "gpt2":
        backend = _byte_level(header)
    elif kind == "llama":
        backend = _sentencepiece(header)
    else:
        raise InputFault(
            f"carries a tokenizer of the kind {kind!r}, which is not read; use the model's safetensors folder",
            file=header.path,
        )
    _add_whole_tokens(backend, header)
    return backend


def special_tokens(header: GgufHeader) -> dict[str, str]:
    """`{"bos_token": …}` for those the file names."""
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    tokens = header.array("tokenizer.ggml.tokens") if header.length("tokenizer.ggml.tokens") else []
    found = {}
    for key, name in names.items():
        number = header.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(number, int) and 0 <= number < len(tokens):
            found[name] = tokens[number]
    return found


def _byte_level(header: GgufHeader) -> "Backend":
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    split = SPLITS.get(header.get("tokenizer.ggml.pre", "default"))
    if split is None:
        raise InputFault(
            f"splits text in a way ({header.get('tokenizer.ggml.pre')!r}) that is not known here; "
            "use the model's safetensors folder",
            file=header.path,
        )
    tokens = header.array("tokenizer.ggml.tokens")
    merges = [_pair(merge) for merge in header.array("tokenizer.ggml.merges")]
    # Llama 3 keeps whole words of its vocabulary that its merges do not build.
    whole_words = split is _LLAMA3
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=whole_words))
    if split in ("gpt2", "digits"):
        level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        first = [pre_tokenizers.Digits(individual_digits=True)] if split == "digits" else []
        backend.pre_tokenizer = pre_tokenizers.Sequence([*first, level])
    else:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(split), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(header: GgufHeader) -> "Backend":
    from tokenizers import Tokenizer, decoders, models, normalizers

    if (architecture := header.get("general.architecture", "")).startswith("gemma"):
        raise InputFault(
            f"stores the vocabulary of {architecture} without its merges; use the model's safetensors folder",
            file=header.path,
        )
    tokens = header.array("tokenizer.ggml.tokens")
    scores = header.array("tokenizer.ggml.scores")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    unknown = header.get("tokenizer.ggml.unknown_token_id", 0)
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges_from(vocabulary, scores),
            unk_token=tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    space = header.get("tokenizer.ggml.add_space_prefix", True)
    backend.normalizer = normalizers.Sequence(
        [*([normalizers.Prepend("▁")] if space else []), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if space else []),
        ]
    )
    return backend


def _merges_from(vocabulary: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """The merges that SentencePiece's scores imply: every pair that makes a token, the best token first."""
    ranked: list[tuple[float, int, str, str]] = []
    for token, number in vocabulary.items():
        for cut in range(len(token) - 1, 0, -1):
            left, right = token[:cut], token[cut:]
            if left in vocabulary and right in vocabulary:
                ranked.append((-scores[number], -cut, left, right))
    ranked.sort(key=lambda merge: merge[:2])
    return [(left, right) for _, _, left, right in ranked]


def _add_whole_tokens(backend: "Backend", header: GgufHeader) -> None:
    """Control tokens as special, user-defined ones as plain added tokens: neither may be cut into pieces."""
    from tokenizers import AddedToken

    tokens = header.array("tokenizer.ggml.tokens")
    types = header.array("tokenizer.ggml.token_type") if header.length("tokenizer.ggml.token_type") else []
    named = set(special_tokens(header).values())
    special, plain = [], []
    for token, kind in zip(tokens, types, strict=False):
        if kind == _CONTROL or (kind == _UNKNOWN and token in named):
            special.append(AddedToken(token, special=True, normalized=False))
        elif kind == _USER_DEFINED:
            plain.append(AddedToken(token, special=False, normalized=False))
    backend.add_special_tokens(special)
    backend.add_tokens(plain)


def _pair(merge: Any) -> tuple[str, str]:
    left, _, right = str(merge).partition(" ")
    return left, right
