"""Token after token, for models whose layers keep every position: what transformers' `generate` does, for less.

`generate` prepares the inputs, lengthens a mask and asks every criterion at each step, and to sample it sorts the whole
vocabulary, which on a CPU takes as long as many layers. Here the likeliest few are looked at, and all of them only
where those few are not enough; the probabilities are the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tuiwb.chat.protocol import Sampling

_FEW = 256
"""Tokens that are looked at first: seldom does the share `top_p` of the probability lie on more."""


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    cache: Any,
    sampling: Sampling,
    pad: int,
    take: Callable[[list[int]], Sequence[bool]],
) -> None:
    """Continue each prompt until all have ended.

    Args:
        cache: keys and values of a beginning of the only prompt; of several, of all but the last token of each, padded
            on the left.
        take: gets the next token of each row and says which rows have ended. What it gets for those is meaningless.
    """
    import torch
    from transformers import RepetitionPenaltyLogitsProcessor

    device, rows, longest = model.device, len(prompts), max(map(len, prompts))
    more: dict[str, Any] = {}
    if rows == 1:
        unread = torch.tensor([prompts[0][cache.get_seq_length() :]], device=device)
    else:
        unread = torch.tensor([[prompt[-1]] for prompt in prompts], device=device)
        more["position_ids"] = torch.tensor([[len(prompt) - 1] for prompt in prompts], device=device)
        more["attention_mask"] = torch.tensor(
            [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device
        )
    penalty, seen = None, None
    if sampling.repetition_penalty != 1.0:
        penalty = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)
        seen = torch.tensor([[prompt[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    while True:
        scores = model(input_ids=unread, past_key_values=cache, use_cache=True, logits_to_keep=1, **more).logits
        scores = scores[:, -1].float()
        if penalty is not None:
            scores = penalty(seen, scores)
        chosen = choose(scores, sampling)
        ended = take(chosen.tolist())
        if all(ended):
            return
        if any(ended):
            chosen = chosen.masked_fill(torch.tensor(ended, device=device), pad)
        unread = chosen[:, None]
        if seen is not None:
            seen = torch.cat([seen, unread], dim=1)
        if rows > 1:
            more["position_ids"] = more["position_ids"] + 1
            more["attention_mask"] = torch.cat([more["attention_mask"], torch.ones_like(unread)], dim=1)


def choose(scores: Any, sampling: Sampling) -> Any:
    """The next token of each row. scores: (rows, vocabulary); returns (rows,)."""
    import torch

    if sampling.temperature == 0:
        return scores.argmax(-1)
    weights, tokens = candidates(scores, sampling)
    drawn = torch.multinomial(weights, 1)
    return (drawn if tokens is None else tokens.gather(-1, drawn)).squeeze(-1)


def candidates(scores: Any, sampling: Sampling) -> tuple[Any, Any]:
    """What is drawn from, and how likely each is, up to a factor.

    Returns:
        weights (rows, n), and the tokens (rows, n) that they are of; None for all tokens in their order.
    """
    scores = scores / sampling.temperature
    if not sampling.top_k and sampling.top_p >= 1:
        weights = scores.softmax(-1)
        return weights * (weights >= sampling.min_p * weights.amax(-1, keepdim=True)), None
    size = scores.shape[-1]
    few = min(sampling.top_k or _FEW, size)
    best, tokens = scores.topk(few)
    # Of top_k tokens the others have no part in the whole, else they have.
    whole = (best if sampling.top_k else scores).logsumexp(-1, keepdim=True)
    weights = (best - whole).exp()
    if not sampling.top_k and few < size and bool((weights.sum(-1) < sampling.top_p).any()):
        best, tokens = scores.sort(-1, descending=True)
        weights = (best - whole).exp()
    kept = weights >= sampling.min_p * weights[:, :1]
    if sampling.top_p < 1:
        kept &= weights.cumsum(-1) - weights < sampling.top_p  # what is likelier than a token leaves room for it
    return weights * kept, tokens
