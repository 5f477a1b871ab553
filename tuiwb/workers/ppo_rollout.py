"""Answers to prompts, and what is known of them before the policy learns from them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig

from tuiwb.base.errors import RunFault
from tuiwb.data.render import Renderer
from tuiwb.recipe import Recipe
from tuiwb.workers import checkpoint, ppo_math
from tuiwb.workers.answers import Sampled
from tuiwb.workers.data import Data
from tuiwb.workers.ppo_processes import added
from tuiwb.workers.ppo_sequences import AnswerLogprobs, Sequences
from tuiwb.workers.ppo_team import Role, Team
from tuiwb.workers.rewards import Asked, Reward, question


@dataclass(frozen=True, slots=True)
class Settings:
    """The recipe's keys of this stage, with TRL's values where it leaves them out."""

    beta: float
    kl_estimator: ppo_math.Estimator
    kl_target: float | None
    kl_control: Literal["limit", "target"]
    kl_horizon: float
    gamma: float
    lam: float
    cliprange: float
    cliprange_value: float
    vf_coef: float
    whiten_rewards: bool
    missing_eos_penalty: float
    score_placement: ppo_math.Placement
    temperature: float
    num_ppo_epochs: int
    num_mini_batches: int

    @classmethod
    def of(cls, recipe: Recipe) -> "Settings":
        defaults: dict[str, Any] = {
            "beta": 0.05, "kl_estimator": "k1", "kl_target": None, "kl_control": "limit", "kl_horizon": 10000.0,
            "gamma": 1.0, "lam": 0.95, "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.1,
            "whiten_rewards": False, "missing_eos_penalty": 0.0, "score_placement": "eos", "temperature": 0.7,
            "num_ppo_epochs": 4, "num_mini_batches": 1,
        }  # fmt: skip
        stated = {name: getattr(recipe, name) for name in defaults}
        return cls(**{name: defaults[name] if value is None else value for name, value in stated.items()})


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers, and how likely policy and reference have them.

    Attributes:
        places: of the prompts.
        ended: whether the answer came to its end within the length, (answers,).
        old, reference, entropy: of the tokens, (answers, width).
        kl: distance of each answer from the reference, (answers,).
        live: `old` with its gradient, where it is kept for the first step on it.
    """

    places: Sequence[int]
    texts: Sequence[Sequence[int]]
    sequences: Sequences
    ended: Tensor
    old: Tensor
    reference: Tensor
    entropy: Tensor
    kl: Tensor
    live: Tensor | None


@dataclass(frozen=True, slots=True)
class Rollout:
    """Answers and what is known of them before the policy learns from them.

    Attributes:
        scores: of what judges, weighed and summed, (answers,), before the penalty; `judged` by whom, the mean of each.
        values, returns: of the tokens, (answers, width).
        gains: whitened advantages.
    """

    answered: Answered
    scores: Tensor
    judged: Mapping[str, float]
    earned: ppo_math.Rewards
    values: Tensor
    gains: Tensor
    returns: Tensor


class Sampler:
    """Lets the policy answer, and asks reference, value and judges about the answers.

    Args:
        asked: all prompts; they are named by their places here.
        rewards: what scores answers besides the reward model that shares the base.
        autocast: the precision that models compute in.
        told: called now and then, so that others see that something is done.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        team: Team,
        asked: Sequence[Asked],
        rewards: Sequence[Reward],
        *,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
        told: Callable[[], None],
    ) -> None:
        self.settings = Settings.of(recipe)
        self.micro = recipe.per_device_train_batch_size or 1
        self._team, self._asked, self._rewards = team, asked, rewards
        self._device, self._autocast, self._told = device, autocast, told
        self._at_once = recipe.local_rollout_forward_batch_size
        self._weights = recipe.reward_weights or (1.0,) * (len(rewards) + (team.reward is not None))
        self._tokenizer, self._stops = data.tokenizer, data.stop_ids()
        self._pad = checkpoint.pad_id(data.tokenizer)
        self._tail = answer_tail(data, self._stops)
        self.shown: list[Sampled] = []  # the answers of the last rollout, for people
        self._logprobs = {id(role): AnswerLogprobs(role.take()) for role in (team.policy, team.reference)}
        # Nothing of what the model usually samples with: top-k and top-p would make other probabilities than those that
        # are compared afterwards.
        team.policy.take().generation_config = GenerationConfig(
            do_sample=True,
            temperature=self.settings.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=recipe.max_completion_length or 256,
            eos_token_id=self._stops or None,
            pad_token_id=self._pad,
            use_cache=True,
        )

    @torch.no_grad()
    def answer(self, places: Sequence[int], *, live: bool = False) -> Answered:
        """Answer prompts, and ask policy and reference about the answers.

        Args:
            live: keep the policy's gradient, where all answers are a single batch: then what it thinks of them is the
                forward pass of its first step too. Of several batches it would take the memory of all at once.
        """
        settings, team = self.settings, self._team
        team.eval()
        prompts = [self._asked[place].ids for place in places]
        answers, ended = self._sample(prompts)
        sequences = Sequences.join(prompts, answers, self._pad, self._device)
        everywhere = torch.arange(len(sequences), device=self._device)
        shape = (len(sequences), sequences.width)
        old, entropy, reference = (torch.zeros(shape, device=self._device) for _ in range(3))
        batches = list(sequences.batches(everywhere, self.micro))
        kept = None
        for batch in batches:
            with torch.set_grad_enabled(live and len(batches) == 1):
                logprobs, entropy[batch] = self.logprobs(team.policy, sequences.part(batch))
                if logprobs.requires_grad:
                    kept = logprobs[batch.argsort()]
            old[batch] = logprobs.detach()
        for batch in batches:
            reference[batch], _ = self.logprobs(team.reference, sequences.part(batch))
        kl = ppo_math.distances(old, reference, sequences.mask, estimator=settings.kl_estimator).sum(1)
        return Answered(places, answers, sequences, ended, old, reference, entropy, kl, kept)

    @torch.no_grad()
    def judge(self, answered: Answered, beta: float) -> Rollout:
        """Ask judges and value about answers, and find out what each token earned."""
        settings, sequences = self.settings, answered.sequences
        found = self._scores(answered)
        scores = torch.stack([weight * each for weight, each in zip(self._weights, found.values(), strict=True)]).sum(0)
        judged = {f"rewards/{name}/mean": float(each.mean()) for name, each in found.items()}
        told = zip(answered.places, answered.texts, answered.ended.tolist(), scores.tolist(), strict=True)
        self.shown = [self._said(*one) for one in told]
        values = torch.zeros_like(answered.old)
        for batch in sequences.batches(torch.arange(len(sequences), device=self._device), self.micro):
            values[batch] = self.values(sequences.part(batch))
        earned = ppo_math.token_rewards(
            answered.old,
            answered.reference,
            scores - settings.missing_eos_penalty * ~answered.ended,
            sequences.answers,
            beta=beta,
            estimator=settings.kl_estimator,
            placement=settings.score_placement,
            whiten_rewards=settings.whiten_rewards,
            added=added,
        )
        values = torch.where(earned.value_mask, values, 0.0)
        gains, returns = ppo_math.advantages(
            earned.rewards, values, earned.value_mask, gamma=settings.gamma, lam=settings.lam
        )
        gains = torch.where(earned.mask, ppo_math.whiten(gains, earned.mask, added=added), 0.0)
        return Rollout(answered, scores, judged, earned, values, gains, returns)

    def _sample(self, prompts: Sequence[Sequence[int]]) -> tuple[list[list[int]], Tensor]:
        """An answer to each prompt, with the token that ended it, and whether one did."""
        model: Any = self._team.policy.take()
        stops = set(self._stops)
        answers, ended = [], []
        size = self._at_once or len(prompts)
        for start in range(0, len(prompts), size):
            some = prompts[start : start + size]
            longest = max(len(prompt) for prompt in some)
            # At the left, because answers go on at the right; told by lengths, because padding may be any token.
            ids = torch.tensor([[self._pad] * (longest - len(prompt)) + list(prompt) for prompt in some])
            mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in some])
            device = self._device
            with self._autocast():
                made = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device))
            for row in made[:, longest:].tolist():
                end = next((place + 1 for place, number in enumerate(row) if number in stops), 0)
                answers.append(row[: end or len(row)])
                ended.append(end > 0)
            self._told()
        return answers, torch.tensor(ended, device=self._device)

    def _said(self, place: int, answer: Sequence[int], ended: bool, score: float) -> Sampled:
        text = self._tokenizer.decode(list(answer), skip_special=True)
        return Sampled(question(self._asked[place].example), text, len(answer), ended, score)

    def _scores(self, answered: Answered) -> dict[str, Tensor]:
        """What each judge thinks of the answers, (answers,); nothing where it has no opinion."""
        places, answers, ended = answered.places, answered.texts, answered.ended
        texts = [self._tokenizer.decode(list(answer), skip_special=True) for answer in answers]
        told = {"prompts": [str(place) for place in places], "completions": texts, "completion_ids": answers}
        found = {}
        for reward in self._rewards:
            values = [0.0 if value is None else value for value in reward(**told)]
            found[reward.__name__] = torch.tensor(values, device=self._device)
        if self._team.reward is not None:
            finished = [
                [*answer, *(self._tail if end else ())] for answer, end in zip(answers, ended.tolist(), strict=True)
            ]
            prompts = [self._asked[place].ids for place in places]
            whole = Sequences.join(prompts, finished, self._pad, self._device)
            scores = torch.zeros(len(whole), device=self._device)
            for batch in whole.batches(torch.arange(len(whole), device=self._device), self.micro):
                with self._autocast():
                    scores[batch] = self._team.scores(whole.part(batch))
            found["reward_model"] = scores
        for name, scores in found.items():
            if not torch.isfinite(scores).all():
                raise RunFault(f"{name} gives an answer a score that is no number")
        return found

    def logprobs(self, role: Role, sequences: Sequences) -> tuple[Tensor, Tensor]:
        model = role.take()
        with self._autocast():
            return self._logprobs[id(role)](model, sequences, self.settings.temperature)

    def values(self, sequences: Sequences) -> Tensor:
        with self._autocast():
            return self._team.values(sequences)


def answer_tail(data: Data, stops: Sequence[int]) -> list[int]:
    """What the chat template writes behind the token that ends an answer, such as a line break: a reward model was
    trained to read an answer with it."""
    if data.template is None:
        return []
    renderer = Renderer(data.tokenizer, data.template)
    turns = [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]
    (encoded,) = renderer.encode([renderer.answer(*turns)])
    ids = encoded.ids.tolist()
    ends = [place for place, number in enumerate(ids) if number in stops]
    return ids[ends[-1] + 1 :] if ends else []
