"""The loss of odds ratio preference optimization (Hong et al. 2024, arXiv 2403.07691)."""

from collections import defaultdict
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn import functional
from trl.trainer.utils import add_fused_lm_head


class OddsRatioTrainer(transformers.Trainer):
    """The negative log-likelihood of the chosen answer, and beta times the log odds ratio of both. No reference.

    TRL's own trainer, which is experimental, renders and encodes anew, and takes the likelihood of the prompt as well;
    here, as in the paper, it is that of the answer.
    """

    def __init__(self, *, model: Any, beta: float, **arguments: Any) -> None:
        self.beta = beta
        self._metrics: dict[str, dict[str, list[float]]] = {"train": defaultdict(list), "eval": defaultdict(list)}
        super().__init__(model=model, **arguments)
        adapted = hasattr(model, "peft_config")
        if adapted and self.args.gradient_checkpointing:
            model.enable_input_require_grads()
        add_fused_lm_head(model.get_base_model() if adapted else model)
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """
        Args:
            inputs: as `batches.padded`, all chosen answers before all rejected ones.
        """
        completion = inputs["completion_mask"]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["input_ids"].masked_fill(completion == 0, -100),
            use_cache=False,
            fused_lm_head=True,
        )
        # Learned positions of a prompt come first.
        sums = outputs.log_probs[:, -(completion.shape[1] - 1) :].float().sum(dim=1)
        counts = completion[:, 1:].sum(dim=1).clamp(min=1)
        half = len(sums) // 2
        # Gradients are averaged over the processes: with the mean of their tokens each token weighs the same.
        nll = -sums[:half].sum() / self.accelerator.reduce(counts[:half].sum().float(), "mean")
        chosen, rejected = (sums / counts).split(half)
        ratio = log_odds_ratio(chosen, rejected)
        self._note(nll, ratio, chosen, rejected)
        loss = nll - self.beta * functional.logsigmoid(ratio).mean()
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """transformers' own, with the means of what was noted since the last."""
        training = self.model.training
        noted = self._metrics["train" if training else "eval"]
        logs |= {name if training else f"eval_{name}": sum(values) / len(values) for name, values in noted.items()}
        noted.clear()
        super().log(logs, start_time)

    @torch.no_grad()
    def _note(self, nll: Tensor, ratio: Tensor, chosen: Tensor, rejected: Tensor) -> None:
        values = {
            "nll_loss": nll.reshape(1),
            "log_odds_ratio": functional.logsigmoid(ratio),
            "log_odds_chosen": ratio,
            "rewards/chosen": self.beta * chosen,
            "rewards/rejected": self.beta * rejected,
            "rewards/margins": self.beta * (chosen - rejected),
            "rewards/accuracies": (chosen > rejected).float(),
            "logps/chosen": chosen,
            "logps/rejected": rejected,
        }
        noted = self._metrics["train" if self.model.training else "eval"]
        for name, value in values.items():
            noted[name].append(self.accelerator.gather(value).mean().item())


def log_odds_ratio(chosen: Tensor, rejected: Tensor) -> Tensor:
    """How much likelier than not the chosen answer is, against the rejected one, as a logarithm.

    Args:
        chosen, rejected: mean log-probabilities of the answers' tokens, (pairs,).
    """
    return (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, exact near both ends (Mächler 2012, "Accurately computing log(1 - exp(-|a|))")."""
    near = x > -0.6931472
    # Both branches are computed for all, and what a branch is not for must not spoil the gradient.
    close = torch.log(-torch.expm1(torch.where(near, x, -1.0)))
    return torch.where(near, close, torch.log1p(-torch.exp(torch.where(near, -1.0, x))))
