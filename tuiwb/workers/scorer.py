"""A reward model at work: a number for each text, read off its last token by length, whatever pads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from tuiwb import models
from tuiwb.base.errors import InputFault
from tuiwb.data.example import Example
from tuiwb.data.render import Renderer
from tuiwb.workers import vocabulary

HEAD = "score.weight"


class Scorer:
    """Scores answers as the reward model was trained to: with its own tokenizer and chat template.

    Args:
        name: a run's checkpoint, a folder, or a name under the user's models; a whole model or an adapter.
        dtype: of the weights.

    Raises:
        InputFault: it is no reward model, or its base is not on this machine.
    """

    def __init__(self, name: str, *, device: torch.device, dtype: torch.dtype) -> None:
        self.model, folder = _load(name, dtype)
        self.model.to(device).eval().requires_grad_(False)
        self._device = device
        self._tokenizer = models.load_tokenizer(folder)
        template = self._tokenizer.template() if self._tokenizer.chat_template else None
        self._renderer = Renderer(self._tokenizer, template)

    def __call__(self, examples: Sequence[Example], answers: Sequence[str]) -> list[float]:
        """The reward of each answer to its example's prompt."""
        layouts = []
        for example, answer in zip(examples, answers, strict=True):
            prompt = example.messages if example.prompt is None else example.prompt
            if isinstance(prompt, list) and prompt and prompt[-1]["role"] == "assistant":
                prompt = prompt[:-1]
            layouts.append(self._renderer.answer(prompt or "", answer, example.tools))
        rows = [encoded.ids.tolist() for encoded in self._renderer.encode(layouts)]
        return [float(value) for value in self.score(rows)]

    @torch.no_grad()
    def score(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Rewards of token ids, (rows,), float32."""
        lengths = torch.tensor([len(row) for row in rows], device=self._device)
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64, device=self._device)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(list(row), device=self._device)
        mask = (torch.arange(ids.shape[1], device=self._device) < lengths[:, None]).long()
        whole = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        hidden = whole.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(rows), device=self._device), lengths - 1]
        return whole.score(last)[:, 0].float()


def head_of(model: Any) -> Tensor:
    """The head's weight of a model that scores, or of a PeftModel around one, (1, width)."""
    whole = model.get_base_model() if hasattr(model, "peft_config") else model
    score = whole.score
    if hasattr(score, "modules_to_save"):
        score = score.modules_to_save[score.active_adapters[0]]
    weight: Tensor = score.weight
    return weight.detach().cpu()


def saved_head(folder: Path) -> Tensor | None:
    """The head's weight in a checkpoint's safetensors, whole model or adapter; None if it is not there."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no dict
                if name == HEAD or name.endswith(f".{HEAD}"):
                    return tensors.get_tensor(name)
    return None


def _load(name: str, dtype: torch.dtype) -> tuple[Any, Path]:
    info = models.open_model(name)
    key = "reward_model_name_or_path"
    if info.path is None or info.kind == "gguf":
        raise InputFault(f"{name} is no folder of a reward model on this machine", key=key)
    if saved_head(info.path) is None:
        raise InputFault(f"{name} has no reward head ({HEAD}); train one with stage: reward", key=key)
    base = info.path
    if info.adapter is not None:
        found = models.open_model(info.adapter.base_model or "")
        if found.path is None:
            raise InputFault(f"the base model of {name}, {info.adapter.base_model}, is not on this machine", key=key)
        base = found.path
    config = AutoConfig.from_pretrained(base)
    config.get_text_config().num_labels = config.num_labels = 1
    model: Any = AutoModelForSequenceClassification.from_pretrained(base, config=config, dtype=dtype)
    if info.adapter is not None:
        from peft import PeftModel

        vocabulary.grow_for(model, info.path)
        model = PeftModel.from_pretrained(model, str(info.path))
    return model, info.path
