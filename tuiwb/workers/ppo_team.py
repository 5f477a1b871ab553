"""The four models of PPO: policy, reference, reward and value.

With an adapter they are one base with several adapters and two heads, of which one set at a time is at work; only when
all weights are trained are they models of their own. The reference is the model as it was before: the adapter that the
training goes on from, or the base with its adapters off where there is none. Which of the two matters: against the
wrong one the first update is already a punishment.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tuiwb import models
from tuiwb.base.errors import InputFault
from tuiwb.recipe import Recipe
from tuiwb.workers import vocabulary
from tuiwb.workers.cpu import speed_up
from tuiwb.workers.model import LORA, Source, adapters_to_float32, load_base, make_trainable
from tuiwb.workers.ppo_adapters import POLICY, WEIGHTS, add, alike, fill, refuse_whole_layers, tensors
from tuiwb.workers.ppo_sequences import Sequences
from tuiwb.workers.reference import is_adapter, reference_model
from tuiwb.workers.scorer import HEAD, Scorer, head_of, saved_head

# Names of the adapters beside the policy's.
_REFERENCE, _REWARD, _CRITIC = "reference", "reward", "critic"
_CRITIC_FOLDER = "critic"
_MODEL = "model.safetensors"


class Role:
    """A model of its own."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def take(self) -> PreTrainedModel:
        """The model, ready to compute as this role."""
        return self._model


class AdapterRole(Role):
    """An adapter on the shared base, or None for the base alone.

    Args:
        trained: parameters that stay trainable whoever is at work; PEFT freezes what it switches off.
    """

    def __init__(self, model: PreTrainedModel, name: str | None, trained: Sequence[nn.Parameter]) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import TrainableTokensWrapper

        super().__init__(model)
        self._name = name
        self._trained = trained
        # Not every adapter has learned tokens.
        self._layers = [
            (layer, name is not None and (not isinstance(layer, TrainableTokensWrapper) or name in layer._adapters))
            for layer in model.modules()
            if isinstance(layer, (BaseTunerLayer, TrainableTokensWrapper))
        ]

    def take(self) -> PreTrainedModel:
        for layer, adapted in self._layers:
            layer.enable_adapters(adapted)
            if adapted:
                layer.set_adapter(self._name, inference_mode=True)
        for parameter in self._trained:
            parameter.requires_grad_(True)
        return self._model


class Team(nn.Module):
    """All that computes. What is trained is in `parameters()` with a gradient: the policy's part and the value's.

    Attributes:
        reward: None where nothing that shares the base scores the answers.
    """

    policy: Role
    reference: Role
    critic: Role
    reward: Role | None
    value_head: nn.Linear
    score_head: nn.Linear | None

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def values(self, sequences: Sequences) -> Tensor:
        """What the state before each token of an answer (and after the last) is worth, (rows, width) float32."""
        hidden = _hidden(self.critic.take(), sequences.ids)
        places = sequences.states[..., None].expand(-1, -1, hidden.shape[-1])
        return _number(self.value_head, hidden.gather(1, places))

    def scores(self, sequences: Sequences) -> Tensor:
        """What the reward model thinks of each answer, at its last token, (rows,) float32."""
        assert self.reward is not None
        assert self.score_head is not None
        hidden = _hidden(self.reward.take(), sequences.ids)
        last = hidden[torch.arange(len(sequences), device=hidden.device), sequences.lengths - 1]
        return _number(self.score_head, last)

    def save(self, folder: Path) -> None:
        """Write what is trained: the policy as any adapter or model is written, the value beside it."""
        raise NotImplementedError

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        raise NotImplementedError

    def critic_parameters(self) -> list[nn.Parameter]:
        """Those of the value that are trained."""
        raise NotImplementedError

    def move_back(self, share: float) -> None:
        """Leave the policy this share of its way from where it began, which is the reference unless the recipe names
        another model."""
        raise NotImplementedError

    def _settle_heads(self) -> None:
        """Of the heads, the value's learns."""
        self.value_head.requires_grad_(True)
        if self.score_head is not None:
            self.score_head.requires_grad_(False)

    def _critic_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All that the value is made of, as a file takes it."""
        head = {f"value_head.{name}": tensor for name, tensor in self.value_head.state_dict().items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in {**tensors, **head}.items()}

    def _take_value_head(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the value's head its weights; what is left is its layers'."""
        self.value_head.load_state_dict({"weight": saved.pop("value_head.weight")})
        return saved


class SharedTeam(Team):
    """One base; the roles are adapters and heads on it.

    Args:
        shared: the reward model, where it is an adapter of this base.
    """

    def __init__(self, recipe: Recipe, device: torch.device, shared: str | None) -> None:
        model: Any = make_trainable(load_base(recipe, device=device), recipe)
        super().__init__([model])
        self.model = model
        causal = model.get_base_model()
        refuse_whole_layers(model)
        started_from = recipe.adapter_name_or_path
        other = reference_model(recipe, device)  # where the recipe names one that is no adapter
        kept = None if other is not None else recipe.ref_model_name_or_path or started_from
        if kept:
            add(model, kept, _REFERENCE)
        self._add_critic(shared, started_from, device)
        without_dropout(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(f".{POLICY}." in f"{name}." or f".{_CRITIC}." in f"{name}.")
        if device.type == "cpu":
            adapters_to_float32(model)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._settle_heads()
        self.policy = AdapterRole(causal, POLICY, trained)
        self.critic = AdapterRole(causal, _CRITIC, trained)
        self.reference = AdapterRole(causal, _REFERENCE if kept else None, trained)
        self.reward = AdapterRole(causal, _REWARD, trained) if shared else None
        if other is not None:
            self.parts.append(other.to(device))
            self.reference = Role(other)
        self.policy.take()
        self._began = _beginning(model)
        if device.type == "cpu" and alike(model):
            speed_up(model)

    def _add_critic(self, shared: str | None, started_from: str | None, device: torch.device) -> None:
        """The reward model, and a copy of it that learns what a state is worth. Where it is none of the base's, the
        value begins as the policy does, with a head of zeros."""
        width = self.model.config.hidden_size
        self.value_head, self.score_head = score_head(None, width, device), None
        if shared:
            self.value_head, self.score_head = (score_head(_head_in(shared), width, device) for _ in range(2))
            for name in (_REWARD, _CRITIC):
                add(self.model, shared, name)
        elif started_from:
            add(self.model, started_from, _CRITIC)
        else:
            self.model.add_adapter(_CRITIC, copy.deepcopy(self.model.peft_config[POLICY]))

    def critic_parameters(self) -> list[nn.Parameter]:
        named = self.model.named_parameters()
        return [*(one for name, one in named if f".{_CRITIC}." in f"{name}."), *self.value_head.parameters()]

    @torch.no_grad()
    def move_back(self, share: float) -> None:
        parameters = dict(self.model.named_parameters())
        for name, begun in self._began.items():
            parameters[name].lerp_(begun.to(parameters[name].device), 1 - share)

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        self.model.save_pretrained(str(folder), selected_adapters=[POLICY])
        save_file(self._critic_tensors(tensors(self.model, _CRITIC)), _critic_file(folder, WEIGHTS))

    def load(self, folder: Path) -> None:
        from safetensors.torch import load_file

        fill(self.model, load_file(str(folder / WEIGHTS)), POLICY, folder)
        fill(self.model, self._take_value_head(load_file(_critic_file(folder, WEIGHTS))), _CRITIC, folder)


class SeparateTeam(Team):
    """Four models: what training all weights costs."""

    def __init__(self, recipe: Recipe, device: torch.device, judge: Scorer | None) -> None:
        policy: Any = make_trainable(load_base(recipe, device=device).to(device), recipe)
        reference = reference_model(recipe, device)
        assert reference is not None
        super().__init__([policy, reference.to(device)])
        self.score_head, self.reward = None, None
        critic = copy.deepcopy(trunk(policy) if judge is None else _layers_of(judge.model))
        width = critic.config.hidden_size
        self.value_head = score_head(None if judge is None else head_of(judge.model), width, device)
        self.parts.append(critic)
        self._policy_model, self._critic_model, self._reference_model = policy, critic, reference
        for part in self.parts:
            without_dropout(part)
            part.requires_grad_(part is not reference)
        self.policy, self.reference, self.critic = Role(policy), Role(reference), Role(critic)
        self._settle_heads()

    def critic_parameters(self) -> list[nn.Parameter]:
        return [*self._critic_model.parameters(), *self.value_head.parameters()]

    @torch.no_grad()
    def move_back(self, share: float) -> None:
        theirs = dict(self._reference_model.named_parameters())
        for name, parameter in self._policy_model.named_parameters():
            if name in theirs and theirs[name].shape == parameter.shape:
                parameter.lerp_(theirs[name].to(parameter.dtype), 1 - share)

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        self._policy_model.save_pretrained(str(folder))
        save_file(self._critic_tensors(self._critic_model.state_dict()), _critic_file(folder, _MODEL))

    def load(self, folder: Path) -> None:
        from safetensors.torch import load_file

        saved: dict[str, Tensor] = {}
        for file in sorted(folder.glob("model*.safetensors")):
            saved |= load_file(str(file))
        left = self._policy_model.load_state_dict(saved, strict=False)
        tied = set(self._policy_model.all_tied_weights_keys)
        if left.unexpected_keys or set(left.missing_keys) - tied:
            raise InputFault("the checkpoint does not hold the weights of this model", file=folder)
        self._critic_model.load_state_dict(self._take_value_head(load_file(_critic_file(folder, _MODEL))))


def trunk(model: Any) -> Any:
    """The layers of a model without its head."""
    return getattr(model, model.base_model_prefix, model)


def score_head(weight: Tensor | None, width: int, device: torch.device) -> nn.Linear:
    """A head that makes one number of a state.

    Args:
        weight: (1, width); None makes a head that thinks nothing of anything yet.
    """
    head = nn.Linear(width, 1, bias=False, device=device, dtype=torch.float32)
    with torch.no_grad():
        head.weight.copy_(torch.zeros(1, width) if weight is None else weight)
    return head


def without_dropout(model: nn.Module) -> None:
    """What is dropped at random in training makes other probabilities of the same weights, and PPO compares them."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Identity())
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def _hidden(model: Any, ids: Tensor) -> Tensor:
    """Last hidden states, (rows, length, width)."""
    return trunk(model)(input_ids=ids, use_cache=False).last_hidden_state


def _number(head: nn.Linear, states: Tensor) -> Tensor:
    """What a head makes of states, in float32 whatever the layers compute in: three digits are too few for a score."""
    with torch.autocast(states.device.type, enabled=False):
        return head(states.float())[..., 0]


def _critic_file(folder: Path, name: str) -> str:
    (folder / _CRITIC_FOLDER).mkdir(exist_ok=True)
    return str(folder / _CRITIC_FOLDER / name)


def _beginning(model: Any) -> dict[str, Tensor]:
    """The policy's parameters by name, as they are before the first step. Of a new adapter the matrices that are drawn
    at random say nothing as long as their partners are zero, and are left out: so a resumed run has the same."""
    of_policy = {name: one for name, one in model.named_parameters() if f".{POLICY}." in f"{name}."}
    idle = {name.replace("lora_B", "lora_A") for name, one in of_policy.items() if "lora_B" in name and not one.any()}
    return {name: one.detach().clone() for name, one in of_policy.items() if name not in idle}


def _head_in(adapter: str) -> Tensor:
    """The head of a reward adapter, which a causal model has no place for: read from its file.

    Raises:
        InputFault: it has none, so it is no reward model.
    """
    head = saved_head(Path(adapter).expanduser())
    if head is None:
        raise InputFault(
            f"{adapter} has no reward head ({HEAD}); train one with stage: reward", key="reward_model_name_or_path"
        )
    return head


def shares_base(adapter: str | None, recipe: Recipe) -> bool:
    """Whether this is an adapter of the model that the recipe trains, with the same tokens; on another base it would
    score wrongly, and so it would tokens that mean something else to it. Where tokens are learned in an output layer of
    its own as well, a model that scores has not learned those: PEFT cannot put it beside one that has."""
    if not adapter or recipe.method not in LORA or not is_adapter(adapter):
        return False
    info = models.open_model(adapter)
    base = models.open_model(info.adapter.base_model) if info.adapter and info.adapter.base_model else None
    if base is None or base.path is None or str(base.path.resolve()) != _place(recipe):
        return False
    if recipe.added_tokens and any(one.name in ("lm_head.weight", "output.weight") for one in base.tensors):
        return False
    ours, theirs = vocabulary.tokenizer_of(recipe), models.load_tokenizer(info)
    added = {token: ours.token_id(token) for token in ours.added}
    return theirs.vocab_size == ours.vocab_size and added == {token: theirs.token_id(token) for token in added}


def _place(recipe: Recipe) -> str:
    source = Source.of(recipe)
    name = source.arguments.get("gguf_file")
    return str((Path(source.path) / name if name else Path(source.path)).resolve())


def _layers_of(model: Any) -> Any:
    """The layers of a model that scores, an adapter on it merged into them."""
    return trunk(copy.deepcopy(model).merge_and_unload() if hasattr(model, "peft_config") else model)


def build_team(recipe: Recipe, device: torch.device, judge: Scorer | None) -> Team:
    """The models of a resolved recipe.

    Args:
        judge: the reward model, where it is one of its own.

    Raises:
        InputFault: one is missing, or they do not go together.
    """
    reward = recipe.reward_model_name_or_path
    if recipe.method in LORA:
        return SharedTeam(recipe, device, reward if judge is None else None)
    return SeparateTeam(recipe, device, judge)
