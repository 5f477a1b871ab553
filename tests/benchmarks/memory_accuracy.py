"""How far the plan is from published measurements; TUIWB_MEASURED_CSV says where they are.

The rows `fms-NNN` are runs of fms-acceleration (three figures each: steady, peak and nvidia-smi). What each row says of
its code path becomes the recipe and the assumptions below; nothing is fitted here. The mapping:

- the stack of the row's file: `a100_80gb.csv` ran transformers 4.48 (shifted copy of the logits while the unshifted
  ones are held), `…_granite.csv` and `…_liger.csv` transformers up to 4.44 (float32 logits replace the others;
  Mistral's flash attention repeats keys and values);
- `framework_config`: `foak` is Unsloth's kernels, `liger` its loss on top, `baseline-peft-bnb` casts the norms to
  float32 (TRL), the others cast nothing.
"""

import argparse
import csv
import os
import re
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from memory_configs import config_named
from memory_decisions import contexts, t4
from memory_sources import Case, case_of

from tuiwb.base.units import GIB
from tuiwb.hardware.catalogue import gpu_named
from tuiwb.memory import plan
from tuiwb.memory.device import context_bytes
from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Launch, Recipe

FMS = re.compile(r"fms-\d+$")


@dataclass(frozen=True)
class Compared:
    """A measurement and the plan for it, in bytes."""

    id: str
    model: str
    method: str
    gpus: int
    steady: tuple[float, float] | None
    peak: tuple[float, float]
    shown: tuple[float, float, float] | None
    phase: str
    parameters: int

    @property
    def steady_error(self) -> float | None:
        return None if self.steady is None else self.steady[1] / self.steady[0] - 1

    @property
    def peak_error(self) -> float:
        return self.peak[1] / self.peak[0] - 1


def stack_of(row: dict[str, str]) -> str:
    return "4.44" if re.search(r"_(granite|liger)\.csv", row["source"]) else "4.48"


def recipe_of(row: dict[str, str]) -> tuple[Recipe, dict[str, str]]:
    """What a `fms-NNN` row ran."""
    extra = row["extra"]
    framework = (re.search(r"framework_config=([^;]*)", extra) or ["", ""])[1]
    flags = re.search(r"autocast flag=(\S+) fp16=([^\s;]+)", extra)
    bf16 = bool(flags) and flags[1].lower() == "true"
    fp16 = bool(flags) and flags[2].lower() == "true"
    qlora = row["method"] == "qlora"
    gptq = "gptq" in row["weights_dtype"]
    gpus = int(row["n_gpus"] or 1)
    recipe = Recipe(
        stage="sft",
        method="lora" if gptq else row["method"],
        load_in_4bit=(qlora and not gptq) or None,
        use_bnb_nested_quant=True if qlora and not gptq else None,
        lora_r=int(float(row["lora_r"])) if row["lora_r"] else None,
        lora_dropout=0.1 if row["lora_r"] else None,
        lora_target_modules=tuple(row["lora_targets"].split(",")) if row["lora_targets"] else None,
        dtype="float16" if fp16 else "bfloat16",
        bf16=bf16,
        fp16=fp16,
        optim="adamw_torch",
        per_device_train_batch_size=int(row["micro_batch"]),
        gradient_accumulation_steps=1,
        packing=True,
        max_length=int(row["seq_len"].split()[0]),
        gradient_checkpointing=row["grad_ckpt"] == "on",
        attn_implementation="flash_attention_2",
        launch=Launch(processes=gpus, sharding="fsdp") if gpus > 1 else None,
    )
    assume = {
        "transformers": stack_of(row),
        "kernels": "unsloth" if "foak" in framework else "transformers",
        "loss": "liger" if "liger" in framework else "triton" if "foak" in framework else "full_logits",
        "foreach": "true",
        "fsdp": "1",
    }
    if qlora and not gptq:
        # Under FSDP the norms stay as they are: a unit must have one type.
        assume["kbit_upcast"] = "norms" if framework == "baseline-peft-bnb" and gpus == 1 else "false"
    return recipe, assume


def compare(row: dict[str, str]) -> Compared | str:
    """The plan beside the measurement, or why there is none."""
    config = config_named(row["model"])
    if config is None:
        return f"no configuration of {row['model']}"
    recipe, assume = recipe_of(row)
    model = ModelInfo(
        ref=row["model"],
        name=row["model"],
        kind="hub",
        path=None,
        config=config,
        architecture=config["architectures"][0],
    )
    made = plan(recipe, model, assume=assume)
    extra = row["extra"]
    steady = re.search(r"steady allocated after step ([\d.]+)", extra)
    shown = re.search(r"nvidia-smi peak ([\d.]+) MiB", extra)
    return Compared(
        row["id"],
        row["model"].split("/")[-1],
        row["method"] + ("" if "gptq" not in row["weights_dtype"] else "-gptq"),
        int(row["n_gpus"] or 1),
        (float(steady[1]) * GIB, made.steady_bytes) if steady else None,
        (float(row["peak_gb"]) * GIB, made.peak_bytes),
        (float(shown[1]) * (1 << 20), *made.device_bytes) if shown else None,
        made.binding.name,
        made.parameters,
    )


def summary(compared: Iterable[Compared]) -> dict[str, float]:
    rows = list(compared)
    peaks = [abs(row.peak_error) for row in rows]
    steady = [abs(row.steady_error) for row in rows if row.steady_error is not None]
    shown = [row.shown for row in rows if row.shown]
    return {
        "rows": len(rows),
        "steady_mean": statistics.fmean(steady) if steady else 0.0,
        "steady_max": max(steady, default=0.0),
        "peak_mean": statistics.fmean(peaks) if peaks else 0.0,
        "peak_median": statistics.median(peaks) if peaks else 0.0,
        "peak_max": max(peaks, default=0.0),
        "device_in_band": sum(low <= seen <= high for seen, low, high in shown) / len(shown) if shown else 0.0,
    }


def peer_rules(row: Compared) -> dict[str, float]:
    """What published rules say of the same run, in bytes: accelerate's `estimate-memory` (four times the weights),
    DeepSpeed's `estimate_zero2_model_states_mem_needs`, 18 bytes a parameter, LLaMA-Factory's table."""
    count = row.parameters
    of_table = {"full": 8.0, "lora": 2.0, "qlora": 0.5, "lora-gptq": 0.5, "qlora-gptq": 0.5}[row.method]
    return {
        "accelerate estimate-memory": 8.0 * count,
        "DeepSpeed estimate_zero2": (2 + 18 / row.gpus) * count,
        "18 bytes a parameter": 18.0 * count,
        "LLaMA-Factory's table": of_table * count,
    }


def print_peers(rows: list[Compared]) -> None:
    print("\nPublished rules on the same rows (one GPU), mean absolute error of the peak")
    for method in sorted({row.method for row in rows}):
        of_it = [row for row in rows if row.method == method]
        said: dict[str, list[float]] = {"this plan": [abs(row.peak_error) for row in of_it]}
        for row in of_it:
            for name, value in peer_rules(row).items():
                said.setdefault(name, []).append(abs(value / row.peak[0] - 1))
        figures = ", ".join(f"{name} {statistics.fmean(values):.1%}" for name, values in said.items())
        print(f"  {method} ({len(of_it)} rows): {figures}")


def print_split(rows: list[Compared]) -> None:
    """By model: a term that only fits one of them would show. Each had a part in writing the code paths down, so what
    is held out are the other sources below, from whose allocated memory nothing was read."""
    print("\nBy model (all of one stack; held out are the other sources below)")
    for model in sorted({row.model for row in rows}):
        figures = summary(row for row in rows if row.model == model)
        print(
            f"  {model:26} {figures['rows']:3} rows: steady mean {figures['steady_mean']:.2%}, peak mean "
            f"{figures['peak_mean']:.2%} max {figures['peak_max']:.2%}, in the band {figures['device_in_band']:.0%}"
        )


def print_sources(rows: list[dict[str, str]]) -> None:
    """All other sources: allocated memory beside the peak, what an allocator or a device shows beside the band."""
    errors: dict[str, list[Error]] = {}
    left: dict[tuple[str, str], int] = {}
    for row in rows:
        source = row["id"].rsplit("-", 1)[0]
        case = case_of(row)
        if isinstance(case, str):
            left[source, case] = left.get((source, case), 0) + 1
            continue
        errors.setdefault(f"{source} ({case.measure})", []).append(_error(row["id"], case))
    print(
        "\nOther sources: allocated memory beside the plan's peak; what an allocator or a device shows beside the band,"
    )
    print("where the error is the distance from its nearer edge, and the one from its middle follows")
    for source, found in errors.items():
        sizes = [abs(one.error) for one in found]
        middle = statistics.median(abs(one.middle) for one in found)
        inside = f", from the middle {middle:.1%}" if "(device)" in source or "(reserved)" in source else ""
        print(
            f"  {source:22} {len(found):3} rows: median {statistics.median(sizes):5.1%}, mean "
            f"{statistics.fmean(sizes):5.1%}, worst {max(sizes):4.0%}, within 10 % "
            f"{sum(size <= 0.1 for size in sizes) / len(sizes):4.0%}{inside}"
        )
    middles = [abs(one.middle) for found in errors.values() for one in found]
    print(f"  all {len(middles)} rows, bands by their middle: median {statistics.median(middles):.1%}")
    print("Left out:")
    for (source, reason), count in sorted(left.items()):
        print(f"  {source:13} {count:3}: {reason}")


SHOW = False


class Error(NamedTuple):
    """Distance from what was measured, as a share of it; of a band from its nearer edge, and from its middle."""

    error: float
    middle: float


def _error(row_id: str, case: Case) -> Error:
    model = ModelInfo(
        ref=row_id, name=row_id, kind="hub", path=None, config=case.config, architecture=case.config["architectures"][0]
    )
    gpu = gpu_named(case.gpu) if case.gpu else None
    made = plan(case.recipe, model, gpu=gpu, assume=case.assume, answers=case.answers)
    low, high = made.device_bytes
    if case.measure == "reserved":
        context = context_bytes(made.inputs.ranks)
        low, high = low - round(0.75 * context), high - 2 * context
    elif case.measure != "device":
        low = high = made.steady_bytes if case.measure == "after" else made.peak_bytes
    error = Error(min(max(case.bytes, low), high) / case.bytes - 1, (low + high) / 2 / case.bytes - 1)
    if SHOW:
        print(
            f"{row_id:16} {case.measure:9} {case.bytes / GIB:7.2f} planned {low / GIB:7.2f} to {high / GIB:7.2f} "
            f"{error.error:+7.1%}  {made.binding.name}"
        )
    return error


def print_decisions(rows: list[dict[str, str]]) -> None:
    print("\nFits or not, on a T4")
    for one in t4(row for row in rows if row["id"].startswith("hf-t4-fit")):
        verdict = "right" if one.right else "WRONG"
        said = "fits" if one.fitted else "out of memory"
        print(f"  {one.id} {verdict}: {one.what}: {said}, planned margin {one.margin / GIB:+.2f} GiB")
    print("Longest context that is said to fit (may be extrapolated by its authors)")
    for context in contexts(row for row in rows if row["id"].startswith("unsloth-ctx")):
        print(
            f"  {context.id} {context.what}: {context.published:,}, planned {context.planned or 0:,} "
            f"{context.error:+.0%}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", nargs="?", default=os.environ.get("TUIWB_MEASURED_CSV"))
    parser.add_argument("--rows", action="store_true", help="print every row")
    args = parser.parse_args()
    if not args.csv or not Path(args.csv).is_file():
        print("skipped: say where measured.csv is, as the argument or in TUIWB_MEASURED_CSV")
        return 0
    global SHOW
    SHOW = args.rows
    with Path(args.csv).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    results = [compare(row) for row in rows if FMS.match(row["id"])]
    compared = [result for result in results if isinstance(result, Compared)]
    for reason in sorted({result for result in results if isinstance(result, str)}):
        print(f"left out: {reason}")
    if args.rows:
        for row in compared:
            steady = "" if row.steady_error is None else f"{row.steady_error:+7.2%}"
            print(
                f"{row.id} {row.model[:26]:26} {row.method:10} {row.gpus} GPU  steady {steady}  peak "
                f"{row.peak[0] / GIB:7.3f} planned {row.peak[1] / GIB:7.3f} {row.peak_error:+7.2%}  {row.phase}"
            )
    for title, gpus in (("one GPU", (1,)), ("sharded", (2, 4, 8))):
        figures = summary(row for row in compared if row.gpus in gpus)
        print(
            f"{title}: {figures['rows']} rows, "
            f"steady mean {figures['steady_mean']:.2%} max {figures['steady_max']:.2%}, "
            f"peak mean {figures['peak_mean']:.2%} median {figures['peak_median']:.2%} max {figures['peak_max']:.2%}, "
            f"nvidia-smi within the band {figures['device_in_band']:.0%}"
        )
    print_split(compared)
    print_peers([row for row in compared if row.gpus == 1])
    print_sources([row for row in rows if not FMS.match(row["id"])])
    print_decisions(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
