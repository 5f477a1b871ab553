"""The loss of language modelling, computed only where there is a label.

The projection to the vocabulary is the largest matrix product of a small model, and only the answers' tokens need it.
It is also done in pieces, each with its gradient at once, so that logits of the whole batch never exist.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
# Rows of logits at a time: 128 x 49,152 float32 are 24 MiB, which stays near the cache of a server CPU.
_CHUNK = 128


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a model made of the labelled tokens of a batch.

    Attributes:
        hidden: the states that predict them, (tokens, width).
        wanted: the labels, (tokens,).
        logits: (tokens, vocabulary) where the model makes more of its output layer's product than that product; None
            where `hidden @ head.weight.T + head.bias` is all.
        kind: what the model multiplies in there: its autocast may have ended when the loss is computed.
    """

    hidden: Tensor
    wanted: Tensor
    logits: Tensor | None
    kind: torch.dtype


class LabelledStates:
    """Runs a model as far as the output layer, and takes on only what predicts a label.

    The hidden states are caught on their way into the output layer; the model itself then projects a single one of
    them, from which it is also seen whether it does more to its logits than that layer does (soft caps, scales). Where
    it does, or where the layer is not a plain matrix, the model projects all labelled positions itself.

    Args:
        model: a causal language model, or a PeftModel around one.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.head = _within(model.get_output_embeddings())
        self._selected: Tensor | None = None
        self._hidden: Tensor | None = None
        self._kind = self.head.weight.dtype
        self._plain: bool | None = None if type(self.head) is torch.nn.Linear else False
        self._hook = self.head.register_forward_pre_hook(self._catch)

    def __call__(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Labelled:
        """Run the model.

        Args:
            inputs: the batch, with `labels` (batch, length) that are -100 where masked.
        """
        labels = inputs["labels"][:, 1:]
        self._selected = labels != IGNORED
        try:
            outputs = model(**{name: value for name, value in inputs.items() if name != "labels"}, use_cache=False)
        finally:
            self._selected = None
        hidden, self._hidden = self._hidden, None
        if hidden is None:
            raise RuntimeError("the model did not use its output layer")
        if self._plain is None:
            self._plain = self._is_plain(outputs.logits, hidden)
            if not self._plain:
                return self(model, inputs)
        logits = None if self._plain else outputs.logits.reshape(-1, outputs.logits.shape[-1])
        return Labelled(hidden, labels[labels != IGNORED], logits, self._kind)

    def close(self) -> None:
        """Leave the model as it was."""
        self._hook.remove()

    def weights(self) -> tuple[Tensor, Tensor | None]:
        """The output layer's weight and bias, detached where no gradient is wanted, so that measuring makes none."""
        weight, bias = self.head.weight, self.head.bias
        if torch.is_grad_enabled():
            return weight, bias
        return weight.detach(), None if bias is None else bias.detach()

    def _catch(self, module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        hidden = arguments[0]
        if self._selected is None:
            # Somebody else runs the model, to generate or to look at its logits. Of a prompt they want the last states
            # alone, rows that lie apart, for which torch copies the layer's weight once for each row of the batch.
            return (hidden.contiguous(),)
        device = hidden.device.type
        self._kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.head.weight.dtype
        # Learned positions of a prompt come first and have no labels.
        length = self._selected.shape[1]
        self._hidden = hidden[:, -length - 1 : -1][self._selected]
        return (self._hidden if self._plain is False else self._hidden[:1],)

    @torch.no_grad()
    def _is_plain(self, logits: Tensor, hidden: Tensor) -> bool:
        """Whether the model's logits are what its output layer makes of the hidden states."""
        weight, bias = self.head.weight.to(self._kind), self.head.bias
        own = functional.linear(hidden[:1].to(self._kind), weight, None if bias is None else bias.to(self._kind))
        shown = logits.reshape(-1, logits.shape[-1])[:1]
        return shown.shape == own.shape and torch.allclose(shown.float(), own.float(), rtol=1e-4, atol=1e-4)


def _within(head: Any) -> Any:
    """The copy of the output layer that is trained, where PEFT has put one beside it (modules_to_save)."""
    from peft.utils import ModulesToSaveWrapper

    return head.modules_to_save[head.active_adapters[0]] if isinstance(head, ModulesToSaveWrapper) else head


class LabelledLoss:
    """Sum of the negative log-likelihoods of the labelled tokens of a batch.

    Args:
        model: a causal language model, or a PeftModel around one.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._states = LabelledStates(model)

    def __call__(self, model: torch.nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Run the model.

        Args:
            inputs: the batch, with `labels` (batch, length) that are -100 where masked.

        Returns:
            the sum of the losses, float32, and the number of labelled tokens, both scalars.
        """
        found = self._states(model, inputs)
        if found.logits is None:
            total = _ChunkedLoss.apply(found.hidden, *self._states.weights(), found.wanted, found.kind)
        else:
            total = functional.cross_entropy(found.logits.float(), found.wanted, reduction="sum")
        return total, torch.tensor(len(found.wanted), device=total.device)

    def close(self) -> None:
        """Leave the model as it was."""
        self._states.close()


class _ChunkedLoss(torch.autograd.Function):
    """Cross entropy of `hidden @ weight.T + bias`, summed. The gradient is made while the logits are there."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, kind: torch.dtype
    ) -> Tensor:
        """
        Args:
            hidden: (tokens, width).
            weight: (vocabulary, width); bias: (vocabulary,) or None.
            labels: (tokens,), none of them masked.
            kind: what to multiply in.
        """
        wants_hidden, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        matrix, offset = weight.to(kind), None if bias is None else bias.to(kind)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        bias_grad = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wants_bias else None
        for start in range(0, len(labels), _CHUNK):
            rows, wanted = hidden[start : start + _CHUNK].to(kind), labels[start : start + _CHUNK, None]
            logits = functional.linear(rows, matrix, offset).float()
            logits -= logits.amax(dim=1, keepdim=True)
            chosen = logits.gather(1, wanted)
            sums = logits.exp_().sum(dim=1, keepdim=True)
            total += (sums.log() - chosen).sum()
            if hidden_grad is None and weight_grad is None and bias_grad is None:
                continue
            gradient = logits.div_(sums)
            gradient.scatter_add_(1, wanted, torch.full_like(chosen, -1.0))
            if bias_grad is not None:
                bias_grad += gradient.sum(dim=0)
            gradient = gradient.to(kind)
            if hidden_grad is not None:
                hidden_grad[start : start + _CHUNK] = gradient @ matrix
            if weight_grad is not None:
                weight_grad += gradient.T @ rows
        ctx.kept = (
            hidden_grad,
            None if weight_grad is None else weight_grad.to(weight.dtype),
            None if bias is None or bias_grad is None else bias_grad.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (outer,) = gradients
        # The caller's loss names this node, and with it what it keeps, until the whole backward pass has ended.
        kept, ctx.kept = ctx.kept, ()
        return *(None if one is None else one.mul_(outer.to(one.dtype)) for one in kept), None, None
