"""The plan against PyTorch's own memory tracker, on this CPU: real steps of this program's trainers on a small Llama.

    python tests/benchmarks/memory_tracker.py [--allocator]

Every stage, all weights or LoRA, with and without gradient checkpointing, two lengths; quantized bases and DoRA where
the tracker sees their kernels; steps that two processes share (FSDP over gloo). Peaks are of the second step. Nothing
here is timed, so it may run beside other work; a row takes a few seconds.

With --allocator they are steps in 16 bits and in mixed precision, of every stage, and other methods and optimizers,
watched by the allocator's own notes (torch.profiler) instead: those hold what kernels take for themselves too.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE.parent), str(_HERE.parent / "memory")]

STAGES = ("sft", "pretrain", "reward", "dpo", "orpo", "kto", "ppo", "grpo", "rloo")
LENGTHS = (96, 256)
LIMIT = 0.03


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--allocator", action="store_true", help="steps in 16 bits, by the allocator's notes")
    parser.add_argument("--save", type=Path, help="keep what was tracked in this file, and take up what is in it")
    args = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    warnings.simplefilter("ignore")
    known = _known(args.save)
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TUIWB_HOME"] = str(Path(folder, "home"))
        for name, seen, peak, phase in _rows(Path(folder), args.only, known, args.save, args.allocator):
            errors[name] = peak / seen - 1
            mark = "" if abs(errors[name]) <= LIMIT else "  over 3 %"
            print(
                f"{name:52} tracked {seen / 1e6:8.2f} MB, planned {peak / 1e6:8.2f} {errors[name]:+7.2%}  "
                f"{phase}{mark}",
                flush=True,
            )
    if errors:
        sizes = [abs(error) for error in errors.values()]
        over = [name for name, error in errors.items() if abs(error) > LIMIT]
        print(
            f"{len(sizes)} rows: mean {statistics.fmean(sizes):.2%}, worst {max(sizes):.2%}, over 3 %: "
            f"{', '.join(over) or 'none'}"
        )
    return 0


def _rows(
    folder: Path, only: str, known: dict[str, list[int]], save: Path | None, allocator: bool
) -> Iterator[tuple[str, int, int, str]]:
    """Name of each row, its tracked and planned peak, and the phase that binds."""
    import torch
    import tracked_steps

    torch.set_num_threads(1)
    model = tracked_steps.make_model(folder / "model")
    cases, watch = (_other_cases(), tracked_steps.ByAllocator) if allocator else (_cases(), tracked_steps.ByTracker)
    for number, case in enumerate(one for one in cases if only in one.name):
        if case.name not in known:
            known[case.name] = list(tracked_steps.track(case, model, _new(folder / str(number)), watch))
            _keep(save, known)
        made = tracked_steps.planned(case, known[case.name][2], model)
        yield case.name, known[case.name][1], made.peak_bytes, made.binding.name
    if not allocator:
        yield from _shared_rows(only, known, save)


def _shared_rows(only: str, known: dict[str, list[int]], save: Path | None) -> Iterator[tuple[str, int, int, str]]:
    """Likewise of what two processes share."""
    from tracked_shards import Shared, planned, track_all

    cases = [
        Shared(method, checkpointing, length)
        for length in LENGTHS
        for method in ("full", "lora")
        for checkpointing in (False, True)
    ]
    cases += [Shared("lora", True, max(LENGTHS), 1, layers, reentrant=True) for layers in (3, 8)]
    chosen = [case for case in cases if only in case.name]
    if fresh := [case for case in chosen if case.name not in known]:
        known.update((case.name, list(seen)) for case, seen in zip(fresh, track_all(fresh), strict=True))
        _keep(save, known)
    for case in chosen:
        made = planned(case)
        yield case.name, known[case.name][1], made.peak_bytes, made.binding.name


def _cases() -> Iterator["tracked_steps.Case"]:  # noqa: F821 - imported where it is used
    from tracked_steps import Case

    for length in LENGTHS:
        for stage in STAGES:
            for method in ("lora", "full"):
                for checkpointing in (True, False):
                    yield Case(stage, method, checkpointing, length)
        for stage in ("sft", "dpo"):
            for checkpointing in (True, False):
                yield Case(stage, "lora", checkpointing, length, "gpu")
                yield Case(stage, "full", checkpointing, length, "gpu")
                four = (("load_in_4bit", True), ("use_bnb_nested_quant", True))
                yield Case(stage, "qlora", checkpointing, length, "gpu", four)
        for checkpointing in (True, False):
            yield Case("sft", "lora", checkpointing, length, "gpu", (("load_in_8bit", True),))
            yield Case("sft", "dora", checkpointing, length, "cpu", (("use_dora", True),))


def _other_cases() -> Iterator["tracked_steps.Case"]:  # noqa: F821 - as above
    from tracked_steps import Case

    half, mixed = (("dtype", "bfloat16"), ("bf16", True)), (("bf16", True),)
    dropped = (("lora_dropout", 0.1),)
    four = (("load_in_4bit", True), *dropped)
    for checkpointing in (True, False):
        for stage in STAGES:
            yield Case(stage, "lora", checkpointing, keys=half)
            yield Case(stage, "lora", checkpointing, keys=mixed)
            yield Case(stage, "full", checkpointing, keys=mixed)
        for method in ("lora", "dora"):
            yield Case("sft", method, checkpointing, keys=dropped)
            yield Case("sft", method, checkpointing, keys=(*half, *dropped))
        for keys in (four, (*four, *half), (*four, *mixed), four[:1], (*four[:1], *half)):
            yield Case("sft", "qlora", checkpointing, keys=keys)
        for method, keys in (
            ("dora", ()),
            ("ia3", ()),
            ("prompt", ()),
            ("freeze", (("freeze_layers", 2),)),
            ("lora", (("neftune_noise_alpha", 5.0),)),
            ("lora", (("lora_modules_to_save", ("embed_tokens", "lm_head")),)),
            ("lora", (("gradient_accumulation_steps", 2),)),
            ("full", (("gradient_accumulation_steps", 2),)),
            *(("full", (("optim", optimizer),)) for optimizer in ("adamw_torch_fused", "adafactor", "sgd")),
        ):
            yield Case("sft", method, checkpointing, keys=keys)


def _known(file: Path | None) -> dict[str, list[int]]:
    return json.loads(file.read_text()) if file is not None and file.exists() else {}


def _keep(file: Path | None, known: dict[str, list[int]]) -> None:
    if file is not None:
        file.write_text(json.dumps(known))


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
