"""Stage ppo: a policy answers prompts, is told how good the answers are, and learns to answer better without going far
from where it began.

One step of the trainer is one update: answers to a batch of prompts, what reference, reward and value think of them,
and some epochs of clipped steps on them. Everything of transformers' trainer around its step is as for the other
stages: optimizer, schedule, checkpoints, resuming.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainingArguments

from tuiwb.base import atomic
from tuiwb.base.errors import InputFault, RunFault
from tuiwb.recipe import Recipe, dumps
from tuiwb.workers import checkpoint, ppo_math
from tuiwb.workers.arguments import training_arguments
from tuiwb.workers.callback import RunCallback
from tuiwb.workers.data import Data
from tuiwb.workers.ppo_rollout import Rollout, Sampler, Settings
from tuiwb.workers.ppo_team import Team, build_team, shares_base
from tuiwb.workers.rewards import Asked, Reward, model_reward, rewards_of
from tuiwb.workers.running import RunTrainer
from tuiwb.workers.sampling import asked_of
from tuiwb.workers.scorer import Scorer

_STATE = "ppo_state.json"
# So far may a probability be off between sampling and the first step on it; in float32 it is off by rounding alone.
_RATIO_OFF = 1e-2


class Trainer(RunTrainer):
    """Proximal policy optimization on exactly the prepared prompts.

    Args:
        callback: is told of every update and told what was asked for.
        asked: all prompts, those that are trained on before those that are held out.
        trained: how many of them are trained on.
        rewards: what scores answers besides the reward model that shares the base.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        callback: RunCallback,
        output: Path,
        *,
        team: Team,
        asked: Sequence[Asked],
        trained: int,
        rewards: Sequence[Reward],
    ) -> None:
        self.settings = Settings.of(recipe)
        self.team = team
        self.beta = self.settings.beta
        self._asked, self._held = asked, range(trained, len(asked))
        self._mini = (recipe.per_device_train_batch_size or 1) * (recipe.gradient_accumulation_steps or 1)
        update = self._mini * self.settings.num_mini_batches
        self._checkpointing = bool(recipe.gradient_checkpointing)
        self._seen: list[dict[str, float]] = []
        self._updates = self._update_tokens = 0
        super().__init__(
            recipe,
            data,
            callback,
            model=team,
            args=training_arguments(
                TrainingArguments,
                recipe,
                output,
                measured=bool(data.held_out),
                per_device_train_batch_size=update,
                gradient_accumulation_steps=1,
                gradient_checkpointing=False,
            ),
            train_dataset=_places(range(trained), asked),
            eval_dataset=_places(self._held, asked) if self._held else None,
            data_collator=_collate,
        )
        self._sampler = Sampler(
            recipe,
            data,
            team,
            asked,
            rewards,
            device=self.args.device,
            autocast=self.accelerator.autocast,
            told=self._substep,
        )
        if self._checkpointing:
            for role in (team.policy, team.critic):
                role.take().gradient_checkpointing_enable({"use_reentrant": False})
        team.eval()

    def create_optimizer(self, model: Any = None) -> Any:
        """The trainer's own, with the value's parameters in groups with a rate of their own, where it has one."""
        made, rate = super().create_optimizer(model), self._recipe.critic_learning_rate
        if rate is None or rate == self.args.learning_rate:
            return made
        theirs = {id(parameter) for parameter in self.team.critic_parameters()}
        for group in list(made.param_groups):
            critic = [parameter for parameter in group["params"] if id(parameter) in theirs]
            if critic:
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in theirs]
                made.add_param_group({**group, "params": critic, "lr": rate})
        return made

    def _substep(self) -> None:
        self.callback_handler.on_substep_end(self.args, self.state, self.control)

    # An update

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One update but for its last step, which is the trainer's: the gradient of the last minibatch stays.

        Returns:
            the mean loss of its minibatches.
        """
        rollout = self._sampler.roll_out(inputs["places"].tolist(), self.beta)
        tokens = int(rollout.sequences.lengths.sum())
        self._tokens += tokens
        self._updates, self._update_tokens = self._updates + 1, self._update_tokens + tokens
        self._trained += int(rollout.sequences.answers.sum())
        measured = self._learn(rollout)
        self._seen.append({**self._told(rollout), **measured})
        if self.settings.kl_target is not None:
            self.beta = ppo_math.adapted_beta(
                self.beta,
                float(rollout.earned.kl.sum(1).mean()),
                target=self.settings.kl_target,
                horizon=self.settings.kl_horizon,
                samples=len(rollout.sequences),
            )
        return torch.tensor(measured["loss"], device=self.args.device)

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        """Some epochs over the answers, in minibatches; all their steps but the last.

        Returns:
            means over the minibatches; `val/ratio_error` is how far a token's probability was off before the first.
        """
        settings, count = self.settings, len(rollout.sequences)
        # Checkpointing is done in training mode alone; there is no dropout, so nothing else depends on it.
        self.team.train(self._checkpointing)
        minibatches = [
            rows
            for _ in range(settings.num_ppo_epochs)
            for rows in torch.randperm(count, device=self.args.device).split(min(self._mini, count))
        ]
        sums: dict[str, float] = {}
        at_start = 0.0
        for number, rows in enumerate(minibatches):
            if number:
                if self.args.max_grad_norm:
                    self._clip_grad_norm(self.model)
                self.optimizer.step()
                self.model.zero_grad()
            found = self._minibatch(rollout, rows)
            off = found.pop("off")
            if not number:
                self._check_ratio(off)
                at_start = off
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value
            self._substep()
        self.team.eval()
        return {name: value / len(minibatches) for name, value in sums.items()} | {"val/ratio_error": at_start}

    def _minibatch(self, rollout: Rollout, rows: Tensor) -> dict[str, float]:
        """The gradient of a minibatch, of the policy's part and then of the value's: they share no parameter."""
        settings, sequences = self.settings, rollout.sequences
        mask, value_mask = rollout.earned.mask, rollout.earned.value_mask
        tokens, states = mask[rows].sum(), value_mask[rows].sum()
        sums = dict.fromkeys(("policy", "clipped", "value", "value_clipped", "kl", "ratio", "squared"), 0.0)
        off = 0.0
        for batch in sequences.batches(rows, self._sampler.micro):
            logprobs, _ = self._sampler.logprobs(self.team.policy, sequences.part(batch))
            loss = ppo_math.policy_loss(
                logprobs, rollout.old[batch], rollout.gains[batch], mask[batch], cliprange=settings.cliprange
            )
            self.accelerator.backward(loss.total / tokens)
            change = (logprobs.detach() - rollout.old[batch])[mask[batch]]
            sums["policy"] += float(loss.total.detach())
            sums["clipped"] += float(loss.clipped)
            sums["kl"] += float(0.5 * (change**2).sum())
            sums["ratio"] += float(change.exp().sum())
            sums["squared"] += float((change.exp() ** 2).sum())
            off = max(off, float((change.exp() - 1).abs().max()))
        for batch in sequences.batches(rows, self._sampler.micro):
            values = self._sampler.values(sequences.part(batch))
            loss = ppo_math.value_loss(
                values, rollout.values[batch], rollout.returns[batch], value_mask[batch],
                cliprange=settings.cliprange_value,
            )  # fmt: skip
            self.accelerator.backward(settings.vf_coef * loss.total / states)
            sums["value"] += float(loss.total.detach())
            sums["value_clipped"] += float(loss.clipped)
        policy, value = sums["policy"] / int(tokens), sums["value"] / int(states)
        ratio = sums["ratio"] / int(tokens)
        return {
            "loss": policy + settings.vf_coef * value,
            "loss/policy_avg": policy,
            "loss/value_avg": value,
            "policy/approxkl_avg": sums["kl"] / int(tokens),
            "policy/clipfrac_avg": sums["clipped"] / int(tokens),
            "val/clipfrac_avg": sums["value_clipped"] / int(states),
            "val/ratio": ratio,
            "val/ratio_var": max(sums["squared"] / int(tokens) - ratio**2, 0.0),
            "off": off,
        }

    def _check_ratio(self, off: float) -> None:
        """Before the first step on new answers the policy is the one that sampled them."""
        if off > _RATIO_OFF and not (self.args.bf16 or self.args.fp16):
            raise RunFault(
                f"the policy gives its own answers other probabilities than a moment before (off by {off:.2g}), so it "
                "would learn from errors of computing; try attn_implementation: eager"
            )

    def _told(self, rollout: Rollout) -> dict[str, float]:
        """What is known of an update's answers, in the names of TRL 1.12."""
        earned, lengths = rollout.earned, rollout.sequences.answers.float()
        kl, penalty = earned.kl.sum(1).mean(), earned.penalties.sum(1).mean()
        return {
            **rollout.judged,
            "reward": float(rollout.scores.mean()),
            "reward_std": float(rollout.scores.std(correction=0)),
            "objective/kl": float(kl),
            "objective/entropy": float(ppo_math.masked_mean(rollout.entropy, earned.mask)),
            "objective/non_score_reward": float(penalty),
            "objective/rlhf_reward": float(penalty + rollout.scores.mean()),
            "objective/beta": self.beta,
            "val/explained_variance": ppo_math.explained_variance(rollout.values, rollout.returns, earned.value_mask),
            "completions/mean_length": float(lengths.mean()),
            "completions/max_length": float(lengths.max()),
            "completions/clipped_ratio": float((~rollout.ended).float().mean()),
        }

    # Around it

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """How good the answers to the held-out prompts are, sampled the same way each time, and without a trace in what
        the training draws."""
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        sums: dict[str, float] = {}
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.args.seed)
            for start in range(0, len(self._held), self.args.per_device_eval_batch_size):
                places = self._held[start : start + self.args.per_device_eval_batch_size]
                found = self._told(self._sampler.roll_out(places, self.beta))
                for name in ("reward", "objective/kl", "completions/mean_length", "completions/clipped_ratio"):
                    sums[name] = sums.get(name, 0.0) + found[name] * len(places)
                self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        metrics = {f"{metric_key_prefix}_{name}": value / len(self._held) for name, value in sums.items()}
        self.log(metrics)
        self.answer_prompts()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def answer_prompts(self) -> None:
        self._answers.write(self.team.policy.take(), self.state)
        self._answers.sampled(self._sampler.shown, self.state)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the means of the updates since the last log."""
        if "loss" in logs and self._seen:
            means = {name: sum(one[name] for one in self._seen) / len(self._seen) for name in self._seen[0]}
            self.run_callback.expect(self._update_tokens / self._updates * self.state.max_steps)
            logs = {**means, **logs}
            self._seen = []
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.team.save(folder)
        atomic.write_json(folder / _STATE, {"beta": self.beta})
        data = self._data
        checkpoint.write_companions(folder, data.tokenizer, data.template, self._stop_ids, dumps(self._recipe))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        self.team.load(folder)
        self.beta = float(json.loads((folder / _STATE).read_bytes())["beta"])

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


def build(recipe: Recipe, data: Data, callback: RunCallback, output: Path, device: torch.device) -> Trainer:
    """As `stages.Builder`."""
    asked, trained = asked_of(recipe, data)
    rewards, judge = rewards_of(recipe, asked), None
    named = recipe.reward_model_name_or_path
    if named and not shares_base(named, recipe):
        dtype = torch.float32 if device.type == "cpu" or not recipe.bf16 else torch.bfloat16
        judge = Scorer(named, device=device, dtype=dtype)
        rewards.append(model_reward(judge, asked))
    elif not named and not rewards:
        raise InputFault(
            "nothing scores the answers; name reward_model_name_or_path or reward_funcs",
            key="reward_model_name_or_path",
        )
    team = build_team(recipe, device, judge)
    return Trainer(recipe, data, callback, output, team=team, asked=asked, trained=trained, rewards=rewards)


def _places(places: range, asked: Sequence[Asked]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"place": list(places), "length": [len(asked[place].ids) for place in places]})


def _collate(items: Sequence[Mapping[str, int]]) -> dict[str, Tensor]:
    return {"places": torch.tensor([item["place"] for item in items])}
