"""The model that a recipe trains: the base in its precision, and what of it is trained."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from tuiwb import models
from tuiwb.base.errors import InputFault
from tuiwb.recipe import Recipe
from tuiwb.workers import vocabulary
from tuiwb.workers.sharding import reading_once

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "auto": "auto"}
LORA = ("lora", "qlora", "dora")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the base model's files are, as transformers takes it: `path` is a folder, or a hub id."""

    path: str
    arguments: dict[str, Any]
    name: str

    @classmethod
    def of(cls, recipe: Recipe) -> "Source":
        """Find the base model of a recipe.

        Raises:
            InputFault, EnvironmentFault: it is not there, or cannot be opened.
        """
        if not recipe.model_name_or_path:
            raise InputFault("no model is named", key="model_name_or_path")
        info = models.open_model(recipe.model_name_or_path)
        arguments: dict[str, Any] = {"trust_remote_code": bool(recipe.trust_remote_code)}
        if info.path is None:
            raise InputFault(
                f"the weights of {info.ref} are not on this machine; run `tuiwb models get {info.name}`",
                key="model_name_or_path",
            )
        if info.path.is_file():
            return cls(str(info.path.parent), arguments | {"gguf_file": info.path.name}, recipe.model_name_or_path)
        return cls(str(info.path), arguments, recipe.model_name_or_path)


def load_base(
    recipe: Recipe, *, device: torch.device, scores: bool = False, everywhere: bool = False
) -> PreTrainedModel:
    """The base model with its weights, in the recipe's precision, on the device.

    Args:
        scores: give it a head that makes one number of a text, instead of the output layer.
        everywhere: read its weights in every process, even where the model that is trained is read by one.

    Raises:
        InputFault: there is no such model.
    """
    source = Source.of(recipe)
    arguments = dict(source.arguments)
    arguments["dtype"] = _DTYPES[recipe.dtype or "float32"]
    if recipe.attn_implementation:
        arguments["attn_implementation"] = recipe.attn_implementation
    if (quantization := _quantization(recipe)) is not None:
        arguments["quantization_config"] = quantization
        # A quantized model cannot be moved afterwards.
        arguments["device_map"] = {"": device}
    # The sampling settings of a checkpoint may contradict each other, which only matters when it talks.
    config = AutoConfig.from_pretrained(source.path, **source.arguments)
    if scores:
        config.get_text_config().num_labels = config.num_labels = 1
    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    with contextlib.nullcontext() if everywhere else reading_once(recipe):
        model = kind.from_pretrained(source.path, config=config, **arguments)
    model.config.use_cache = False
    if recipe.added_tokens:
        vocabulary.grow(model, vocabulary.tokenizer_of(recipe).vocab_size)
    if device.type == "cpu":
        keep_unpacked(model)
    return model


def make_trainable(model: PreTrainedModel, recipe: Recipe) -> torch.nn.Module:
    """The model with exactly those parameters trainable that the method means.

    Args:
        model: the base, as `load_base` returns it.

    Returns:
        the same model, or a PeftModel around it.

    Raises:
        InputFault: the method does not fit the model, such as target modules that it does not have.
    """
    method = recipe.method or "lora"
    if recipe.adapter_name_or_path:
        return _continued(model, recipe.adapter_name_or_path)
    if method == "full":
        return model
    if method == "freeze":
        return _frozen(model, recipe.freeze_layers)
    from peft import get_peft_model

    try:
        return get_peft_model(model, _adapter_config(recipe, model))
    except ValueError as error:
        raise InputFault(f"no such adapter can be put on this model ({error})", key="method") from error


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Trainable and all parameters; 4-bit weights, which are stored two to a byte, counted as what they stand for, and
    those that DeepSpeed has split, of which nothing is left in place, as what they were."""
    trainable = total = 0
    for parameter in model.parameters():
        count = getattr(parameter, "ds_numel", parameter.numel())
        if type(parameter).__name__ == "Params4bit":
            count *= 2 * parameter.element_size()
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total


def adapters_to_float32(model: torch.nn.Module) -> None:
    """What is trained beside a frozen base in float32: 16 bits lose updates, and a CPU without units for bfloat16 is
    three times slower with it (TRL casts adapters on a quantized base to bfloat16). A model that is trained itself
    stays in the type that the recipe names."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()


def keep_unpacked(model: torch.nn.Module) -> None:
    """On a CPU with AVX512-BF16, bitsandbytes 0.50 packs 4-bit weights for inference at the first evaluation and never
    unpacks them: from then on no gradient flows through the base and its numbers are others; layers narrower than 64
    cannot be packed at all."""
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def _quantization(recipe: Recipe) -> BitsAndBytesConfig | None:
    if recipe.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    if not recipe.load_in_4bit:
        return None
    compute = torch.bfloat16 if recipe.bf16 else torch.float32
    if recipe.fp16:
        compute = torch.float16
    storage = {"bnb_4bit_quant_storage": recipe.bnb_4bit_quant_storage} if recipe.bnb_4bit_quant_storage else {}
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=recipe.bnb_4bit_quant_type or "nf4",
        bnb_4bit_use_double_quant=recipe.use_bnb_nested_quant is not False,
        bnb_4bit_compute_dtype=compute,
        **storage,
    )


def _continued(model: PreTrainedModel, adapter: str) -> torch.nn.Module:
    from peft import PeftModel

    path = Path(adapter).expanduser()
    if not (path / "adapter_config.json").is_file():
        raise InputFault(f"{adapter} is no adapter folder (adapter_config.json is missing)", key="adapter_name_or_path")
    if model.get_output_embeddings() is None:
        return _continued_with_head(model, path)
    return PeftModel.from_pretrained(model, str(path), is_trainable=True)


def _continued_with_head(model: PreTrainedModel, path: Path) -> torch.nn.Module:
    """An adapter of an earlier stage on a model with a head that scores: the head must be trained and saved with it,
    which the adapter's own settings do not say."""
    from peft import (
        PeftConfig,
        get_peft_model,
        get_peft_model_state_dict,
        load_peft_weights,
        set_peft_model_state_dict,
    )

    config = PeftConfig.from_pretrained(str(path))
    config.task_type, config.inference_mode = "SEQ_CLS", False
    wrapped = get_peft_model(model, config)
    # The head is new, and what is loaded must be whole.
    saved = load_peft_weights(str(path), device=str(model.device))
    set_peft_model_state_dict(wrapped, {**get_peft_model_state_dict(wrapped), **saved})
    return wrapped


def _frozen(model: PreTrainedModel, layers: int | None) -> PreTrainedModel:
    """Freeze embeddings and the first so many layers."""
    stack = _layers(model)
    count = len(stack) if layers is None else layers
    if not 0 <= count < len(stack):
        raise InputFault(
            f"the model has {len(stack)} layers, so from 0 to {len(stack) - 1} can be frozen", key="freeze_layers"
        )
    for parameter in model.get_input_embeddings().parameters():
        parameter.requires_grad = False
    for layer in stack[:count]:
        layer.requires_grad_(False)
    return model


def _layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The decoder's layers: the longest list of modules in it."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    if not lists:
        raise InputFault("the layers of this model are not known, so none can be frozen", key="method")
    return max(lists, key=len)


def _adapter_config(recipe: Recipe, model: PreTrainedModel) -> Any:
    from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, PromptTuningInit

    method = recipe.method or "lora"
    # With SEQ_CLS, PEFT trains and saves the head beside the adapter.
    common: dict[str, Any] = {"task_type": "SEQ_CLS" if recipe.stage == "reward" else "CAUSAL_LM"}
    targets: Any = recipe.lora_target_modules
    if targets is not None:
        common["target_modules"] = targets if isinstance(targets, str) else list(targets)
    if recipe.added_tokens:
        common["trainable_token_indices"] = vocabulary.learned_tokens(model, vocabulary.tokenizer_of(recipe))
    if recipe.lora_modules_to_save:
        common["modules_to_save"] = list(recipe.lora_modules_to_save)
    if method in LORA:
        if recipe.lora_target_parameters is not None:
            given = recipe.lora_target_parameters
            common["target_parameters"] = [given] if isinstance(given, str) else list(given)
        return LoraConfig(
            r=recipe.lora_r or 16,
            lora_alpha=recipe.lora_alpha or 2 * (recipe.lora_r or 16),
            lora_dropout=recipe.lora_dropout or 0.0,
            use_rslora=bool(recipe.use_rslora),
            use_dora=bool(recipe.use_dora) or method == "dora",
            **common,
        )
    if method == "ia3":
        return IA3Config(**common)
    common.pop("target_modules", None)
    common.pop("modules_to_save", None)
    if method == "prefix":
        return PrefixTuningConfig(
            num_virtual_tokens=recipe.num_virtual_tokens or 20,
            prefix_projection=bool(recipe.prefix_projection),
            **common,
        )
    text = recipe.prompt_tuning_init_text
    return PromptTuningConfig(
        num_virtual_tokens=recipe.num_virtual_tokens or 8,
        prompt_tuning_init=PromptTuningInit.TEXT if text else PromptTuningInit.RANDOM,
        prompt_tuning_init_text=text,
        tokenizer_name_or_path=model.config._name_or_path if text else None,
        **common,
    )
