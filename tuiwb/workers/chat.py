"""The chat engine: `python -m tuiwb.workers.chat FOLDER`, where FOLDER holds `engine.json` (a `chat.protocol.Spec`).

One copy of each base model, any number of adapters on it, a lane for each. A lane keeps the keys and values of its
conversation, and a new turn computes only what follows the longest common prefix with what is kept. Lanes that share a
base answer one question together, in one batch with an adapter for each row. The engine ends when its client does.
"""

import contextlib
import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tuiwb.chat import protocol
from tuiwb.chat.protocol import AddLane, Ask, Cancel, Done, Failed, Loading, Ready, Spec, Token
from tuiwb.workers.chat_cache import common_prefix, croppable, merge, new_cache, split
from tuiwb.workers.chat_model import Base, load_model, put_adapter


class Link:
    """The connection to the client: events go out, questions are queued, cancellations are seen at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self.requests: queue.Queue[Ask | AddLane] = queue.Queue()
        self.cancelled: set[int] = set()
        threading.Thread(target=self._read, name="link", daemon=True).start()

    def send(self, event: protocol.Event) -> None:
        with self._sending:
            self._connection.sendall(protocol.encode(event) + b"\n")

    def _read(self) -> None:
        try:
            with self._connection.makefile("rb") as lines:
                for line in lines:
                    request = protocol.decode_request(line)
                    if isinstance(request, Cancel):
                        self.cancelled.add(request.id)
                    else:
                        self.requests.put(request)
        except OSError:
            pass
        # The client is gone. Generation may be deep inside a kernel, and nothing here is worth saving.
        os._exit(0)


@dataclass
class LaneState:
    """A lane and what it remembers: `cache` holds keys and values of exactly the tokens `ids`."""

    spec: protocol.Lane
    base: Base
    adapter: str | None
    template: Any
    cache: Any = None
    ids: list[int] = field(default_factory=list)


@dataclass
class Answer:
    """An answer under way."""

    lane: LaneState
    prompt: list[int]
    cached: int
    started: float
    stream: Any
    generated: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    ended: bool = False


class Engine:
    """Loads lanes and answers questions, one after the other."""

    def __init__(self, spec: Spec, link: Link) -> None:
        self._spec = spec
        self._link = link
        self._bases: dict[tuple[str, str | None], Base] = {}
        self._lanes: dict[str, LaneState] = {}

    def run(self) -> None:
        started = time.monotonic()
        for lane in self._spec.lanes:
            self._load(lane)
        self._ready(started)
        while True:
            request = self._link.requests.get()
            try:
                if isinstance(request, AddLane):
                    started = time.monotonic()
                    self._load(request.lane)
                    self._ready(started, request.id)
                else:
                    self._answer(request)
            except Exception as error:
                traceback.print_exc()  # into the engine's own log
                self._forget()
                self._link.send(Failed(id=request.id, message=_sentence(error)))

    def _ready(self, started: float, number: int | None = None) -> None:
        model = next(iter(self._bases.values())).model
        self._link.send(
            Ready(
                lanes=tuple(self._lanes),
                device=str(model.device),
                dtype=str(model.dtype).removeprefix("torch."),
                seconds=time.monotonic() - started,
                id=number,
            )
        )

    def _load(self, lane: protocol.Lane) -> None:
        from tuiwb import models

        key = (lane.model, lane.quantization)
        if key not in self._bases:
            self._link.send(Loading(doing=f"loading {Path(lane.model).name}"))
            self._bases[key] = Base(
                model=load_model(lane.model, self._spec.dtype, quantization=lane.quantization),
                tokenizer=models.load_tokenizer(Path(lane.adapter or lane.model)),
            )
        base = self._bases[key]
        if lane.adapter is not None:
            self._link.send(Loading(doing=f"loading the adapter {lane.name}"))
            put_adapter(base, lane.adapter, lane.name)
        template = base.tokenizer.template(lane.template)
        adapter = None if lane.adapter is None else lane.name
        self._lanes[lane.name] = LaneState(spec=lane, base=base, adapter=adapter, template=template)

    def _forget(self) -> None:
        """Drop what the lanes remember: after an error nobody knows what a cache holds."""
        for lane in self._lanes.values():
            lane.cache, lane.ids = None, []

    def _answer(self, ask: Ask) -> None:
        import torch

        if ask.sampling.seed is not None:
            torch.manual_seed(ask.sampling.seed)
        else:
            torch.seed()
        started = time.monotonic()
        answers: list[Answer] = []
        for wanted in ask.lanes:
            try:
                answers.append(self._prefill(wanted, ask, started))
            except InputTooLongError as error:
                self._link.send(Failed(id=ask.id, lane=wanted.lane, message=str(error)))
        for batch in _batches(answers):
            self._generate(batch, ask)
        self._link.cancelled.discard(ask.id)

    def _prefill(self, wanted: protocol.LaneAsk, ask: Ask, started: float) -> Answer:
        """Bring the lane's cache to all of the prompt but its last token."""
        import torch
        from tokenizers.decoders import DecodeStream

        lane = self._lanes[wanted.lane]
        text = lane.template.render(wanted.messages, add_generation_prompt=True)
        prompt: list[int] = lane.base.tokenizer.encode(text)
        context = lane.spec.context
        if context is not None and len(prompt) >= context:
            raise InputTooLongError(
                f"the conversation has {len(prompt):,} tokens, the model's context {context:,}: start a new one"
            )
        keep = min(common_prefix(lane.ids, prompt), len(prompt) - 1)
        if lane.cache is None or not croppable(lane.cache):
            lane.cache, keep = new_cache(lane.base.model), 0
        elif len(lane.ids) > keep:
            lane.cache.crop(keep - len(lane.ids))
        if len(prompt) - 1 > keep:
            with torch.inference_mode(), _adapter_on(lane):
                lane.base.model(
                    input_ids=torch.tensor([prompt[keep:-1]], device=lane.base.model.device),
                    past_key_values=lane.cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
        lane.ids = prompt[:-1]
        stream = DecodeStream(skip_special_tokens=True)
        return Answer(lane=lane, prompt=prompt, cached=keep, started=started, stream=stream)

    def _generate(self, batch: list[Answer], ask: Ask) -> None:
        import torch
        from transformers import GenerationConfig

        base, sampling = batch[0].lane.base, ask.sampling
        device = base.model.device
        longest = max(len(answer.prompt) for answer in batch)
        left = [longest - len(answer.prompt) for answer in batch]
        stop_ids = batch[0].lane.spec.stop_ids
        pad = stop_ids[0]
        ids = torch.tensor(
            [[pad] * gap + answer.prompt for gap, answer in zip(left, batch, strict=True)], device=device
        )
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in left], device=device)
        cache = (
            batch[0].lane.cache
            if len(batch) == 1
            else merge([(a.lane.cache, gap) for a, gap in zip(batch, left, strict=True)])
        )
        config = GenerationConfig(
            do_sample=sampling.temperature > 0,
            max_new_tokens=min(_room(answer, sampling.max_new_tokens) for answer in batch),
            eos_token_id=list(stop_ids),
            pad_token_id=pad,
            repetition_penalty=sampling.repetition_penalty,
            use_cache=True,
            **(
                {
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "top_k": sampling.top_k,
                    "min_p": sampling.min_p or None,
                }
                if sampling.temperature > 0
                else {}
            ),
        )
        watch = _Watch(self._link, ask.id, batch, set(stop_ids))
        arguments: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": mask,
            "past_key_values": cache,
            "generation_config": config,
            "streamer": watch,
            "stopping_criteria": [watch.cancelled],
        }
        with torch.inference_mode():
            if len(batch) == 1:
                with _adapter_on(batch[0].lane):
                    base.model.generate(**arguments)
            elif base.peft is None:
                base.model.generate(**arguments)
            else:
                rows = [answer.lane.adapter or "__base__" for answer in batch]
                base.peft.generate(**arguments, adapter_names=rows)
        held = cache.get_seq_length()
        for row, (gap, answer) in enumerate(zip(left, batch, strict=True)):
            lane = answer.lane
            lane.ids = (answer.prompt + answer.generated)[: held - gap]
            if len(batch) > 1:
                lane.cache = split(cache, base.model, row, gap, gap + len(lane.ids))
            elif held > len(lane.ids):
                lane.cache.crop(len(lane.ids) - held)
            self._finish(answer, ask, set(stop_ids))

    def _finish(self, answer: Answer, ask: Ask, stop_ids: set[int]) -> None:
        lane, count = answer.lane, len(answer.generated)
        text = lane.base.tokenizer.decode(answer.generated, skip_special=True)
        streamed = "".join(answer.pieces)
        if text != streamed and text.startswith(streamed):
            # Bytes that never became a whole character are shown at the end, as decoding the whole shows them.
            self._link.send(Token(id=ask.id, lane=lane.spec.name, text=text[len(streamed) :]))
        spent = answer.last_token_s - answer.first_token_s
        stopped = bool(answer.generated) and answer.generated[-1] in stop_ids
        context = lane.spec.context
        self._link.send(
            Done(
                id=ask.id,
                lane=lane.spec.name,
                reason="stop" if stopped else "cancel" if ask.id in self._link.cancelled else "length",
                text=text,
                prompt_tokens=len(answer.prompt),
                cached_tokens=answer.cached,
                completion_tokens=count,
                first_token_s=answer.first_token_s,
                tokens_per_s=(count - 1) / spent if count > 1 and spent > 0 else 0.0,
                context_left=None if context is None else context - len(answer.prompt) - count,
            )
        )


class InputTooLongError(Exception):
    """A conversation that no longer fits."""


class _Watch:
    """Streams what `generate` yields, row by row, and tells it when the asker wants no more.

    It is generate's `streamer`: `put` gets the prompt first, then one token a row at each step.
    """

    def __init__(self, link: Link, number: int, batch: list[Answer], stop_ids: set[int]) -> None:
        self._link, self._number, self._batch, self._stop_ids = link, number, batch, stop_ids
        self._prompt_seen = False

    def put(self, tokens: Any) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        now = time.monotonic()
        for answer, token in zip(self._batch, tokens.tolist(), strict=True):
            if answer.ended:
                continue
            if not answer.generated:
                answer.first_token_s = now - answer.started
            answer.last_token_s = now - answer.started
            answer.generated.append(token)
            if token in self._stop_ids:
                answer.ended = True
                continue
            piece = answer.stream.step(answer.lane.base.tokenizer.backend, token)
            if piece:
                answer.pieces.append(piece)
                self._link.send(Token(id=self._number, lane=answer.lane.spec.name, text=piece))

    def end(self) -> None:
        pass

    def cancelled(self, ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        return torch.full((ids.shape[0],), self._number in self._link.cancelled, device=ids.device)


@contextlib.contextmanager
def _adapter_on(lane: LaneState) -> Iterator[None]:
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


def _batches(answers: list[Answer]) -> list[list[Answer]]:
    """Answers that can be generated together: one base, the same ends, adapters that mix, caches that can be cut."""
    groups: dict[Any, list[Answer]] = {}
    for number, answer in enumerate(answers):
        lane = answer.lane
        together = lane.base.mixable and croppable(lane.cache)
        key = (id(lane.base), lane.spec.stop_ids) if together else number
        groups.setdefault(key, []).append(answer)
    return list(groups.values())


def _room(answer: Answer, wanted: int) -> int:
    context = answer.lane.spec.context
    return wanted if context is None else min(wanted, context - len(answer.prompt))


def _sentence(error: Exception) -> str:
    text = str(error).strip().splitlines()
    if "out of memory" in str(error).lower():
        return "out of memory: shorten the conversation or close what else uses the GPU"
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def main(folder: str) -> int:
    spec = msgspec.json.decode(Path(folder, "engine.json").read_bytes(), type=Spec)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(spec.socket)
    link = Link(connection)
    link.send(Loading(doing="starting torch"))
    try:
        Engine(spec, link).run()
    except Exception as error:
        traceback.print_exc()
        link.send(Failed(message=_sentence(error), fatal=True))
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
