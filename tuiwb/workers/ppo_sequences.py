"""Prompts with sampled answers, and what a language model thinks of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tuiwb.workers.loss import IGNORED, LabelledStates
from tuiwb.workers.ppo_math import answer_mask

# Rows of logits at a time, as in `loss`.
_CHUNK = 128


@dataclass(frozen=True, slots=True)
class Sequences:
    """Prompts, each with its answer right behind it, padded at the right by lengths: a causal model never looks at what
    comes later, so no attention mask is needed and no token is taken for padding.

    Attributes:
        ids: (rows, length), int64.
        prompts, answers: tokens of each, (rows,); an answer's count includes the token that ended it.
        width: columns of tensors of the answers, at least the longest answer.
    """

    ids: Tensor
    prompts: Tensor
    answers: Tensor
    width: int

    @classmethod
    def join(
        cls, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad: int, device: torch.device
    ) -> "Sequences":
        """Put prompts and answers together.

        Args:
            pad: fills up short rows; never looked at.
        """
        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
        of_prompts, of_answers = (
            torch.tensor([len(row) for row in part], device=device) for part in (prompts, answers)
        )
        return cls(ids, of_prompts, of_answers, max(len(answer) for answer in answers))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, (rows,)."""
        return self.prompts + self.answers

    @property
    def mask(self) -> Tensor:
        """Which places of (rows, width) hold a token of an answer."""
        return answer_mask(self.answers, self.width)

    @property
    def states(self) -> Tensor:
        """Where in a row the state is before each token of its answer, and after the last, int64 (rows, width)."""
        places = self.prompts[:, None] - 1 + torch.arange(self.width, device=self.ids.device)
        return places.clamp(max=self.ids.shape[1] - 1)

    def part(self, rows: Tensor) -> "Sequences":
        """Some of the rows, no longer than the longest of them; the width stays."""
        lengths = self.lengths[rows]
        return Sequences(self.ids[rows, : int(lengths.max())], self.prompts[rows], self.answers[rows], self.width)

    def batches(self, rows: Tensor, size: int) -> Iterator[Tensor]:
        """These rows, so many at a time, similar lengths together."""
        yield from rows[self.lengths[rows].argsort(stable=True)].split(size)

    def labels(self) -> Tensor:
        """The ids where the answers are, and -100 elsewhere."""
        places = torch.arange(self.ids.shape[1], device=self.ids.device)
        answered = (places >= self.prompts[:, None]) & (places < self.lengths[:, None])
        return torch.where(answered, self.ids, IGNORED)

    def spread(self, values: Tensor) -> Tensor:
        """Values of all answers' tokens, one after the other, as (rows, width) with zeros beyond."""
        return torch.zeros(len(self), self.width, dtype=values.dtype, device=values.device).masked_scatter(
            self.mask, values
        )


class AnswerLogprobs:
    """Logarithms of the probabilities with which a model gives the answers, and its entropy at each token.

    Only the states before the answers' tokens are taken to the vocabulary, in pieces, so that the logits of a batch
    never exist.

    Args:
        model: a causal language model.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._states = LabelledStates(model)

    def __call__(self, model: Any, sequences: Sequences, temperature: float) -> tuple[Tensor, Tensor]:
        """Run the model.

        Args:
            temperature: at which the answers were sampled; the logits are divided by it.

        Returns:
            logarithms, with gradient where one is wanted, and entropies without, both (rows, width) float32.
        """
        found = self._states(model, {"input_ids": sequences.ids, "labels": sequences.labels()})
        if found.logits is None:
            weight, bias = self._states.weights()
            logprobs, entropy = _TokenLogprobs.apply(
                found.hidden, weight, bias, found.wanted, 1 / temperature, found.kind
            )
        else:
            everything = functional.log_softmax(found.logits.float() / temperature, dim=-1)
            logprobs = everything.gather(1, found.wanted[:, None])[:, 0]
            with torch.no_grad():
                entropy = -(everything.exp() * everything).sum(dim=-1)
        return sequences.spread(logprobs), sequences.spread(entropy)

    def close(self) -> None:
        """Leave the model as it was."""
        self._states.close()


class _TokenLogprobs(torch.autograd.Function):
    """log softmax(scale * (hidden @ weight.T + bias)) at the wanted tokens, and the entropy.

    The gradient of a token's logarithm is a vector of the hidden width times whatever comes from behind, so it is made
    while the logits are there; that of the weight needs them once more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        wanted: Tensor,
        scale: float,
        kind: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            hidden: (tokens, width).
            weight: (vocabulary, width); bias: (vocabulary,) or None.
            wanted: (tokens,).
            scale: what logits are multiplied by.
            kind: what to multiply matrices in.
        """
        matrix, offset = weight.to(kind), None if bias is None else bias.to(kind)
        logprobs = torch.empty(len(wanted), dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(wanted), _CHUNK):
            piece = slice(start, start + _CHUNK)
            everything = _log_softmax(hidden[piece].to(kind), matrix, offset, scale)
            chosen = wanted[piece, None]
            logprobs[piece] = everything.gather(1, chosen)[:, 0]
            shares = everything.exp()
            entropy[piece] = -(everything.mul_(shares)).sum(dim=1)
            if slopes is not None:
                slopes[piece] = (_slopes(shares, chosen, scale).to(kind) @ matrix).to(hidden.dtype)
        ctx.kind, ctx.scale = kind, scale
        again = ctx.needs_input_grad[1] or (bias is not None and ctx.needs_input_grad[2])
        ctx.save_for_backward(slopes, *((hidden, weight, bias, wanted) if again else (None, None, None, None)))
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        outer = gradients[0]
        slopes, hidden, weight, bias, wanted = ctx.saved_tensors
        hidden_gradient = None if slopes is None else slopes * outer[:, None].to(slopes.dtype)
        if hidden is None:
            return hidden_gradient, None, None, None, None, None
        matrix, offset = weight.to(ctx.kind), None if bias is None else bias.to(ctx.kind)
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        bias_gradient = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for start in range(0, len(wanted), _CHUNK):
            piece = slice(start, start + _CHUNK)
            rows = hidden[piece].to(ctx.kind)
            shares = _log_softmax(rows, matrix, offset, ctx.scale).exp_()
            gradient = _slopes(shares, wanted[piece, None], ctx.scale) * outer[piece, None]
            weight_gradient += gradient.to(ctx.kind).T @ rows
            if bias_gradient is not None:
                bias_gradient += gradient.sum(dim=0)
        return (
            hidden_gradient,
            weight_gradient.to(weight.dtype),
            None if bias is None or bias_gradient is None else bias_gradient.to(bias.dtype),
            None,
            None,
            None,
        )


def _log_softmax(rows: Tensor, matrix: Tensor, offset: Tensor | None, scale: float) -> Tensor:
    return functional.log_softmax(functional.linear(rows, matrix, offset).float() * scale, dim=-1)


def _slopes(shares: Tensor, chosen: Tensor, scale: float) -> Tensor:
    """How the logarithm at the chosen token changes with each logit. Takes `shares` over."""
    slopes = shares.neg_()
    slopes.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=slopes.dtype))
    return slopes.mul_(scale)
