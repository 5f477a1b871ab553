"""The chat engine: `python -m tuiwb.workers.chat FOLDER`, where FOLDER holds `engine.json` (a `chat.protocol.Spec`).

One copy of each base model, any number of adapters on it, a lane for each. A lane keeps the keys and values of its
conversations, and a new turn computes only what follows the longest common prefix with what is kept. Lanes that share a
base, and questions that wait together, are answered in one batch with an adapter for each row. The engine ends when its
client does.
"""

import socket
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tuiwb.base.errors import InputFault, RunFault, TuiwbError
from tuiwb.chat import protocol
from tuiwb.chat.protocol import Ask, Failed, Loading, Sampling, Spec
from tuiwb.workers.chat_answers import Answer, LaneState, batches, generate, prefill
from tuiwb.workers.chat_cache import Shelf
from tuiwb.workers.chat_engine import LaneEngine
from tuiwb.workers.chat_link import Link
from tuiwb.workers.chat_llama import LlamaEngine, suits
from tuiwb.workers.chat_model import Base, load_model, put_adapter

_MOST_ROWS = 16
"""Answers of one batch: more wait for the next one."""


class Engine(LaneEngine):
    """Loads lanes and answers questions: those that wait together, together."""

    def __init__(self, spec: Spec, link: Link) -> None:
        super().__init__(spec, link)
        self._bases: dict[tuple[str, str | None], Base] = {}
        self._lanes: dict[str, LaneState] = {}
        self._draft: Base | None = None

    def prepare(self) -> None:
        super().prepare()
        if self._spec.draft is not None:
            self._load_draft(self._spec.draft)

    def where(self) -> tuple[str, str]:
        model = next(iter(self._bases.values())).model
        return str(model.device), str(model.dtype).removeprefix("torch.")

    def names(self) -> Iterable[str]:
        return self._lanes

    def sentence(self, error: Exception) -> str:
        return sentence(error)

    def answer(self, ask: Ask) -> None:
        self._answer([ask, *self._companions(ask)])

    def _companions(self, first: Ask) -> list[Ask]:
        """The questions that wait already and can be answered in one batch with `first`."""
        found: list[Ask] = []
        waiting = self._link.requests
        while not waiting.empty() and sum(len(ask.lanes) for ask in [first, *found]) < _MOST_ROWS:
            request = waiting.get()
            if isinstance(request, Ask) and _same_sampling(first.sampling, request.sampling):
                found.append(self.answerable(request))
            else:
                waiting.queue.appendleft(request)  # only this thread takes from it
                break
        return found

    def load(self, lane: protocol.Lane) -> None:
        try:
            self._load(lane)
        except Exception as error:
            gone = next((place for place in (lane.model, lane.adapter) if place and not Path(place).exists()), None)
            if gone is None:
                raise
            text = "is not there any more; a run that trains keeps only its newest checkpoints: choose it again"
            raise InputFault(text, file=gone) from error

    def _load(self, lane: protocol.Lane) -> None:
        from tuiwb import models

        key = (lane.model, lane.quantization)
        if key not in self._bases:
            self._link.send(Loading(doing=f"loading {Path(lane.model).name}"))
            self._bases[key] = Base(
                model=load_model(lane.model, self._spec.dtype, quantization=lane.quantization),
                tokenizer=models.load_tokenizer(protocol.tokenizer_place(lane.model, lane.adapter)),
            )
        base = self._bases[key]
        if lane.adapter is not None:
            self._link.send(Loading(doing=f"loading the adapter {lane.name}"))
            put_adapter(base, lane.adapter, lane.name)
        template = base.tokenizer.template(lane.template)
        adapter = None if lane.adapter is None else lane.name
        self._lanes[lane.name] = LaneState(
            spec=lane, base=base, adapter=adapter, template=template, shelf=Shelf(self._spec.kept)
        )

    def _load_draft(self, path: str) -> None:
        from tuiwb import models

        self._link.send(Loading(doing=f"loading the draft model {Path(path).name}"))
        tokenizer = models.load_tokenizer(Path(path))
        for base in self._bases.values():
            if base.tokenizer.vocab_size != tokenizer.vocab_size or any(
                base.tokenizer.encode(text) != tokenizer.encode(text) for text in ("Two words", "naïve 東京\n")
            ):
                raise InputFault("the draft model has other tokens than the model: choose one of the same family")
        self._draft = Base(model=load_model(path, self._spec.dtype), tokenizer=tokenizer)

    def _answer(self, asks: list[Ask]) -> None:
        import torch

        seed = asks[0].sampling.seed
        if seed is not None:
            torch.manual_seed(seed)
        else:
            torch.seed()
        started = time.monotonic()
        answers: list[Answer] = []
        alone = sum(len(ask.lanes) for ask in asks) == 1 and self._draft is None
        for ask in asks:
            for wanted in ask.lanes:
                try:
                    answers.append(prefill(self._lanes[wanted.lane], wanted, ask, started, answers, alone=alone))
                except Exception as error:
                    self.failed(error, ask.id, wanted.lane)
        for batch in batches(answers):
            try:
                generate(batch, self._link, self._draft)
            except Exception as error:
                # Nobody knows what the caches hold now, and they are not put back.
                for answer in batch:
                    self.failed(error, answer.ask.id, answer.lane.spec.name)
        self._link.cancelled.difference_update(ask.id for ask in asks)


def _same_sampling(one: Sampling, other: Sampling) -> bool:
    """Whether answers with these settings can share a batch: each row has its own limit and stop texts, and a seed is
    for one answer alone."""
    if one.seed is not None or other.seed is not None:
        return False
    return msgspec.structs.replace(one, max_new_tokens=1, stop=()) == msgspec.structs.replace(
        other, max_new_tokens=1, stop=()
    )


def sentence(error: Exception) -> str:
    """An error in one sentence."""
    if isinstance(error, InputFault):
        return str(error)
    text = str(error).strip().splitlines()
    if "out of memory" in str(error).lower():
        return "out of memory: shorten the conversation or close what else uses the GPU"
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def main(folder: str) -> int:
    spec = msgspec.json.decode(Path(folder, "engine.json").read_bytes(), type=Spec)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(spec.socket)
    link = Link(connection)
    try:
        if suits(spec):
            LlamaEngine(spec, link, Path(folder)).run()
        link.send(Loading(doing="starting torch"))
        Engine(spec, link).run()
    except Exception as error:
        traceback.print_exc()
        code = error.exit_code if isinstance(error, TuiwbError) else RunFault.exit_code
        link.send(Failed(message=sentence(error), fatal=True, exit_code=code))
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
