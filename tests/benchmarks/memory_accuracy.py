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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from memory_configs import config_named

from tuiwb.base.units import GIB
from tuiwb.memory import plan
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
    )


def fms_rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from (row for row in csv.DictReader(file) if FMS.match(row["id"]))


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", nargs="?", default=os.environ.get("TUIWB_MEASURED_CSV"))
    parser.add_argument("--rows", action="store_true", help="print every row")
    args = parser.parse_args()
    if not args.csv or not Path(args.csv).is_file():
        print("skipped: say where measured.csv is, as the argument or in TUIWB_MEASURED_CSV")
        return 0
    results = [compare(row) for row in fms_rows(Path(args.csv))]
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
