"""The chat engine for GGUF files: llama.cpp in this process (the wheel xllamacpp), behind the same protocol.

It computes with the file's own quantization, where torch has to unpack it. The two agree on files in float32; on
quantized ones llama.cpp rounds what goes into each matrix to 8 bits as well, so that its answers may take another turn.
Prompts are rendered and encoded by us, so that the model reads the ids that the screen shows. llama.cpp keeps the keys
and values of conversations itself.
"""

import importlib.util
import json
import os
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiwb.base.errors import InputFault
from tuiwb.chat.protocol import Ask, Done, Lane, LaneAsk, Loading, Sampling, Spec, Token
from tuiwb.workers.chat_engine import LaneEngine
from tuiwb.workers.chat_link import Link

_LONGEST = 8192
"""Tokens of all conversations together that are kept in memory."""
_SLOTS = 4
"""Answers at once."""


def suits(spec: Spec) -> bool:
    """Whether llama.cpp is here, no worse than torch, and every lane is a GGUF file as it is."""
    return (
        importlib.util.find_spec("xllamacpp") is not None
        and spec.draft is None
        and spec.dtype == "auto"
        and bool(spec.lanes)
        and all(_is_file(lane) for lane in spec.lanes)
        and _computes_where_torch_does()
    )


def _computes_where_torch_does() -> bool:
    """The wheel on PyPI computes on processors alone: where there is a GPU, torch is faster."""
    from tuiwb import hardware

    if not any(gpu.visible for gpu in hardware.gpus()):
        return True
    import xllamacpp

    return any("CPU" not in str(device["type"]) for device in xllamacpp.get_device_info())


def _is_file(lane: Lane) -> bool:
    return lane.model.endswith(".gguf") and lane.adapter is None and lane.quantization is None


@dataclass
class _Loaded:
    lane: Lane
    server: Any
    tokenizer: Any
    template: Any
    context: int


@dataclass
class _Answer:
    """An answer under way."""

    started: float
    text: str = ""
    first: float = 0.0
    last: float = 0.0
    reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class LlamaEngine(LaneEngine):
    """Loads GGUF files and answers questions, up to four at once."""

    def __init__(self, spec: Spec, link: Link, folder: Path) -> None:
        super().__init__(spec, link)
        self._folder = folder
        self._servers: dict[str, Any] = {}
        self._lanes: dict[str, _Loaded] = {}

    def where(self) -> tuple[str, str]:
        return "llama.cpp", Path(next(iter(self._servers))).stem.rpartition(".")[2] or "GGUF"

    def names(self) -> Iterable[str]:
        return self._lanes

    def sentence(self, error: Exception) -> str:
        return f"llama.cpp: {error}"

    def add(self, lane: Lane) -> None:
        if not _is_file(lane):
            raise InputFault("llama.cpp answers here: start the engine again (e) to talk to this beside it")
        self.load(lane)

    def answer(self, ask: Ask) -> None:
        for wanted in ask.lanes:
            threading.Thread(target=self._answer, args=(ask, wanted), daemon=True).start()

    def load(self, lane: Lane) -> None:
        from tuiwb import models

        context = min(lane.context or _LONGEST, _LONGEST)
        if lane.model not in self._servers:
            self._link.send(Loading(doing=f"loading {Path(lane.model).name}"))
            self._servers[lane.model] = _server(lane.model, context, self._folder / f"{len(self._servers)}.sock")
        tokenizer = models.load_tokenizer(Path(lane.model))
        template = tokenizer.template(lane.template)
        self._lanes[lane.name] = _Loaded(lane, self._servers[lane.model], tokenizer, template, context)

    def _answer(self, ask: Ask, wanted: LaneAsk) -> None:
        lane = self._lanes[wanted.lane]
        try:
            prompt = lane.tokenizer.encode(lane.template.render(wanted.messages, add_generation_prompt=True))
            if len(prompt) >= lane.context:
                raise InputFault(
                    f"the conversation has {len(prompt):,} tokens, and {lane.context:,} fit here: start a new one"
                )
            self._link.send(self._generated(ask, lane, prompt))
        except Exception as error:
            self.failed(error, ask.id, wanted.lane)

    def _generated(self, ask: Ask, lane: _Loaded, prompt: list[int]) -> Done:
        limit = min(ask.sampling.max_new_tokens, lane.context - len(prompt))
        answer = _Answer(time.monotonic())

        def take(chunk: Any) -> bool:
            """Returns whether it is enough."""
            document = json.loads(chunk) if isinstance(chunk, str | bytes) else chunk
            if "error" in document:
                answer.problem = str(document["error"].get("message", document["error"]))
                return True
            answer.usage |= document.get("usage") or {}
            for choice in document.get("choices") or ():
                answer.reason = choice.get("finish_reason") or answer.reason
                if text := choice.get("text"):
                    answer.last = time.monotonic() - answer.started
                    answer.first = answer.first or answer.last
                    answer.text += text
                    self._link.send(Token(id=ask.id, lane=lane.lane.name, text=text))
            return ask.id in self._link.cancelled

        lane.server.handle_completions(_request(prompt, ask.sampling, limit), take)
        if answer.problem:
            raise InputFault(answer.problem)
        count = int(answer.usage.get("completion_tokens") or 0)
        details = answer.usage.get("prompt_tokens_details") or {}
        spent = answer.last - answer.first
        return Done(
            id=ask.id,
            lane=lane.lane.name,
            reason=answer.reason or ("cancel" if ask.id in self._link.cancelled else "stop"),
            text=answer.text,
            prompt_tokens=len(prompt),
            cached_tokens=int(details.get("cached_tokens") or 0),
            completion_tokens=count or None,
            first_token_s=answer.first,
            tokens_per_s=(count - 1) / spent if count > 1 and spent > 0 else None,
            context_left=lane.context - len(prompt) - count,
        )


def _request(prompt: list[int], sampling: Sampling, limit: int) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "prompt": prompt,
        "max_tokens": limit,
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_prompt": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "stop": list(sampling.stop),
    }
    return wanted if sampling.seed is None else wanted | {"seed": sampling.seed}


def _server(file: str, context: int, address: Path) -> Any:
    """llama.cpp with a model. It also listens, which cannot be switched off: on a socket in the engine's private
    folder, under a key that nobody knows."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx, parameters.n_parallel, parameters.kv_unified = context, _SLOTS, True
    parameters.cpuparams.n_threads = os.cpu_count() or 1
    parameters.warmup = False
    parameters.hostnames, parameters.api_keys = [str(address)], [secrets.token_urlsafe(24)]
    parameters.verbosity = 0
    return xllamacpp.Server(parameters)
