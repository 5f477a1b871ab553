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
from tuiwb.workers.ppo_distance import TRIES, DistanceControl
from tuiwb.workers.ppo_processes import added, averaged, join_gradients
from tuiwb.workers.ppo_rollout import Answered, Rollout, Sampler, Settings
from tuiwb.workers.ppo_team import Team, build_team, shares_base
from tuiwb.workers.rewards import Asked, Reward, model_reward, rewards_of
from tuiwb.workers.running import RunTrainer
from tuiwb.workers.sampling import asked_of
from tuiwb.workers.scorer import Scorer

_STATE = "ppo_state.json"
# So far may a probability be off between sampling and the first step on it; in float32 it is off by rounding alone.
_RATIO_OFF = 1e-2
_OF_VALUE = ("loss/value_avg", "val/clipfrac_avg")


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
        self.distance = DistanceControl(self.settings)
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

    def get_train_dataloader(self) -> Any:
        loader = super().get_train_dataloader()
        if self.args.world_size > 1:  # each process answers in its own way; the order of the prompts is drawn by now
            torch.manual_seed(self.args.seed + self.args.process_index)
        return loader

    def _substep(self) -> None:
        self.callback_handler.on_substep_end(self.args, self.state, self.control)

    # An update

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One update but for its last step, which is the trainer's: the gradient of the last minibatch stays.

        Returns:
            the mean loss of its minibatches.
        """
        answered, taken_back = self._answer(inputs["places"].tolist())
        self.distance.before(answered.kl)
        rollout = self._sampler.judge(answered, self.distance.beta)
        tokens = int(answered.sequences.lengths.sum())
        self._tokens += tokens
        self._updates += 1
        self._update_tokens += int(added(answered.sequences.lengths.sum()))
        self._trained += int(answered.sequences.answers.sum())
        measured = self._learn(rollout)
        told = {**self._told(rollout), "policy/taken_back": float(taken_back)}
        self._seen.append({**averaged(told, self.args.device), **measured})
        self.distance.after(answered.kl)
        return torch.tensor(measured["loss"], device=self.args.device)

    def _answer(self, places: list[int]) -> tuple[Answered, int]:
        """Answers within the limit of the distance from the reference, and how often the policy was moved back for
        them."""
        # Recomputing in the backward pass is done in training mode alone.
        live = not self._checkpointing
        for taken_back in range(TRIES):
            answered = self._sampler.answer(places, live=live)
            if (share := self.distance.share_to_keep(answered.kl)) is None:
                return answered, taken_back
            del answered
            self.team.move_back(share)
        return self._sampler.answer(places, live=live), TRIES

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        """Some epochs over the answers, in minibatches; all their steps but the last.

        Returns:
            means over the minibatches; `val/ratio_error` is how far a token's probability was off before the first, and
            `policy/refused` the share of the policy's steps that were not done for the distance from the reference.
        """
        settings, count = self.settings, len(rollout.answered.sequences)
        # Checkpointing is done in training mode alone; there is no dropout, so nothing else depends on it.
        self.team.train(self._checkpointing)
        minibatches = [
            rows
            for _ in range(settings.num_ppo_epochs)
            for rows in torch.randperm(count, device=self.args.device).split(min(self._mini, count))
        ]
        sums: dict[str, float] = {}
        at_start, refused = 0.0, 0
        for number, rows in enumerate(minibatches):
            if number:
                if self.args.max_grad_norm:
                    self._clip_grad_norm(self.model)
                self.optimizer.step()
                self.model.zero_grad()
            found = {} if refused else self._policy_part(rollout, rows, first=not number)
            refused += not found
            off = found.pop("off", 0.0)
            at_start = at_start if number else off
            found |= self._value_part(rollout, rows)
            join_gradients(self.team.parameters())
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value
            self._substep()
        self.team.eval()
        done = {name: len(minibatches) - (0 if name in _OF_VALUE else refused) for name in sums}
        means = {name: value / done[name] for name, value in sums.items()}
        return {
            "loss": means["loss/policy_avg"] + settings.vf_coef * means["loss/value_avg"],
            **means,
            "val/ratio_error": at_start,
            "policy/refused": refused / len(minibatches),
        }

    def _policy_part(self, rollout: Rollout, rows: Tensor, *, first: bool) -> dict[str, float]:
        """The gradient of the policy on a minibatch; it shares no parameter with the value.

        Returns:
            what is to be told, or nothing where the policy is too near the limit of its distance for another step; then
            there is no gradient either.
        """
        answered, mask = rollout.answered, rollout.earned.mask
        tokens = added(mask[rows].sum())
        sums, off = torch.zeros(7, device=self.args.device), torch.zeros((), device=self.args.device)
        for batch in answered.sequences.batches(rows, self._sampler.micro):
            if first and answered.live is not None:
                logprobs = answered.live[batch]
            else:
                logprobs, _ = self._sampler.logprobs(self.team.policy, answered.sequences.part(batch))
            old = answered.old[batch]
            loss = ppo_math.policy_loss(
                logprobs, old, rollout.gains[batch], mask[batch], cliprange=self.settings.cliprange
            )
            self.accelerator.backward(loss.total / tokens)
            now = logprobs.detach()
            change = (now - old)[mask[batch]]
            ratio = change.exp()
            further = ppo_math.distance_change(now, old, answered.reference[batch], mask[batch])
            of_batch = (loss.total.detach(), loss.clipped, 0.5 * change**2, ratio, ratio**2, further, batch >= 0)
            sums += torch.stack([one.sum().float() for one in of_batch])
            off = torch.maximum(off, (ratio - 1).abs().max())
        # Read once, so that a device does not run empty in between.
        count, off_by, *told = torch.stack([tokens.float(), off, *added(sums)]).tolist()
        policy, clipped, kl, mean_ratio, squared, gone, answers = told
        if first:
            self._check_ratio(off_by)
        elif self.distance.near(answered.kl, gone / answers):
            self.model.zero_grad()
            return {}
        return {
            "loss/policy_avg": policy / count,
            "policy/approxkl_avg": kl / count,
            "policy/clipfrac_avg": clipped / count,
            "val/ratio": mean_ratio / count,
            "val/ratio_var": max(squared / count - (mean_ratio / count) ** 2, 0.0),
            "off": off_by,
        }

    def _value_part(self, rollout: Rollout, rows: Tensor) -> dict[str, float]:
        """The gradient of the value on a minibatch."""
        settings, mask = self.settings, rollout.earned.value_mask
        states = added(mask[rows].sum())
        sums = torch.zeros(2, device=self.args.device)
        for batch in rollout.answered.sequences.batches(rows, self._sampler.micro):
            values = self._sampler.values(rollout.answered.sequences.part(batch))
            loss = ppo_math.value_loss(
                values, rollout.values[batch], rollout.returns[batch], mask[batch], cliprange=settings.cliprange_value
            )
            self.accelerator.backward(settings.vf_coef * loss.total / states)
            sums += torch.stack([loss.total.detach(), loss.clipped.float()])
        total, clipped = (added(sums) / states).tolist()
        return {"loss/value_avg": total, "val/clipfrac_avg": clipped}

    def _check_ratio(self, off: float) -> None:
        """Before the first step on new answers the policy is the one that sampled them."""
        if off > _RATIO_OFF and not (self.args.bf16 or self.args.fp16):
            raise RunFault(
                f"the policy gives its own answers other probabilities than a moment before (off by {off:.2g}), so it "
                "would learn from errors of computing; try attn_implementation: eager"
            )

    def _told(self, rollout: Rollout) -> dict[str, float]:
        """What is known of an update's answers, in the names of TRL 1.12."""
        answered, earned = rollout.answered, rollout.earned
        lengths, penalty = answered.sequences.answers.float(), earned.penalties.sum(1).mean()
        return {
            **rollout.judged,
            "reward": float(rollout.scores.mean()),
            "reward_std": float(rollout.scores.std(correction=0)),
            "objective/kl": float(answered.kl.mean()),
            "objective/entropy": float(ppo_math.masked_mean(answered.entropy, earned.mask)),
            "objective/non_score_reward": float(penalty),
            "objective/rlhf_reward": float(penalty + rollout.scores.mean()),
            "objective/beta": self.distance.beta,
            "val/explained_variance": ppo_math.explained_variance(rollout.values, rollout.returns, earned.value_mask),
            "completions/mean_length": float(lengths.mean()),
            "completions/max_length": float(lengths.max()),
            "completions/clipped_ratio": float((~answered.ended).float().mean()),
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
                found = self._told(self._sampler.judge(self._sampler.answer(places), self.distance.beta))
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
        atomic.write_json(folder / _STATE, {"beta": self.distance.beta})
        data = self._data
        checkpoint.write_companions(folder, data.tokenizer, data.template, self._stop_ids, dumps(self._recipe))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        self.team.load(folder)
        self.distance.beta = float(json.loads((folder / _STATE).read_bytes())["beta"])

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
