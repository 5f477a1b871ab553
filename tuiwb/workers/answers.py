"""What the model answers at each evaluation, in the part's answers.jsonl: to the recipe's `sample_prompts`, and, where
it learns from answers that it samples, some of those with what they were worth."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import TrainerState

from tuiwb import rundir
from tuiwb.data.example import Example
from tuiwb.data.render import Renderer
from tuiwb.recipe import Recipe
from tuiwb.rundir import MetricsWriter, PartDir, RunDir
from tuiwb.workers.checkpoint import pad_id
from tuiwb.workers.data import Data

_LENGTH = 128
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Sampled:
    """An answer that was sampled to learn from, or to measure on."""

    prompt: str
    answer: str
    tokens: int
    ended: bool
    score: float


class Answers:
    """Answers a recipe's prompts, always by the likeliest token, so that they differ only where the model does; and
    writes down what it is told of sampled ones.

    Args:
        stop_ids: ids that end an answer.
    """

    def __init__(self, recipe: Recipe, data: Data, stop_ids: Sequence[int], run: RunDir, part: PartDir) -> None:
        self._run, self._part = run, part
        self._tokenizer = data.tokenizer
        self._length = recipe.max_completion_length or _LENGTH
        self._stops = list(stop_ids)
        # A model with a head that scores writes nothing.
        asked = () if recipe.stage == "reward" else recipe.sample_prompts or ()
        self._prompts = [(prompt, _ids(prompt, data)) for prompt in asked]

    @torch.no_grad()
    def write(self, model: Any, state: TrainerState) -> None:
        """Answer all prompts; the first process alone writes them down."""
        if not self._prompts:
            return
        training = model.training
        model.eval()
        found = []
        for prompt, ids in self._prompts:
            inputs = torch.tensor([ids], device=model.device)
            made = model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=self._length,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                use_cache=True,
                eos_token_id=self._stops or None,
                pad_token_id=pad_id(self._tokenizer),
            )[0, len(ids) :].tolist()
            ended = bool(made) and made[-1] in self._stops
            answer = self._tokenizer.decode(made, skip_special=True)
            found.append({"prompt": prompt, "answer": answer, "tokens": len(made), "ended": ended})
        model.train(training)
        self._note(found, state)

    def sampled(self, answers: Sequence[Sampled], state: TrainerState) -> None:
        """Write down the first few of these."""
        self._note([asdict(one) for one in answers[:_SHOWN]], state)

    def _note(self, found: Sequence[dict[str, Any]], state: TrainerState) -> None:
        if not found or not state.is_world_process_zero:
            return
        attempt = rundir.current_attempt(self._run)
        writer = MetricsWriter(self._part.answers_file)
        for one in found:
            writer.write({"time": time.time(), "attempt": attempt, "current_steps": state.global_step, **one})
        writer.close()


def _ids(prompt: str, data: Data) -> list[int]:
    """A prompt as the model is asked: a user's turn where there is a template, else plain text."""
    asked: Any = prompt if data.template is None else [{"role": "user", "content": prompt}]
    renderer = Renderer(data.tokenizer, data.template)
    (encoded,) = renderer.encode([renderer.prompt(Example(id=0, prompt=asked))])
    return [int(number) for number in encoded.ids]
