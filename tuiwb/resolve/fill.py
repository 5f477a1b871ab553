"""From a recipe to a complete one: every value that it leaves out is chosen here, with the reason.

Where the reason is a measurement, it was taken with torch 2.13, transformers 5.23 and TRL 1.16.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuiwb.recipe import Recipe
from tuiwb.recipe.parts import parts_of
from tuiwb.resolve.choices import Choices, Resolved
from tuiwb.resolve.device import Device, device_for
from tuiwb.resolve.fit import fill_checkpointing
from tuiwb.resolve.parts import joined
from tuiwb.resolve.ppo import fill_order, fill_ppo
from tuiwb.resolve.splitting import fill_splitting
from tuiwb.resolve.tokens import fill_tokens
from tuiwb.resolve.trainable import LOSSES

if TYPE_CHECKING:
    from tuiwb.hardware import Gpu, Host
    from tuiwb.models import ModelInfo

ADAPTERS = ("lora", "qlora", "dora", "ia3", "prefix", "prompt")
LORA = ("lora", "qlora", "dora")

# Learning rates by stage, for all weights and for LoRA. SFT: Hu et al. 2021, Dettmers et al. 2023; preference: the
# rates of the DPO paper, ten to twenty times as high for an adapter.
_RATES = {
    "pretrain": (1e-5, 1e-4),
    "sft": (1e-5, 2e-4),
    "reward": (1e-5, 1e-4),
    "dpo": (5e-7, 1e-5),
    "orpo": (5e-6, 5e-5),
    "kto": (5e-7, 1e-5),
    "ppo": (1e-6, 1e-4),
    "grpo": (1e-6, 1e-5),
    "rloo": (1e-6, 1e-5),
}
_SOFT_RATES = {"ia3": 5e-3, "prefix": 1e-2, "prompt": 3e-2}
_WITH_REFERENCE = ("dpo", "orpo", "kto", "ppo", "grpo", "rloo")
_SAMPLING = ("ppo", "grpo", "rloo")
_GENERATIONS = {"grpo": 8, "rloo": 2}


def resolve(recipe: Recipe, *, model: "ModelInfo | None", host: "Host", gpus: Sequence["Gpu"]) -> Resolved:
    """The recipe with every value that its stage and method make use of.

    Args:
        model: what is known of the base model; None leaves out what depends on it.
        gpus: those of this machine, empty without one.
    """
    if recipe.stages:
        return joined(recipe, [resolve(part, model=model, host=host, gpus=gpus) for part in parts_of(recipe)])
    choices = Choices(recipe)
    _task(choices)
    device = device_for(recipe, host, gpus)
    _devices(choices, device, gpus)
    _precision(choices, device)
    _data(choices, model)
    _schedule(choices)
    _adapter(choices, model)
    fill_tokens(choices, model)
    _preference(choices)
    _measuring(choices)
    fill_checkpointing(choices, model, device)
    return choices.done()


def _task(choices: Choices) -> None:
    stated = choices.stated
    choices.fill("stage", "sft", "learning from examples is the usual task")
    if stated.use_dora and stated.method in (None, "lora"):
        choices.settle("method", "dora", "lora with use_dora is what dora means")
    elif stated.load_in_4bit and stated.method in (None, "lora") and not stated.use_dora:
        choices.settle("method", "qlora", "lora on a base in 4 bits is what qlora means")
    choices.fill("method", "lora", "an adapter is the cheapest way to try")
    method = choices.now.method
    choices.fill("load_in_4bit", method == "qlora", f"method is {method}")
    choices.fill("load_in_8bit", False, f"method is {method}")
    if method in LORA:
        choices.fill("use_dora", method == "dora", f"method is {method}")
    choices.fill("trust_remote_code", False, "code of strangers runs only where you say so")


def _devices(choices: Choices, device: Device, gpus: Sequence["Gpu"]) -> None:
    choices.fill("use_cpu", device.gpu is None, device.reason)
    stated = choices.stated.launch
    several = stated is not None and isinstance(stated.gpus, tuple) and len(stated.gpus) > 1
    count = len(stated.gpus) if several else 1  # type: ignore[union-attr,arg-type]
    reason = "one process for each of the GPUs" if several else "one process is enough for one device"
    choices.fill_launch("processes", count, reason)
    choices.fill_launch("nodes", 1, "this machine alone")
    processes = (choices.now.launch and choices.now.launch.processes) or 1
    freest = sorted(gpus, key=lambda gpu: (-gpu.memory_free, gpu.index))
    numbers: tuple[int, ...] = () if device.gpu is None else (device.gpu.index,)
    if numbers and processes > 1:
        numbers = tuple(sorted(gpu.index for gpu in freest[:processes]))
    choices.fill_launch("gpus", numbers, device.reason, instead_of=(None, "auto"))
    choices.fill_launch(
        "sharding",
        "ddp" if processes > 1 else "none",
        "each device holds the whole model" if processes > 1 else "one device holds the whole model",
    )
    choices.fill_launch("offload", "none", "one device holds the whole model")
    choices.fill("dataloader_num_workers", 0, "examples are token ids in a mapped file: there is nothing to compute")
    choices.fill(
        "dataloader_pin_memory",
        device.gpu is not None,
        "a GPU copies faster from page-locked memory" if device.gpu else "there is no GPU to copy to",
    )


def _precision(choices: Choices, device: Device) -> None:
    stated = choices.stated
    frozen = choices.now.method in ADAPTERS
    half = device.half
    if stated.fp16:
        half, reason = "float16", "fp16 is stated"
    elif stated.bf16:
        half, reason = "bfloat16", "bf16 is stated"
    elif stated.bf16 is False and half == "bfloat16":
        half, reason = None, "bf16: false is stated"
    else:
        reason = device.half_reason
    choices.fill("bf16", half == "bfloat16", reason)
    choices.fill("fp16", half == "float16", reason)
    if half is None:
        choices.fill("dtype", "float32", reason)
    elif frozen:
        choices.fill("dtype", half, "the base is frozen, so it needs no more bits than computing has")
    else:
        choices.fill("dtype", "float32", "weights in 16 bits would lose small updates, so a float32 copy is trained")
    if device.tf32 is not None:
        choices.fill("tf32", device.tf32, "what stays in float32 runs on the tensor cores")
    if choices.now.load_in_4bit:
        choices.fill("bnb_4bit_quant_type", "nf4", "made for weights that are normally distributed")
        choices.fill("use_bnb_nested_quant", True, "saves about 0.37 bit a parameter at no cost in quality")
    fill_splitting(choices)
    choices.fill("attn_implementation", device.attention, device.attention_reason)
    choices.fill("use_liger_kernel", False, "the loss of the trainer is fused already")
    choices.fill("torch_compile", False, "pays only where every batch has the same shape")
    choices.fill("activation_offloading", False, "slower, and not needed unless memory is short")


def _data(choices: Choices, model: "ModelInfo | None") -> None:
    context = model.context_length if model else None
    length = min(1024, context or 1024)
    short = context is not None and context < 1024
    choices.fill("max_length", length, "all that the model can read" if short else "long enough for most answers")
    choices.fill("packing", False, "grouping by length leaves little padding with any attention kernel")
    choices.fill("padding_free", False, "as packing")
    if choices.now.stage == "ppo":
        fill_order(choices)
    packing = bool(choices.now.packing)
    if packing:
        choices.fill("packing_strategy", "bfd", "best fit leaves few gaps and cuts few examples")
    if choices.now.stage in _SAMPLING:
        choices.fill("train_sampling_strategy", "random", "answers to one prompt belong together, whatever its length")
    choices.fill(
        "train_sampling_strategy",
        "random" if packing else "group_by_length",
        "packed rows have one length"
        if packing
        else "similar lengths together: 96 % of a batch is text instead of 55 %",
    )
    if choices.now.stage == "sft":
        choices.fill("train_roles", ("assistant",), "the answers are what is to be learned, not the questions")
        choices.fill("train_on_eos", "turn", "otherwise the model never learns to stop")
    choices.fill("per_device_train_batch_size", 4, "small enough for most devices, large enough to keep them busy")
    choices.fill("gradient_accumulation_steps", 4, "with the batch of each device, 16 examples a step or near it")
    size, group = choices.now.per_device_train_batch_size or 1, 1
    if choices.now.stage in ("grpo", "rloo"):
        group = choices.now.num_generations or _GENERATIONS[choices.now.stage]
    reason = "as in training" if group == 1 else "all answers to a prompt at once"
    choices.fill("per_device_eval_batch_size", -(-size // group) * group, reason)


def _schedule(choices: Choices) -> None:
    now = choices.now
    stage, method = now.stage or "sft", now.method or "lora"
    full, lora = _RATES[stage]
    soft = _SOFT_RATES.get(method, 0.0) * lora / _RATES["sft"][1]  # as far below sft as LoRA's rate for this stage is
    rate = soft or (lora if method in LORA else full)
    choices.fill("learning_rate", rate, f"usual for stage {stage} with method {method}")
    choices.fill("lr_scheduler_type", "cosine", "falls slowly at first and ends near zero")
    choices.fill("warmup_steps", 0.03, "3 % of the steps, so that the first ones do no harm")
    choices.fill("num_train_epochs", 3.0 if stage == "sft" and method in ADAPTERS else 1.0, f"usual for stage {stage}")
    choices.fill("max_steps", -1, "num_train_epochs says when to stop")
    paged = method == "qlora" and not now.use_cpu
    choices.fill(
        "optim",
        "paged_adamw_32bit" if paged else "adamw_torch_fused",
        "its state moves to host memory when a long batch needs the room" if paged else "one kernel for all weights",
    )
    choices.fill("weight_decay", 0.0 if method in ADAPTERS else 0.01, f"usual for method {method}")
    choices.fill("adam_beta1", 0.9, "the optimizer's own value")
    choices.fill("adam_beta2", 0.999, "the optimizer's own value")
    if stage == "ppo":
        choices.fill("adam_epsilon", 1e-5, "as in the first PPO for language models: its early gradients are small")
    choices.fill("adam_epsilon", 1e-8, "the optimizer's own value")
    choices.fill("max_grad_norm", 0.3 if method == "qlora" else 1.0, f"usual for method {method}")
    choices.fill("seed", 42, "any number will do, as long as it stays the same")


def _adapter(choices: Choices, model: "ModelInfo | None") -> None:
    method = choices.now.method
    if method in LORA:
        choices.fill("lora_r", 16, "enough for most tasks; more costs memory")
        choices.fill("lora_alpha", 2 * (choices.now.lora_r or 16), "twice the rank")
        choices.fill("lora_dropout", 0.0, "small adapters seldom overfit, and without it they are faster")
        if choices.now.lora_target_parameters is None:
            choices.fill("lora_target_modules", "all-linear", "learns more than attention alone at the same rank")
        choices.fill("use_rslora", False, "it matters for ranks above 64")
    if method == "freeze" and model is not None:
        from tuiwb.models.info import text_config

        layers = int(text_config(model.config).get("num_hidden_layers") or 0)
        if layers > 2:
            choices.fill("freeze_layers", layers - 2, f"the last two of {layers} layers learn")
    if method in ("prefix", "prompt"):
        choices.fill("num_virtual_tokens", 20 if method == "prefix" else 8, f"usual for method {method}")
    if method == "prefix":
        choices.fill("prefix_projection", True, "a prefix learns better through a small network")


def _preference(choices: Choices) -> None:
    stage = choices.now.stage
    if stage in LOSSES:
        choices.fill("loss_type", LOSSES[stage][0], f"the usual loss of stage {stage}")
    if stage in _WITH_REFERENCE:
        beta = 0.0 if stage == "grpo" else 0.05 if stage in ("ppo", "rloo") else 0.1
        choices.fill("beta", beta, f"usual for stage {stage}")
    if stage in _SAMPLING:
        choices.fill("max_completion_length", 256, "long enough for most answers")
    if stage in ("grpo", "rloo"):
        choices.fill("num_generations", _GENERATIONS[stage], f"usual for stage {stage}")
        choices.fill("temperature", 1.0, "sampled as likely as the model has it, which is what its loss is made for")
    if stage == "ppo":
        fill_ppo(choices)


def _measuring(choices: Choices) -> None:
    choices.fill("logging_steps", 1.0, "writing a line costs nothing beside a step")
    if choices.now.eval_datasets is None:
        choices.fill("eval_fraction", 0.0, "nothing is held out unless you say so")
    measured = bool(choices.now.eval_datasets or choices.now.eval_fraction)
    follows = choices.now.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy")
    choices.fill(
        "eval_strategy",
        "steps" if measured else "no",
        "four times a run is enough to see a turn" if measured else "there are no evaluation examples",
    )
    if choices.now.early_stopping_patience and measured:
        choices.fill(
            "load_best_model_at_end", True, "training ends when nothing gets better, so the best is the result"
        )
    best = bool(choices.now.load_best_model_at_end)
    if choices.now.eval_strategy == "steps":
        choices.fill("eval_steps", 0.1 if follows else 0.25, "a share of all steps")
    same = best and choices.now.eval_strategy != "no"
    strategy = choices.now.eval_strategy if same else "steps"
    choices.fill("save_strategy", strategy, "what is saved was measured" if same else "a crash costs a tenth at most")
    if choices.now.save_strategy == "steps":
        steps = choices.now.eval_steps if same else 0.1
        choices.fill("save_steps", steps, "as eval_steps, so that the best can be found" if same else "ten times a run")
    choices.fill("save_total_limit", 2, "the newest, and one before it should the newest be cut short")
    choices.fill("save_only_model", False, "a run can be resumed from its checkpoints")
    choices.fill("load_best_model_at_end", False, "the last checkpoint is the result")
    if choices.now.load_best_model_at_end:
        sampled = choices.now.stage in _SAMPLING
        metric, reason = ("eval_reward", "what is learned") if sampled else ("eval_loss", "measured in every run")
        choices.fill("metric_for_best_model", metric, reason)
        falls = "loss" in (choices.now.metric_for_best_model or "")
        choices.fill("greater_is_better", not falls, "a loss should fall" if falls else "a reward should rise")
    choices.fill("report_to", "tensorboard", "event files that other tools read, beside our own")
