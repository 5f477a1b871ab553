"""The export worker: `python -m tuiwb.workers.merge RUN_DIR` makes one model of a base and an adapter.

The base is read whole, never in the 4 or 8 bits that it may have been trained in; each layer is put into float32 while
what was learned is added to it, and rounded once, into the type that is written. What comes out is compared with what
was trained before it gets its name.
"""

import gc
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tuiwb import models, rundir
from tuiwb.base.errors import EnvironmentFault, RunFault, reason_of
from tuiwb.chat.protocol import tokenizer_place
from tuiwb.export.spec import PART, Spec
from tuiwb.rundir import BeatWriter, RunDir
from tuiwb.workers import checkpoint, failure
from tuiwb.workers.chat_model import Base, load_model, put_adapter

_FAILED = 5
# Rounding to bfloat16 changes the likelihoods of a healthy model by some 1e-4 nats a token; a layer that was merged
# where it should not be (tied with another, say) by more than 0.1.
_LARGEST_KL = 0.02
_ASKED = (
    ("What is a cache?", "A place where something is kept that was fetched before, so that it need not be again."),
    ("Write one line of Python that sums a list.", "total = sum(numbers)"),
    ("Nenne drei Farben.", "Rot, Grün und Blau."),
)


def merge(spec: Spec, run: RunDir) -> dict[str, Any]:
    """Write the merged model.

    Returns:
        `output`, `dtype`, and how far it is from what was trained: `kl` (mean, nats a token), `same_top` (share of
        tokens whose likeliest successor is the same), and the same of the base in fewer bits where it was trained so.

    Raises:
        RunFault: it does not compute what was trained.
        EnvironmentFault: it cannot be written.
    """
    import torch

    tokenizer = models.load_tokenizer(tokenizer_place(spec.model, spec.adapter))
    ids = [torch.tensor([tokenizer.encode(text)]) for text in _texts(tokenizer, spec.template)]
    beats = BeatWriter(run)
    beats.beat("load")
    trained = None
    if spec.quantization is not None:
        trained = _logprobs(_tuned(spec, tokenizer, spec.quantization, "float32").network, ids)
        gc.collect()
    # In its own type, which the layers leave one by one.
    base = _tuned(spec, tokenizer, None, "auto")
    before = _logprobs(base.network.float() if _is_small(base.model) else base.network, ids)
    beats.beat("load", 1, 2)
    model = merged(base.network, getattr(torch, spec.dtype))
    after = _logprobs(model, ids)
    found = _apart(before, after)
    if not found["kl"] < _LARGEST_KL:  # nor where it is no number
        raise RunFault(
            f"the merged model is {found['kl']:.3g} nats a token from the adapter on its base, so it was not kept; an "
            "adapter on an output layer that is tied with the embeddings cannot be merged"
        )
    beats.beat("save", 1, 2)
    _write(spec, model, tokenizer)
    result = {"output": spec.output, "dtype": spec.dtype, **found}
    return result | ({"quantized": _apart(trained, after)} if trained is not None else {})


def merged(network: Any, dtype: Any) -> Any:
    """The base of a PeftModel with what its adapter learned added to it.

    Args:
        dtype: of the weights that come out.

    Raises:
        ValueError: a weight would be no number.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in network.modules():
        if isinstance(layer, BaseTunerLayer) and hasattr(layer, "merge"):
            weights = layer.get_base_layer()
            weights.float()
            layer.merge(safe_merge=True)
            weights.to(dtype)
    with warnings.catch_warnings(action="ignore"):  # that the layers are merged already
        model = network.merge_and_unload(safe_merge=True).to(dtype)
    for config in (model.config, model.config.get_text_config()):
        config.dtype = dtype
    assert all(weight.dtype == dtype for weight in model.parameters() if torch.is_floating_point(weight))
    return model


def _tuned(spec: Spec, tokenizer: Any, quantization: str | None, dtype: str) -> Base:
    kind = dtype if dtype != "auto" else models.open_model(spec.model).dtype or "float32"
    base = Base(model=load_model(spec.model, kind, quantization=quantization), tokenizer=tokenizer)
    put_adapter(base, spec.adapter, "default")
    return base


def _is_small(model: Any) -> bool:
    """Whether it may be put into float32 as a whole, so that what is compared with is exact."""
    from tuiwb import hardware

    needed = 4 * sum(weight.numel() for weight in model.parameters())
    return needed < 0.5 * hardware.host().memory_available


def _texts(tokenizer: Any, template: str) -> list[str]:
    written = tokenizer.template(template)
    return [
        written.render([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])
        for question, answer in _ASKED
    ]


def _logprobs(model: Any, texts: Sequence[Any]) -> list[Any]:
    """(tokens, vocabulary) of each text, float32."""
    import torch

    with torch.inference_mode():
        return [model(input_ids=ids.to(model.device), use_cache=False).logits[0].float().log_softmax(-1).cpu()
                for ids in texts]  # fmt: skip


def _apart(before: Sequence[Any], after: Sequence[Any]) -> dict[str, float]:
    import torch

    kl = torch.cat([(one.exp() * (one - other)).sum(-1) for one, other in zip(before, after, strict=True)])
    same = torch.cat([one.argmax(-1) == other.argmax(-1) for one, other in zip(before, after, strict=True)])
    return {"kl": float(kl.mean()), "same_top": float(same.float().mean())}


def _write(spec: Spec, model: Any, tokenizer: Any) -> None:
    """Under another name until it is whole. The tokenizer's files are those of the training, not saved anew: other
    programs know a tokenizer by what is in them."""
    output = Path(spec.output)
    parts = output.with_name(f".{output.name}.part")
    recipe = Path(spec.adapter) / "recipe.yaml"
    try:
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        model.save_pretrained(parts)
        checkpoint.write_companions(
            parts,
            tokenizer,
            tokenizer.template(spec.template),
            spec.stop_ids,
            recipe.read_text("utf-8") if recipe.is_file() else "",
        )
        models.open_model(str(parts))
        parts.rename(output)
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=output) from error
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge. Returns 0 when it is done, 5 when it failed."""
    run = RunDir(Path((arguments or sys.argv[1:])[0]).absolute())
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    part, began = run.part(1, PART), time.monotonic()
    try:
        found = merge(msgspec.convert(rundir.read_job(run).get("input") or {}, Spec), run)
        rundir.append_event(run, "exported", by="worker", **found)
        rundir.write_result(run, part, "finished", seconds=round(time.monotonic() - began, 1), metrics=found)
    except Exception as error:
        traceback.print_exc()
        message = failure.sentence(error)
        sys.stderr.write(f"{message}\n")
        rundir.append_event(run, "failed", by="worker", message=message)
        rundir.write_result(
            run, part, "failed", message=message, error=type(error).__name__, cause=failure.cause_of(error)
        )
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
