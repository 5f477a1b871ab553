"""From a recipe, a model and the assumptions to the plain numbers of a plan, or to a sentence with the key at fault."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from tuiwb.base.errors import InputFault
from tuiwb.memory import states
from tuiwb.memory.adapters import METHODS, adapter_of
from tuiwb.memory.architecture import Architecture, AttentionKernel
from tuiwb.memory.assumptions import Assumptions
from tuiwb.memory.families import architecture
from tuiwb.memory.inputs import PAIRED, SAMPLING, Inputs, Quantization
from tuiwb.memory.kernels import keeps_base, kernels_of
from tuiwb.memory.losses import LossCode, LossPath
from tuiwb.memory.parallel import grid_of, part
from tuiwb.models import ModelInfo
from tuiwb.recipe import Launch, Recipe

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
_LEAST_CAPABILITY = {"int8": (7, 5), "fp8": (8, 9)}
CUBLAS, CUBLAS_HOPPER = 8_519_680, 33_554_432  # bytes of a workspace, in general and on compute capability 9 and 10
LENGTH, ANSWER = 1024, 256  # tokens of a prompt or row, and of a sampled answer, where the recipe leaves them out
VLLM_SHARE = 0.3  # trl/trainer/grpo_config.py vllm_gpu_memory_utilization, with the engine in the trainer's process

# Beyond these nothing was ever trained: a typing error, not a plan.
_MOST = {
    "max_length": 1 << 27, "max_completion_length": 1 << 27, "per_device_train_batch_size": 1 << 20,
    "per_device_eval_batch_size": 1 << 20, "gradient_accumulation_steps": 1 << 20, "lora_r": 1 << 16,
    "num_virtual_tokens": 1 << 20, "num_generations": 1 << 16, "save_total_limit": 1 << 20,
}  # fmt: skip
_MOST_GPUS = 1 << 17


def inputs_from(
    recipe: Recipe,
    model: ModelInfo,
    assumed: Assumptions,
    *,
    answers: bool = False,
    capability: tuple[int, int] | None = None,
) -> Inputs:
    """Derive the inputs.

    Args:
        answers: what the model needs to answer, instead of what it needs to be trained.
        capability: CUDA's compute capability of the GPU, where one is named.

    Raises:
        InputFault: the model's configuration or the recipe does not say, or contradicts, what is needed.
    """
    _check_sizes(recipe)
    shapes = architecture(model.config, source=model.ref)
    if shapes.notes:
        assumed.note("architecture", model.architecture, "; ".join(shapes.notes))
    stage = "inference" if answers else recipe.stage or "sft"
    method: str = recipe.method or ("qlora" if recipe.load_in_4bit else "lora")
    quantization, nested, group, bits = _quantization(recipe, model, method)
    _check_runs(quantization, capability, stored="quantization_config" in model.config)
    if answers:
        method = "none"
    if method == "full" and quantization:
        raise InputFault(
            "all weights cannot be trained on a quantized base: choose method qlora, or a model that is not quantized",
            key="method",
        )
    weights = _weights(recipe, model, assumed, quantization)
    half = bool(recipe.bf16) or bool(recipe.fp16)
    launch = recipe.launch or Launch()
    grid = grid_of(launch, shapes)
    sharding = launch.sharding or "none"
    if grid.shards > 1 and sharding == "none":
        sharding = "ddp"
    if grid.shards == 1:
        sharding = "none"
    device = assumed.choose("device", "cpu" if recipe.use_cpu else "gpu", _where(recipe))
    others = _others(recipe, stage, method, assumed)
    kernels = kernels_of(recipe, stage, device, others, assumed)
    release = assumed.choose("transformers", "5", "the release that this program installs")
    checkpointing = bool(recipe.gradient_checkpointing)
    reentrant = offloads = False
    if checkpointing:
        text = "checkpointing keeps them on the GPU unless told"
        offloads = assumed.choose("offload_inputs", "false", text) == "true"
        default = "true" if release != "5" else "false"
        reentrant = assumed.choose("reentrant", default, f"the default of that time (transformers {release})") == "true"
    optimizer = recipe.optim or "adamw_torch_fused"
    # tuiwb/workers/model.py adapters_to_float32 takes it back on a CPU; its own trainers for ORPO and PPO never do it.
    rounded = quantization in ("nf4", "int8") and stage not in ("orpo", "ppo") and device == "gpu"
    rounded = rounded and release == "5" and kernels != "unsloth"
    adapter = adapter_of(recipe, shapes, method, assumed, rounded=rounded)
    kept = keeps_base(shapes, adapter, kernels, quantization, half=half, assumed=assumed)
    upcast = "false"
    if quantization in ("nf4", "int8") and not answers:
        old = release != "5"
        text = "PEFT's prepare_model_for_kbit_training" if old else "neither this program nor TRL 1.16 casts anything"
        upcast = assumed.choose("kbit_upcast", "true" if old else "false", text)
    trained_from = {"full": 0, "freeze": recipe.freeze_layers or 0}.get(method)
    if method == "freeze" and (recipe.freeze_layers or 0) >= len(shapes.layers):
        raise InputFault(
            f"the model has only {len(shapes.layers)} layers, so nothing is left to train", key="freeze_layers"
        )
    fsdp, reason = ("2", "the trainers here ask for version 2") if release == "5" else ("1", "there was no other")
    if sharding == "fsdp":
        fsdp = assumed.choose("fsdp", fsdp, reason)
    length = recipe.max_length or LENGTH
    if stage in (*SAMPLING, "inference"):
        length += recipe.max_completion_length or ANSWER
        assumed.note("length", f"{length} tokens", "max_length of the prompt and max_completion_length of the answer")
    if stage == "reward":
        shapes = _with_score(shapes)
    evaluates = recipe.eval_strategy not in (None, "no")
    batch = recipe.per_device_train_batch_size or 1
    attention = _attention(recipe, assumed)
    engine = assumed.choose("engine", "transformers", "what `tuiwb chat` runs") if answers else "transformers"
    sampler = "transformers"
    if stage in ("grpo", "rloo"):
        sampler = assumed.choose("sampler", "transformers", "TRL samples with the model itself unless told")
    return Inputs(
        model=shapes,
        architecture=part(shapes, grid),
        grid=grid,
        stage=stage,
        method=method,
        batch=batch,
        length=length,
        accumulation=recipe.gradient_accumulation_steps or 1,
        checkpointing=checkpointing,
        weights=weights,
        compute=2 if half else (weights if weights == 2 else 4),
        autocast=half,
        quantization=quantization,
        nested=nested,
        group=group,
        bits=bits,
        upcast=upcast,
        adapter=adapter,
        kept_base=kept,
        optimizer=optimizer,
        foreach=_foreach(optimizer, device, assumed),
        attention=attention,
        kernels=kernels,
        transformers=release,
        reentrant=reentrant,
        offloads_inputs=offloads,
        loss=_loss(recipe, shapes, stage, kernels, release, device, assumed),
        sharding=sharding,
        fsdp=fsdp,
        offload=launch.offload or "none",
        trained_from=trained_from,
        eval_batch=recipe.per_device_eval_batch_size or recipe.per_device_train_batch_size or 1,
        evaluates=evaluates,
        device=device,
        others=others,
        judges=_judges(recipe, stage, checkpointing),
        completion=recipe.max_completion_length or ANSWER,
        rounds=(recipe.gradient_accumulation_steps or 1) * (recipe.num_mini_batches or 1 if stage == "ppo" else 1),
        at_once=recipe.local_rollout_forward_batch_size if stage == "ppo" else None,
        copies=_copies(recipe, stage, method),
        generations=recipe.num_generations or 8,
        engine=engine,
        cache_width=2 if engine != "transformers" or half else weights,
        workspace=_workspace(device, capability, threads=1 if answers else 2),
        vllm_share=VLLM_SHARE if sampler == "vllm" else 0.0,
        repeats=_repeats(recipe, shapes, release, attention, device, batch * (2 if stage in PAIRED else 1), assumed),
        checkpoints_kept=recipe.save_total_limit or 2,
        save_only_model=bool(recipe.save_only_model),
    )


def _judges(recipe: Recipe, stage: str, checkpointing: bool) -> bool:
    """DPO and KTO ask the reference between forward and backward; so does PPO where all answers are one batch, of which
    it keeps the forward pass for the first step (tuiwb/workers/ppo_rollout.py). The other sampling stages ask before.
    """
    one_batch = (recipe.gradient_accumulation_steps or 1) * (recipe.num_mini_batches or 1) == 1
    return stage in ("dpo", "kto") or (stage == "ppo" and one_batch and not checkpointing)


def _others(recipe: Recipe, stage: str, method: str, assumed: Assumptions) -> tuple[str, ...]:
    """The models that TRL loads besides the one that is trained. With an adapter the reference is the base itself, the
    adapter switched off."""
    found = []
    whole = method not in METHODS
    needs_reference = stage in ("dpo", "kto", "ppo") or (stage in ("grpo", "rloo") and bool(recipe.beta))
    if needs_reference and whole:
        found.append("reference model")
        assumed.note("reference model", "of the same size", "the model as it was before this training")
    elif needs_reference:
        assumed.note("reference model", "none", "the base with the adapter switched off")
    if stage == "ppo" and whole:
        found.append("value model")
        assumed.note("value model", "of the same size", "the layers of one are trained beside the policy")
    elif stage == "ppo":
        assumed.note("value model", "an adapter", "a second one is trained on the base that policy and reference share")
    if stage not in SAMPLING or not recipe.reward_model_name_or_path:
        return tuple(found)
    if stage == "ppo" and not whole:
        assumed.note("reward model", "an adapter", "taken to be one on that base as well")
        return tuple(found)
    assumed.note("reward model", "of the same size", "its size is not read from the recipe")
    return (*found, "reward model")


def _copies(recipe: Recipe, stage: str, method: str) -> float:
    """Adapters beside the trained ones on the same base: the one that it went on from, as the reference, and that of a
    reward model. PPO also knows where its policy began, of a new adapter only the half that begins as zeros."""
    if method not in METHODS or stage not in ("dpo", "kto", *SAMPLING):
        return 0
    compared = stage in ("dpo", "kto", "ppo") or bool(recipe.beta)
    found = int(compared and bool(recipe.adapter_name_or_path or recipe.ref_model_name_or_path))
    if stage != "ppo":
        return found
    return found + int(bool(recipe.reward_model_name_or_path)) + (1 if recipe.adapter_name_or_path else 0.5)


def _with_score(shapes: Architecture) -> Architecture:
    """A reward model has a score in the place of the output matrix."""
    return replace(shapes, tied=True, head_bias=False, other=(*shapes.other, ("score", shapes.hidden)))


def _where(recipe: Recipe) -> str:
    return "use_cpu is on" if recipe.use_cpu else "use_cpu is not on"


def _quantization(recipe: Recipe, model: ModelInfo, method: str) -> tuple[Quantization, bool, int, int]:
    """Kind, whether its constants are quantized too, how many weights share a constant, and bits of a weight."""
    stored = model.config.get("quantization_config")
    if isinstance(stored, Mapping):
        kind = str(stored.get("quant_method") or "")
        if kind in ("gptq", "awq"):
            group, bits = _stated_number(stored, "group_size", 128, least=-1), _stated_number(stored, "bits", 4)
            return ("gptq" if kind == "gptq" else "awq"), False, group, bits
        if kind == "fp8":
            block = stored.get("weight_block_size")
            side = block[0] if isinstance(block, list) and block and isinstance(block[0], int) else 0
            return "fp8", False, max(side, 0), 8
        if kind == "bitsandbytes":
            if stored.get("load_in_4bit"):
                return "nf4", bool(stored.get("bnb_4bit_use_double_quant")), 64, 4
            return "int8", False, 0, 8
        raise InputFault(f"the memory of {kind or 'this'} quantization is not planned", key="quantization_config")
    if recipe.load_in_4bit or method == "qlora":
        return "nf4", bool(recipe.use_bnb_nested_quant), 64, 4
    if recipe.load_in_8bit:
        return "int8", False, 0, 8
    return "", False, 0, 0


def _check_sizes(recipe: Recipe) -> None:
    """Refuse what nobody can have meant.

    Raises:
        InputFault: with the key.
    """
    stated = [(key, getattr(recipe, key), most) for key, most in _MOST.items()]
    launch = recipe.launch or Launch()
    stated += [(f"launch.{key}", getattr(launch, key), _MOST_GPUS) for key in ("nodes", "processes")]
    for key, value, most in stated:
        if value is not None and value > most:
            raise InputFault(f"{value:,} is more than there can be; at most {most:,} is planned", key=key)
    if (launch.nodes or 1) * (launch.processes or 1) > _MOST_GPUS:
        raise InputFault(f"more than {_MOST_GPUS:,} GPUs are not planned", key="launch.nodes")


def _stated_number(stored: Mapping[str, Any], key: str, default: int, least: int = 1) -> int:
    """A number of the quantization's settings; -1 is all of a column in group_size."""
    value = stored.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not (least <= value <= 4096) or value == 0:
        raise InputFault(f"{value!r} is not a possible value", key=f"quantization_config.{key}")
    return value


def _check_runs(quantization: str, capability: tuple[int, int] | None, stored: bool) -> None:
    """Refuse what the GPU has no units for (transformers quantizer_finegrained_fp8.py, bitsandbytes' README)."""
    least = _LEAST_CAPABILITY.get(quantization)
    if least is None or capability is None or capability >= least:
        return
    key = "quantization_config" if stored else "load_in_8bit"
    what = f"{quantization} needs a GPU of compute capability {least[0]}.{least[1]}"
    raise InputFault(f"{what}, and this one has {capability[0]}.{capability[1]}", key=key)


def _weights(recipe: Recipe, model: ModelInfo, assumed: Assumptions, quantization: str) -> int:
    name: str | None = recipe.dtype
    if name is None or name == "auto":
        from tuiwb.models.info import dtype_of

        stored = dtype_of(model.config) or model.dtype or ""
        if name == "auto":
            name = stored if stored in WIDTHS else "float32"
        else:
            name = "bfloat16" if recipe.bf16 else "float16" if recipe.fp16 else "float32"
        assumed.note("dtype", name, "the recipe leaves it out")
    if quantization and name == "float32" and recipe.dtype != name and (recipe.bf16 or recipe.fp16):
        return 2  # bitsandbytes models are loaded in the compute type where dtype is not stated otherwise
    return WIDTHS[name]


def _foreach(optimizer: str, device: str, assumed: Assumptions) -> bool:
    if device == "cpu" and optimizer in states.ONE_BY_ONE:
        return assumed.choose("foreach", "false", "torch takes one weight after the other on a CPU") == "true"
    if optimizer in states.ONE_BY_ONE:
        return assumed.choose("foreach", "true", f"torch's default for {optimizer} on a GPU") == "true"
    if optimizer.startswith("adamw_torch"):
        return assumed.choose("foreach", "false", f"{optimizer} updates in one kernel, without copies") == "true"
    return False


def _attention(recipe: Recipe, assumed: Assumptions) -> AttentionKernel:
    name = recipe.attn_implementation
    if name is None:
        assumed.note("attention", "sdpa", "transformers' default where the recipe leaves attn_implementation out")
        return "sdpa"
    if "flash" in name:
        return "flash"
    if name in ("eager", "sdpa"):
        return "eager" if name == "eager" else "sdpa"
    assumed.note("attention", "sdpa", f"{name} is taken to need what sdpa needs")
    return "sdpa"


def _workspace(device: str, capability: tuple[int, int] | None, threads: int) -> int:
    """One for the forward thread, one for autograd's (torch aten/src/ATen/cuda/CublasHandlePool.cpp)."""
    if device != "gpu":
        return 0
    return threads * (CUBLAS_HOPPER if capability is not None and capability[0] in (9, 10) else CUBLAS)


def _repeats(
    recipe: Recipe, shapes: Architecture, release: str, attention: str, device: str, batch: int, assumed: Assumptions
) -> bool:
    """Whether keys and values are repeated for every query head before the kernel.

    transformers 5 does it for torch's fused kernel wherever there is a mask, that is where a batch is padded
    (integrations/sdpa_attention.py use_gqa_in_sdpa); up to 4.44 some models did it always.
    """
    if release == "4.44" and shapes.model_type in ("mistral", "mixtral", "qwen2", "qwen2_moe", "phi3"):
        return True
    if attention != "sdpa" or release != "5":
        return attention == "sdpa"
    packed = bool(recipe.packing or recipe.padding_free)
    pads = batch > 1 and not packed and device == "gpu"
    reason = "examples of different lengths" if pads else "one example at a time" if batch == 1 else "nothing is padded"
    return assumed.choose("padding", "true" if pads else "false", f"{reason} in a batch") == "true"


def _loss(
    recipe: Recipe,
    shapes: Architecture,
    stage: str,
    kernels: str,
    release: str,
    device: str,
    assumed: Assumptions,
) -> LossCode:
    if stage == "reward":
        return LossCode("full_logits", "5", outputs=1)
    if stage == "ppo":
        default, reason = "rows", "this program's own: the logits of some tokens of the answers at a time"
    else:
        default, reason = "chunked", "TRL 1.16 computes the loss in chunks with its fused output layer"
    if kernels == "liger" and stage in ("sft", "pretrain"):
        default, reason = "liger", "Liger's kernels include its fused loss"
    elif kernels == "unsloth":
        default, reason = "triton", "Unsloth's kernels include its loss"
    elif release != "5":
        default, reason = "full_logits", f"what transformers {release} does"
    elif device == "cpu" and stage in ("sft", "pretrain"):
        default, reason = "rows", "this program's own on a CPU: some rows of logits at a time"
    chosen = assumed.choose("loss", default, reason)
    held = False
    if chosen in ("full_logits", "triton") and release == "5":
        text = "a training loop that keeps the model's output; false for transformers' Trainer"
        held = assumed.choose("logits_held", "true", text) == "true"
    paths: dict[str, LossPath] = {
        "chunked": "chunked", "full_logits": "full_logits", "liger": "liger", "triton": "triton", "rows": "rows",
    }  # fmt: skip
    stacks: dict[str, Any] = {"5": "5", "4.48": "4.48", "4.44": "4.44"}
    # Their modelling code does not convert the logits, and Qwen's first is no part of transformers.
    outside = shapes.model_type in ("gpt_bigcode", "qwen") and release != "5"
    cache = sum(layer.kv_width for layer in shapes.layers) if shapes.model_type == "gpt_bigcode" and outside else 0
    share = 1.0
    if stage in SAMPLING and (chosen == "rows" or (chosen == "chunked" and device == "gpu")):
        # Of a sampled text only the answer is scored; TRL's tiles on a CPU take the prompt as well.
        answer = recipe.max_completion_length or ANSWER
        share = answer / (answer + (recipe.max_length or LENGTH))
    again = stage == "ppo" and chosen == "rows"
    return LossCode(paths[chosen], stacks[release], held, share, outside=outside, cache=cache, again=again)
