"""The next token is drawn from what transformers would draw it from, and with the same probabilities."""

import json
from pathlib import Path

import pytest
from tiny import make_tiny_model

from tuiwb.chat.protocol import Ask, Done, Event, Lane, LaneAsk, Sampling, Token
from tuiwb.chat.target import target_of

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7, top_p=0.9),
        Sampling(temperature=1.0, top_p=1.0),
        Sampling(temperature=1.3, top_p=0.5, top_k=40),
        Sampling(temperature=0.5, top_p=1.0, top_k=5),
        Sampling(temperature=1.0, top_p=0.95, min_p=0.1),
        Sampling(temperature=1.0, top_p=1.0, min_p=0.3),
        Sampling(temperature=5.0, top_p=0.99),  # more than the few that are looked at first
    ],
)
def test_it_is_drawn_as_transformers_draws(sampling: Sampling) -> None:
    import torch
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    from tuiwb.workers.chat_decode import candidates

    torch.manual_seed(1)
    scores = torch.randn(3, 2000) * torch.tensor([[0.1], [3.0], [9.0]])  # all alike, spread out, one far ahead
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    expected = warpers(torch.zeros(3, 0, dtype=torch.long), scores.clone()).softmax(-1)
    weights, tokens = candidates(scores.clone(), sampling)
    if tokens is not None:
        weights = torch.zeros_like(scores).scatter(-1, tokens, weights)
    found = weights / weights.sum(-1, keepdim=True)
    assert ((found > 0) == (expected > 0)).all()
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_likeliest_is_taken_without_temperature() -> None:
    import torch

    from tuiwb.workers.chat_decode import choose

    scores = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert choose(scores, Sampling(temperature=0.0)).tolist() == [1, 0]
    assert choose(scores, Sampling(temperature=1e-3, top_p=1.0)).tolist() == [1, 0]
    assert choose(scores, Sampling(temperature=1e-3, top_p=0.5)).tolist() == [1, 0]


class Heard:
    """What an engine says."""

    def __init__(self) -> None:
        self.cancelled: set[int] = set()
        self.events: list[Event] = []

    def send(self, event: Event) -> None:
        self.events.append(event)


def test_a_model_that_forgets_is_answered_too(tmp_path: Path) -> None:
    import torch

    from tuiwb import models
    from tuiwb.workers.chat_answers import LaneState, generate, prefill
    from tuiwb.workers.chat_cache import Shelf, croppable
    from tuiwb.workers.chat_model import Base, load_model

    folder = make_tiny_model(tmp_path / "forgets")
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 8}
    (folder / "config.json").write_text(json.dumps(config))
    lane = target_of(str(folder)).best
    assert isinstance(lane, Lane)
    base = Base(model=load_model(lane.model, "float32"), tokenizer=models.load_tokenizer(folder))
    state = LaneState(
        spec=lane, base=base, adapter=None, template=base.tokenizer.template(lane.template), shelf=Shelf(2)
    )
    sampling = Sampling(temperature=0.0, max_new_tokens=12)
    ask = Ask(id=1, lanes=(LaneAsk(lane=lane.name, messages=[{"role": "user", "content": "Who?"}]),), sampling=sampling)
    answer, heard = prefill(state, ask.lanes[0], ask, 0.0, [], alone=True), Heard()
    assert not croppable(answer.kept.cache)
    generate([answer], heard, None)
    prompt = torch.tensor([answer.prompt])
    with torch.inference_mode():
        whole = base.model.generate(
            prompt, do_sample=False, max_new_tokens=12, eos_token_id=list(lane.stop_ids), pad_token_id=0
        )
    *pieces, done = heard.events
    assert isinstance(done, Done)
    assert done.text == base.tokenizer.decode(whole[0, len(answer.prompt) :].tolist(), skip_special=True)
    assert "".join(piece.text for piece in pieces if isinstance(piece, Token)) == done.text
