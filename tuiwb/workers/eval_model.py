"""What the eval worker asks a model: losses of given texts, and answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tuiwb import data, endpoints, models
from tuiwb.base.errors import InputFault
from tuiwb.chat.protocol import tokenizer_place
from tuiwb.data.example import Turns
from tuiwb.data.render import Renderer
from tuiwb.data.sides import render_sides
from tuiwb.evaluate.spec import Subject
from tuiwb.workers.chat_answers import adapter_on
from tuiwb.workers.chat_model import Base, load_model, put_adapter

_CHUNK = 512
"""Positions whose logits are looked at together: a vocabulary of 150,000 in float32 is 300 MB then."""
_ASKED_AT_ONCE = 8


class Voice(Protocol):
    """A subject, ready."""

    def loss(self, example: data.Example) -> dict[str, Any]:
        """Sum of the losses of the trained tokens: `nll` (nats), `tokens`, `bytes`."""

    def perplexity(self, example: data.Example, window: int, stride: int) -> dict[str, Any]:
        """Sum of the losses of all tokens by a sliding window: `nll` (nats), `tokens`, `bytes`."""

    def answer(self, asked: Sequence[data.Example], limit: int) -> list[dict[str, Any]]:
        """`answer`, `answer_tokens` and `reason` for each prompt, greedily."""


class Models:
    """Loads each base once, and puts adapters on it.

    Args:
        dtype: as `chat.protocol.Spec.dtype`.
        told: what is being loaded.
    """

    def __init__(self, dtype: str, told: Callable[[str], None]) -> None:
        self._dtype, self._told = dtype, told
        self._bases: dict[tuple[str, str | None], Base] = {}
        self._voices: dict[str, Voice] = {}

    def voice(self, subject: Subject) -> Voice:
        """The subject, loaded if it is not yet. Models of other subjects are dropped where they are not its base."""
        if subject.name not in self._voices:
            self._voices[subject.name] = self._open(subject)
        return self._voices[subject.name]

    def _open(self, subject: Subject) -> Voice:
        if not subject.model:
            return Remote(subject)
        key = (subject.model, subject.quantization)
        if key not in self._bases:
            self._bases.clear()
            self._voices.clear()
            self._told(f"loading {Path(subject.model).name}")
            self._bases[key] = Base(
                model=load_model(subject.model, self._dtype, quantization=subject.quantization),
                tokenizer=models.load_tokenizer(tokenizer_place(subject.model, subject.adapter)),
            )
        base = self._bases[key]
        if subject.adapter is not None:
            self._told(f"loading the adapter of {subject.name}")
            put_adapter(base, subject.adapter, subject.name)
        return Local(subject, base)


class Local:
    """A model in this process."""

    def __init__(self, subject: Subject, base: Base) -> None:
        self.base = base
        self.adapter = None if subject.adapter is None else subject.name
        self._subject = subject
        tokenizer = base.tokenizer
        self._renderer = Renderer(tokenizer, tokenizer.template(subject.template) if subject.template else None)

    def loss(self, example: data.Example) -> dict[str, Any]:
        sides = render_sides(example, self._renderer)
        rendered = next(iter(sides.values()))
        ids, trained = rendered.ids, rendered.mask
        if self._subject.context is not None:
            ids, trained = ids[: self._subject.context], trained[: self._subject.context]
        targets = [at for at in range(1, len(ids)) if trained[at]]
        size = len(self.base.tokenizer.decode([ids[at] for at in targets]).encode())
        return {"nll": self.nll(ids, targets), "tokens": len(targets), "bytes": size}

    def perplexity(self, example: data.Example, window: int, stride: int) -> dict[str, Any]:
        text = example.text
        if text is None:
            text = next(iter(render_sides(example, self._renderer).values())).text
        ids = self.base.tokenizer.encode(text)
        start = self._start()
        if start is not None and ids[:1] != [start]:
            ids = [start, *ids]  # so that the first token of the text has something before it, and is counted
        total = 0.0
        for begin, first, end in windows(len(ids), min(window, self._subject.context or window), stride):
            total += self.nll(ids[begin:end], list(range(first - begin, end - begin)))
        return {"nll": total, "tokens": max(len(ids) - 1, 0), "bytes": len(text.encode("utf-8", "replace"))}

    def nll(self, ids: Sequence[int], targets: Sequence[int]) -> float:
        """The sum of -log p of the tokens at `targets`, each given all before it, in nats."""
        import torch

        if not targets:
            return 0.0
        device = self.base.model.device
        whole = torch.tensor([list(ids)], device=device)
        total = torch.zeros((), dtype=torch.float64)
        with torch.inference_mode(), adapter_on(self):
            at = torch.tensor(targets, device=device)
            if len(targets) <= _CHUNK:
                logits = self.base.model(input_ids=whole, use_cache=False, logits_to_keep=at - 1).logits[0]
                return float(_nll(logits, whole[0, at]))
            hidden = self.base.model.base_model(input_ids=whole, use_cache=False).last_hidden_state[0]
            head = self.base.model.get_output_embeddings()
            for start in range(0, len(targets), _CHUNK):
                some = at[start : start + _CHUNK]
                total += _nll(self._scaled(head(hidden[some - 1])), whole[0, some]).cpu()
        return float(total)

    def _scaled(self, logits: Any) -> Any:
        """As the model's own head does to them (Gemma caps logits)."""
        import torch

        cap = getattr(self.base.model.config, "final_logit_softcapping", None)
        return logits if not cap else torch.tanh(logits / cap) * cap

    def answer(self, asked: Sequence[data.Example], limit: int) -> list[dict[str, Any]]:
        import torch
        from transformers import GenerationConfig

        layouts = [self._renderer.prompt(example) for example in asked]
        prompts = [list(map(int, each.ids)) for each in self._renderer.encode(layouts)]
        context = self._subject.context
        if context is not None and (longest := max(map(len, prompts))) >= context:
            raise InputFault(f"a prompt has {longest:,} tokens, and the context of {self._subject.name} is {context:,}")
        longest = max(map(len, prompts))
        stops = list(self._subject.stop_ids)
        device = self.base.model.device
        ids = torch.tensor([[stops[0]] * (longest - len(each)) + each for each in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in prompts], device=device)
        room = limit if context is None else min(limit, context - longest)
        config = GenerationConfig(do_sample=False, max_new_tokens=room, eos_token_id=stops, pad_token_id=stops[0])
        with torch.inference_mode(), adapter_on(self):
            made = self.base.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        return [self._answer(row) for row in made[:, longest:].tolist()]

    def _answer(self, tokens: list[int]) -> dict[str, Any]:
        stops = set(self._subject.stop_ids)
        end = next((at for at, token in enumerate(tokens) if token in stops), None)
        kept = tokens if end is None else tokens[:end]
        text = self.base.tokenizer.decode(kept, skip_special=True)
        return {"answer": text, "answer_tokens": len(kept), "reason": "length" if end is None else "stop"}

    def _start(self) -> int | None:
        tokenizer = self.base.tokenizer
        return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


class Remote:
    """An endpoint, which answers but tells no losses."""

    def __init__(self, subject: Subject) -> None:
        self._endpoint = endpoints.find(subject.name)

    def loss(self, example: data.Example) -> dict[str, Any]:
        raise InputFault(f"{self._endpoint.name} tells no losses: measure its answers, such as with --metric exact")

    def perplexity(self, example: data.Example, window: int, stride: int) -> dict[str, Any]:
        return self.loss(example)

    def answer(self, asked: Sequence[data.Example], limit: int) -> list[dict[str, Any]]:
        parameters = {"temperature": 0.0, "max_tokens": limit}
        answers = []
        for example in asked:
            end = endpoints.complete(self._endpoint, _messages(example.prompt), parameters)
            tokens = end.completion_tokens
            answers.append({"answer": end.text, "answer_tokens": 0 if tokens is None else tokens, "reason": end.reason})
        return answers


def windows(length: int, window: int, stride: int) -> "list[tuple[int, int, int]]":
    """How a text of `length` tokens is read: begin of the window, its first token that is counted, its end. Each token
    but the very first is counted once, with at least `window - stride` tokens before it where there are so many."""
    found, counted, begin = [], 1, 0
    while counted < length:
        end = min(begin + window, length)
        found.append((begin, counted, end))
        counted, begin = end, begin + stride
    return found


def _nll(logits: Any, targets: Any) -> Any:
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.float(), targets, reduction="none").double().sum()


def _messages(prompt: Turns | None) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt or [])
