"""Answers of the chat engine: the prompt read up to its last token, then rows generated together and streamed."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tuiwb.base.errors import InputFault
from tuiwb.chat import protocol
from tuiwb.chat.protocol import Ask, Done, Token
from tuiwb.workers.chat_cache import Kept, Shelf, croppable, merge, new_cache, split
from tuiwb.workers.chat_decode import decode
from tuiwb.workers.chat_mixed import adapters_of
from tuiwb.workers.chat_model import Base


class Link(Protocol):
    """Where events go, and which questions nobody wants answered any more."""

    cancelled: set[int]

    def send(self, event: protocol.Event) -> None: ...


@dataclass
class LaneState:
    """A lane and what it remembers."""

    spec: protocol.Lane
    base: Base
    adapter: str | None
    template: Any
    shelf: Shelf


@dataclass
class Answer:
    """An answer under way. `kept` holds the keys and values of the prompt but for its last token; for an answer that is
    alone, only what was known of it."""

    lane: LaneState
    ask: Ask
    prompt: list[int]
    kept: Kept
    cached: int
    limit: int
    started: float
    stream: Any
    generated: list[int] = field(default_factory=list)
    streamed: str = ""
    held: str = ""
    """Text that may be the beginning of a stop text, and is not shown yet."""
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    ended: bool = False
    stopped: bool = False

    def add(self, piece: str) -> str:
        """Take the next piece of text.

        Returns:
            what can be shown now.
        """
        self.held += piece
        stops = self.ask.sampling.stop
        if (at := first_stop(self.held, stops)) is not None:
            shown, self.held = self.held[:at], ""
            self.ended = self.stopped = True
        else:
            keep = _may_begin_a_stop(self.held, stops)
            shown = self.held[: len(self.held) - keep]
            self.held = self.held[len(self.held) - keep :]
        self.streamed += shown
        return shown


def first_stop(text: str, stops: tuple[str, ...]) -> int | None:
    """Where the first stop text begins, or None."""
    return min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)


def _may_begin_a_stop(text: str, stops: tuple[str, ...]) -> int:
    """Characters at the end of `text` that a stop text may begin with."""
    longest = min(len(text), max((len(stop) for stop in stops), default=1) - 1)
    for length in range(longest, 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0


def prefill(
    lane: LaneState, wanted: protocol.LaneAsk, ask: Ask, started: float, others: list[Answer], *, alone: bool
) -> Answer:
    """Read a prompt up to its last token, from the longest beginning of it that is known.

    Args:
        others: answers of the same batch, whose prompts may begin alike.
        alone: there is and will be no other answer: what is not known is left to be read in one pass with the last
            token, which saves a pass over the weights.

    Raises:
        InputFault: it is longer than the model's context.
    """
    import torch
    from tokenizers.decoders import DecodeStream

    text = lane.template.render(wanted.messages, add_generation_prompt=True)
    prompt: list[int] = lane.base.tokenizer.encode(text)
    context = lane.spec.context
    if context is not None and len(prompt) >= context:
        raise InputFault(
            f"the conversation has {len(prompt):,} tokens, the model's context {context:,}: start a new one"
        )
    alike = [other.kept for other in others if other.lane is lane]
    kept, cached = lane.shelf.take(prompt, alike) or (Kept(new_cache(lane.base.model), []), 0)
    if alone:
        kept.ids = prompt[:cached]
    elif len(prompt) - 1 > cached:
        with torch.inference_mode(), adapter_on(lane):
            lane.base.model(
                input_ids=torch.tensor([prompt[cached:-1]], device=lane.base.model.device),
                past_key_values=kept.cache,
                use_cache=True,
                logits_to_keep=1,
            )
    if not alone:
        kept.ids = prompt[:-1]
    limit = ask.sampling.max_new_tokens
    return Answer(
        lane=lane,
        ask=ask,
        prompt=prompt,
        kept=kept,
        cached=cached,
        limit=limit if context is None else min(limit, context - len(prompt)),
        started=started,
        stream=DecodeStream(skip_special_tokens=True),
    )


def batches(answers: list[Answer]) -> list[list[Answer]]:
    """Answers that can be generated together: one base, the same ends, adapters that mix, caches that can be cut."""
    groups: dict[Any, list[Answer]] = {}
    for number, answer in enumerate(answers):
        lane = answer.lane
        together = lane.base.mixable and croppable(answer.kept.cache)
        key = (id(lane.base), lane.spec.stop_ids) if together else number
        groups.setdefault(key, []).append(answer)
    return list(groups.values())


def generate(batch: list[Answer], link: Link, draft: Base | None) -> None:
    """Generate the answers of a batch, stream them, and keep their keys and values.

    Args:
        batch: one answer, or several as `batches` puts them together.
        draft: a model that guesses ahead, for an answer that is alone.
    """
    import torch

    first = batch[0]
    base, stop_ids = first.lane.base, first.lane.spec.stop_ids
    prompts = [answer.prompt for answer in batch]
    left = [max(map(len, prompts)) - len(prompt) for prompt in prompts]
    alone = len(batch) == 1
    cache = first.kept.cache if alone else merge([(a.kept.cache, gap) for a, gap in zip(batch, left, strict=True)])
    watch = _Watch(link, batch, set(stop_ids))
    with torch.inference_mode(), _adapters(batch):
        if croppable(cache) and not (alone and draft is not None):
            decode(base.model, prompts, cache, first.ask.sampling, stop_ids[0], watch.take)
        else:
            _by_transformers(first, cache, watch, draft)
    held = cache.get_seq_length()
    for row, (gap, answer) in enumerate(zip(left, batch, strict=True)):
        kept = answer.kept
        kept.ids = (answer.prompt + answer.generated)[: held - gap]
        kept.answer = len(kept.ids) - len(answer.prompt)
        if not alone:
            kept.cache = split(cache, base.model, row, gap, gap + len(kept.ids))
        elif held > len(kept.ids):
            kept.cache.crop(len(kept.ids) - held)
        answer.lane.shelf.put(kept)
        _finish(answer, link, set(stop_ids))


def _by_transformers(answer: Answer, cache: Any, watch: "_Watch", draft: Base | None) -> None:
    """Where a draft model guesses ahead, and where layers forget (sliding windows, linear attention)."""
    import torch
    from transformers import GenerationConfig

    sampling, stop_ids, model = answer.ask.sampling, answer.lane.spec.stop_ids, answer.lane.base.model
    sampled = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p or None,
    }
    config = GenerationConfig(
        do_sample=sampling.temperature > 0,
        max_new_tokens=answer.limit,
        eos_token_id=list(stop_ids),
        pad_token_id=stop_ids[0],
        repetition_penalty=sampling.repetition_penalty,
        use_cache=True,
        **(sampled if sampling.temperature > 0 else {}),
    )
    ids = torch.tensor([answer.prompt], device=model.device)
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        past_key_values=cache,
        generation_config=config,
        streamer=watch,
        stopping_criteria=[watch.ended],
        assistant_model=draft.model if draft is not None and croppable(cache) else None,
    )


def _finish(answer: Answer, link: Link, stop_ids: set[int]) -> None:
    lane, count = answer.lane, len(answer.generated)
    text = lane.base.tokenizer.decode(answer.generated, skip_special=True)
    stop = first_stop(text, answer.ask.sampling.stop)
    text = text if stop is None else text[:stop]
    if text != answer.streamed and text.startswith(answer.streamed):
        # Bytes that never became a whole character are shown at the end, as decoding the whole shows them.
        link.send(Token(id=answer.ask.id, lane=lane.spec.name, text=text[len(answer.streamed) :]))
    spent = answer.last_token_s - answer.first_token_s
    stopped = answer.stopped or (bool(answer.generated) and answer.generated[-1] in stop_ids)
    context = lane.spec.context
    link.send(
        Done(
            id=answer.ask.id,
            lane=lane.spec.name,
            reason="stop" if stopped else "cancel" if answer.ask.id in link.cancelled else "length",
            text=text,
            prompt_tokens=len(answer.prompt),
            cached_tokens=answer.cached,
            completion_tokens=count,
            first_token_s=answer.first_token_s,
            tokens_per_s=(count - 1) / spent if count > 1 and spent > 0 else 0.0,
            context_left=None if context is None else context - len(answer.prompt) - count,
        )
    )


class _Watch:
    """Takes the tokens of the rows as they come, streams them, and knows which rows have ended.

    It is also `generate`'s `streamer`: `put` gets the prompt first, then the next token of the only row, or several
    where a draft model guessed ahead.
    """

    def __init__(self, link: Link, batch: list[Answer], stop_ids: set[int]) -> None:
        self._link, self._batch, self._stop_ids = link, batch, stop_ids
        self._prompt_seen = False

    def take(self, tokens: list[int]) -> list[bool]:
        """The next token of each row.

        Returns:
            which rows have ended.
        """
        now = time.monotonic()
        for answer, token in zip(self._batch, tokens, strict=True):
            if not answer.ended:
                self._take(answer, token, now)
        return [answer.ended for answer in self._batch]

    def put(self, tokens: Any) -> None:
        if self._prompt_seen:
            for token in tokens.flatten().tolist():
                self.take([token])
        self._prompt_seen = True

    def _take(self, answer: Answer, token: int, now: float) -> None:
        if not answer.generated:
            answer.first_token_s = now - answer.started
        answer.last_token_s = now - answer.started
        answer.generated.append(token)
        if token in self._stop_ids:
            answer.ended = True
            return
        piece = answer.stream.step(answer.lane.base.tokenizer.backend, token)
        if piece and (shown := answer.add(piece)):
            self._link.send(Token(id=answer.ask.id, lane=answer.lane.spec.name, text=shown))
        if len(answer.generated) >= answer.limit or answer.ask.id in self._link.cancelled:
            answer.ended = True

    def end(self) -> None:
        pass

    def ended(self, ids: Any, scores: Any, **_: Any) -> Any:
        """generate's stopping criterion. It is asked before `put` gets the step's tokens, or after, so that it may
        compute one token too many, which is not taken."""
        import torch

        return torch.tensor([answer.ended for answer in self._batch], device=ids.device)


def _adapters(batch: list[Answer]) -> contextlib.AbstractContextManager[None]:
    """Each answer with the adapter of its lane."""
    peft = batch[0].lane.base.peft
    if len(batch) == 1 or peft is None:
        return adapter_on(batch[0].lane)
    return adapters_of(peft, [answer.lane.adapter for answer in batch])


class Switchable(Protocol):
    """Whose adapter can be switched on."""

    base: Base
    adapter: str | None


@contextlib.contextmanager
def adapter_on(lane: Switchable) -> Iterator[None]:
    """The lane's adapter active, or none for the base."""
    peft = lane.base.peft
    if peft is None:
        yield
    elif lane.adapter is None:
        with peft.disable_adapter():
            yield
    else:
        if peft.active_adapter != lane.adapter:
            peft.set_adapter(lane.adapter, inference_mode=True)
        yield
