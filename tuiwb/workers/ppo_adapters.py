"""Several adapters on one base: put on it, filled, and read back."""

from pathlib import Path
from typing import Any

from torch import Tensor

from tuiwb.base.errors import InputFault
from tuiwb.workers.scorer import HEAD

POLICY = "default"
"""The adapter that a checkpoint is known by, whatever loads it."""
WEIGHTS = "adapter_model.safetensors"


def add(model: Any, source: str, name: str) -> None:
    """Put a saved adapter onto the model, whatever task it was saved for; its head is not the model's."""
    from peft import PeftConfig

    folder = Path(source).expanduser()
    config: Any = PeftConfig.from_pretrained(str(folder))
    kind = model.peft_config[POLICY].peft_type
    if config.peft_type != kind:
        raise InputFault(f"is an adapter of the kind {config.peft_type.value}, not {kind.value}", file=folder)
    config.task_type, config.modules_to_save, config.inference_mode = "CAUSAL_LM", None, False
    model.add_adapter(name, config)
    saved = _adapter_tensors(folder)
    fill(model, {key: tensor for key, tensor in saved.items() if not f".{key}".endswith(f".{HEAD}")}, name, folder)


def fill(model: Any, saved: dict[str, Tensor], name: str, folder: Path) -> None:
    """Give an adapter its weights, all of them."""
    from peft import set_peft_model_state_dict

    saved = {key: tensor for key, tensor in saved.items() if not _is_a_copy(model, key)}
    wanted = {key: tensor.shape for key, tensor in tensors(model, name).items()}
    if wanted != {key: tensor.shape for key, tensor in saved.items()}:
        raise InputFault(f"the adapter in {folder} does not fit this model: it was made for another", file=folder)
    set_peft_model_state_dict(model, saved, adapter_name=name)


def tensors(model: Any, name: str) -> dict[str, Tensor]:
    """All that an adapter is made of."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(model, adapter_name=name)
    return {key: tensor for key, tensor in found.items() if not _is_a_copy(model, key)}


def alike(model: Any) -> bool:
    """Whether each layer that has one adapter has all of them."""
    from peft.tuners.lora.layer import LoraLayer

    names = set(model.peft_config)
    return all(set(layer.lora_A) == names for layer in model.modules() if isinstance(layer, LoraLayer))


def refuse_whole_layers(model: Any) -> None:
    from peft.utils.other import ModulesToSaveWrapper

    if any(isinstance(layer, ModulesToSaveWrapper) for layer in model.modules()):
        raise InputFault(
            "an adapter that trains whole layers beside it cannot share its base with other models; leave "
            "lora_modules_to_save out",
            key="lora_modules_to_save",
        )


def _is_a_copy(model: Any, key: str) -> bool:
    """Whether PEFT writes this beside an adapter with learned tokens, though it is the base's, or is there under the
    name of the embeddings that the output layer is tied to."""
    layer, _, rest = key.partition(".token_adapter.")
    if not rest:
        return False
    try:
        return rest.startswith("base_layer.") or model.get_submodule(layer).token_adapter.tied_adapter is not None
    except AttributeError:
        return False  # this model has no such layer, or no learned tokens in it


def _adapter_tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(str(folder / WEIGHTS))
    except (OSError, ValueError) as error:
        raise InputFault(f"{WEIGHTS} of the adapter cannot be read", file=folder) from error
