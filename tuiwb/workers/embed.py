"""What texts mean, as vectors: `python -m tuiwb.workers.embed FOLDER`.

FOLDER holds `job.json` (model, the longest text in tokens) and `texts.jsonl`, a JSON string a line. It gets
`vectors.npy`, float32 `(texts, width)`, each of length 1 or, for a text without tokens, 0; or `error.json` with a
sentence. Standard output says how many texts are done, a number a line.

Any local model of transformers will do: the mean of its last hidden states. A folder of sentence-transformers is pooled
as its own configuration says.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel

from tuiwb import models
from tuiwb.base import atomic
from tuiwb.base.errors import InputFault
from tuiwb.workers import failure

_TOKENS = 4096
"""Of a batch, with what fills it up."""

_FAILED = 5
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first", "pooling_mode_lasttoken": "last"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 5 with a sentence in `error.json`."""
    folder = Path((arguments or sys.argv[1:])[0])
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    job = json.loads((folder / "job.json").read_bytes())
    texts = [json.loads(line) for line in (folder / "texts.jsonl").read_bytes().splitlines()]
    try:
        _write(folder / "vectors.npy", Embedder(job["model"], job["max_length"]), texts)
    except Exception as error:
        traceback.print_exc()
        atomic.write_json(folder / "error.json", {"message": failure.sentence(error, step=None)})
        return _FAILED
    return 0


class Embedder:
    """A local model that makes vectors of texts.

    Raises:
        InputFault: there is no such model, or it cannot be used so.
    """

    def __init__(self, name: str, max_length: int) -> None:
        from tokenizers import Tokenizer

        info = models.open_model(name)
        if info.path is None or info.path.is_file() or info.adapter is not None:
            raise InputFault(f"{name} is no folder of a whole model on this machine", key="model")
        self._pooling = _pooling(info.path)
        try:
            self._tokenizer = Tokenizer.from_file(str(info.path / "tokenizer.json"))
        except Exception as error:  # the library raises this very class
            raise InputFault("has no tokenizer.json that can be read", file=info.path, key="model") from error
        self._tokenizer.no_padding()
        gpu = torch.cuda.is_available()
        self._device = torch.device("cuda" if gpu else "cpu")
        dtype = torch.bfloat16 if gpu else torch.float32
        self._model: Any = AutoModel.from_pretrained(info.path, dtype=dtype).to(self._device).eval()
        most = getattr(self._model.config.get_text_config(), "max_position_embeddings", None) or max_length
        self._tokenizer.enable_truncation(min(max_length, most))

    @property
    def width(self) -> int:
        width: int = self._model.config.get_text_config().hidden_size
        return width

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in self._tokenizer.encode_batch(list(texts))]

    @torch.no_grad()
    def vectors(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Of token ids, (rows, width), float32, of length 1."""
        lengths = torch.tensor([len(row) for row in rows], device=self._device)
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64, device=self._device)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(list(row), device=self._device)
        mask = torch.arange(ids.shape[1], device=self._device) < lengths[:, None]
        hidden = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        if self._pooling == "mean":
            pooled = (hidden * mask[:, :, None]).sum(1) / lengths[:, None]
        else:
            place = lengths - 1 if self._pooling == "last" else torch.zeros_like(lengths)
            pooled = hidden[torch.arange(len(rows), device=self._device), place]
        return torch.nn.functional.normalize(pooled, dim=1)


def _pooling(folder: Path) -> str:
    """How a folder's hidden states become one vector."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return "mean"
    said = json.loads(modules.read_bytes())
    kinds = {str(one.get("type", "")).rpartition(".")[2]: one for one in said}
    if unknown := kinds.keys() - {"Transformer", "Pooling", "Normalize"}:
        raise InputFault(f"has a layer that is not known here: {min(unknown)}", file=folder, key="model")
    if "Pooling" not in kinds:
        return "mean"
    config = json.loads((folder / kinds["Pooling"].get("path", "") / "config.json").read_bytes())
    chosen = [how for flag, how in _POOLINGS.items() if config.get(flag)]
    if len(chosen) != 1:
        raise InputFault("pools in a way that is not known here", file=folder, key="model")
    return chosen[0]


def _write(path: Path, embedder: Embedder, texts: Sequence[str]) -> None:
    """The vectors of all texts; those of like length go together."""
    found = np.lib.format.open_memmap(path, "w+", np.float32, (len(texts), embedder.width))
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    done = 0
    while done < len(order):
        some = order[done : done + 256]
        rows = {number: ids for number, ids in zip(some, embedder.encode([texts[n] for n in some]), strict=True) if ids}
        batch: list[int] = []
        for number in sorted(rows, key=lambda number: len(rows[number])):
            if batch and (len(batch) + 1) * len(rows[number]) > _TOKENS:
                found[batch] = embedder.vectors([rows[one] for one in batch]).cpu().numpy()
                batch = []
            batch.append(number)
        if batch:
            found[batch] = embedder.vectors([rows[one] for one in batch]).cpu().numpy()
        done += len(some)
        print(done, flush=True)  # noqa: T201 - the pipe to the one who asked
    found.flush()


if __name__ == "__main__":
    raise SystemExit(main())
