"""Prepared examples as batches of tensors."""

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from tuiwb.data.prepared import Prepared
from tuiwb.workers.loss import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

    Array = np.ndarray[Any, np.dtype[Any]]


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


@dataclass(frozen=True, slots=True)
class FlatCollator:
    """Makes one row of all examples of a batch, without padding. Positions begin anew at each, which is how attention
    kernels that know of documents keep them apart; no mask is given, since one would join them again."""

    prepared: Prepared

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """
        Args:
            items: `{"row": number of the prepared row}` or `{"rows": several of them}` each.

        Returns:
            input_ids, labels and position_ids (1, tokens), int64; `tokens`, their number.
        """
        numbers = [row for item in items for row in (item["rows"] if "rows" in item else [item["row"]])]
        rows = [self.prepared.sequence(row) for row in numbers]
        ids = torch.from_numpy(np.concatenate([ids for ids, _ in rows]).astype("int64"))[None]
        mask = torch.from_numpy(np.concatenate([mask for _, mask in rows]))[None]
        positions = torch.cat([torch.arange(len(ids)) for ids, _ in rows])[None]
        # Nothing before it predicts an example's first token.
        labels = torch.where(mask & (positions > 0), ids, IGNORED)
        return {"input_ids": ids, "labels": labels, "position_ids": positions, "tokens": torch.tensor(ids.shape[1])}


@dataclass(frozen=True, slots=True)
class PairCollator:
    """Makes a batch of pairs, as TRL's trainers for preferences take it: all chosen answers, then all rejected ones."""

    prepared: Prepared
    pad_id: int

    def __call__(self, items: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        """
        Args:
            items: `{"row": number of the prepared row}` each.

        Returns:
            as `padded`, of twice as many rows.
        """
        return padded([self.prepared.sequence(item["row"], side) for side in (0, 1) for item in items], self.pad_id)


@dataclass(frozen=True, slots=True)
class JudgedCollator:
    """Makes a batch of answers with labels, as TRL's KTO trainer takes it.

    Its estimate of the distance to the reference needs answers that belong to other prompts: each prompt of the batch
    gets the answer of the one before it.

    Args:
        max_length: the most tokens of a prompt with another's answer.
    """

    prepared: Prepared
    pad_id: int
    max_length: int | None = None

    def __call__(self, items: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        """
        Args:
            items: `{"row": number of the prepared row}` each.

        Returns:
            as `padded`; `label` (rows,), bool; the mismatched pairs with `KL_` before their names.
        """
        labels = self.prepared.labels
        assert labels is not None
        rows = [self.prepared.sequence(item["row"]) for item in items]
        starts = [int(mask.argmax()) for _, mask in rows]
        mixed = []
        for number, ((ids, mask), start) in enumerate(zip(rows, starts, strict=True)):
            (other, other_mask), begin = rows[number - 1], starts[number - 1]
            mixed.append(
                (
                    np.concatenate([ids[:start], other[begin:]])[: self.max_length],
                    np.concatenate([mask[:start], other_mask[begin:]])[: self.max_length],
                )
            )
        batch = padded(rows, self.pad_id)
        batch["label"] = torch.tensor([bool(labels[item["row"]]) for item in items])
        foreign = padded(mixed, self.pad_id)
        for name in ("input_ids", "attention_mask", "completion_mask"):
            batch[f"KL_{name}"] = foreign[name]
        return batch


def padded(rows: "Sequence[tuple[Array, Array]]", pad_id: int) -> dict[str, torch.Tensor]:
    """Ids and masks in one tensor each, padded at the right.

    Returns:
        input_ids, attention_mask and completion_mask (rows, length), int64; `tokens`, the number of those that are no
        padding, and `trained`, of those that are trained.
    """
    shape = (len(rows), max(len(ids) for ids, _ in rows))
    ids = torch.full(shape, pad_id, dtype=torch.int64)
    attention, completion = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    for number, (tokens, mask) in enumerate(rows):
        ids[number, : len(tokens)] = torch.from_numpy(tokens.astype("int64"))
        attention[number, : len(tokens)] = 1
        completion[number, : len(tokens)] = torch.from_numpy(mask.astype("int64"))
    return {
        "input_ids": ids,
        "attention_mask": attention,
        "completion_mask": completion,
        "tokens": attention.sum(),
        "trained": completion.sum(),
    }


def row_dataset(prepared: Prepared, rows: "np.ndarray[Any, Any]") -> "Dataset":
    """A dataset of row numbers and lengths, as TRL takes it; the tokens stay in the mapped files."""
    from datasets import Dataset

    return Dataset.from_dict({"row": rows, "length": prepared.lengths()[rows]})


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put examples into as few rows as can be found quickly: best fit, the longest first.

    Args:
        lengths: tokens of each example, none above `capacity`.

    Returns:
        the places of the examples of each row.
    """
    packs: list[list[int]] = []
    rooms: list[int] = []  # that some row has left, ascending
    waiting: dict[int, list[int]] = {}  # the rows with this room
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        found = bisect.bisect_left(rooms, lengths[place])
        if found == len(rooms):
            packs.append([])
            number, room = len(packs) - 1, capacity
        else:
            room = rooms[found]
            number = waiting[room].pop()
            if not waiting[room]:
                rooms.pop(found)
        packs[number].append(place)
        left = room - lengths[place]
        here = waiting.setdefault(left, [])
        if not here:
            bisect.insort(rooms, left)
        here.append(number)
    return packs


def pack_dataset(prepared: Prepared, rows: "Array", capacity: int) -> "Dataset":
    """As `row_dataset`, several examples to a row."""
    from datasets import Dataset

    lengths = prepared.lengths()[rows]
    packs = pack(lengths.tolist(), capacity)
    return Dataset.from_dict(
        {"rows": [rows[places].tolist() for places in packs], "length": [int(lengths[p].sum()) for p in packs]}
    )


class GroupedSampler(LengthGroupedSampler):
    """transformers' sampler of similar lengths, whose order depends on seed and epoch alone from the second epoch on,
    so that a resumed run sees the rest of an epoch as it would have been.

    Args:
        batch_size: examples of a whole step, those of all processes.
    """

    def __init__(self, batch_size: int, lengths: Sequence[int], seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths))
        self.seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        # The first epoch is drawn as transformers does, from the state that the seed has set.
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch) if self.epoch else _shared_state()
        return super().__iter__()


def _shared_state() -> torch.Generator | None:
    """The random state of the first process, so that all draw the same order; None where there is one alone."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return None
    box = [torch.get_rng_state()]
    torch.distributed.broadcast_object_list(box, src=0)
    generator = torch.Generator()
    generator.set_state(box[0])
    return generator


def evaluation_batches(
    prepared: Prepared,
    rows: "np.ndarray[Any, Any]",
    size: int,
    rank: int,
    processes: int,
    *,
    together: bool = False,
) -> list[tuple[list[dict[str, int]], bool]]:
    """The batches of one process: similar lengths together, since order does not matter to a sum.

    Args:
        together: as many for each process, since all must compute when one does; a process that has one too few gets
            the last once more.

    Returns:
        batches, and whether each counts.
    """
    lengths = prepared.lengths()[rows]
    longest_first = rows[lengths.argsort(kind="stable")[::-1]]
    batches = [
        [{"row": int(row)} for row in longest_first[start : start + size]]
        for start in range(0, len(longest_first), size)
    ]
    own = [(items, True) for items in batches[rank::processes]]
    if together and len(own) < -(-len(batches) // processes):
        own.append((batches[-1], False))
    return own
