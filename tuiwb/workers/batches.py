"""Prepared examples as batches of tensors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from tuiwb.data.prepared import Prepared
from tuiwb.workers.loss import IGNORED

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes a batch of rows: padded at the right to the longest, by lengths, never by looking for a token.

    Args:
        masked: give an attention mask. Without sampling or packing it is not needed: a causal model never looks at
            what comes later, and padding comes last.
    """

    prepared: Prepared
    pad_id: int
    masked: bool = True

    def __call__(self, items: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        """
        Args:
            items: `{"row": number of the prepared row}` each.

        Returns:
            input_ids and labels (rows, length), int64; attention_mask where it is wanted; `tokens`, the number of
            those that are no padding.
        """
        sequences = [self.prepared.sequence(item["row"]) for item in items]
        lengths = [len(ids) for ids, _ in sequences]
        shape = (len(sequences), max(lengths))
        ids = torch.full(shape, self.pad_id, dtype=torch.int64)
        labels = torch.full(shape, IGNORED, dtype=torch.int64)
        for number, (tokens, mask) in enumerate(sequences):
            row = torch.from_numpy(tokens.astype("int64"))
            ids[number, : len(tokens)] = row
            labels[number, : len(tokens)] = torch.where(torch.from_numpy(mask), row, IGNORED)
        batch = {"input_ids": ids, "labels": labels, "tokens": torch.tensor(sum(lengths))}
        if self.masked:
            batch["attention_mask"] = (torch.arange(shape[1]) < torch.tensor(lengths)[:, None]).long()
        return batch


def row_dataset(prepared: Prepared, rows: "np.ndarray[Any, Any]") -> "Dataset":
    """A dataset of row numbers and lengths, as TRL takes it; the tokens stay in the mapped files."""
    from datasets import Dataset

    return Dataset.from_dict({"row": rows, "length": prepared.lengths()[rows]})


class GroupedSampler(LengthGroupedSampler):
    """transformers' sampler of similar lengths, whose order depends on seed and epoch alone from the second epoch on,
    so that a resumed run sees the rest of an epoch as it would have been."""

    def __init__(self, batch_size: int, lengths: Sequence[int], seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths))
        self.seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        # The first epoch is drawn as transformers does, from the state that the seed has set.
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch) if self.epoch else None
        return super().__iter__()


def evaluation_batches(
    prepared: Prepared, rows: "np.ndarray[Any, Any]", size: int, rank: int, processes: int
) -> list[list[dict[str, int]]]:
    """The batches of one process: similar lengths together, since order does not matter to a sum."""
    lengths = prepared.lengths()[rows]
    longest_first = rows[lengths.argsort(kind="stable")[::-1]]
    batches = [
        [{"row": int(row)} for row in longest_first[start : start + size]]
        for start in range(0, len(longest_first), size)
    ]
    return batches[rank::processes]
