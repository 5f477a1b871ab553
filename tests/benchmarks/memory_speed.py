"""How long a plan takes.

    python tests/benchmarks/memory_speed.py [--pairs 15]

- A plan in process, its figures, phases and what fits: at most 20 ms, whatever is changed (a recipe that was seen
  before, and one whose layers were never traced). Beside it the whole document, with what would help, for which the
  changed recipes are planned as well.
- The map of 12 batches × 12 lengths: at most 200 ms.
- `tuiwb plan` as a process, `--json` for a GPU by name, against `python -c pass`: at most 12 times. In turn (A B B A),
  CPU-seconds of user and system, the ratio with its 95 % interval.

CPU-seconds throughout, because other work on the machine does not count there. The program's bytecode is compiled
before, into a folder of the benchmark's own, as an installation has it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from memory_configs import config_named
from ratios import in_turn
from start_up import whole_life

from tuiwb.hardware.catalogue import gpu_named
from tuiwb.memory import Plan, plan
from tuiwb.memory.search import batch_map
from tuiwb.models.info import ModelInfo
from tuiwb.recipe import Launch, Recipe

PLAN_MS, MAP_MS, PROCESS = 20.0, 200.0, 12.0
LORA = {"lora_r": 16, "lora_target_modules": "all-linear", "dtype": "bfloat16", "bf16": True}
RECIPES = {
    "lora": Recipe(stage="sft", method="lora", per_device_train_batch_size=4, max_length=2048, **LORA),  # type: ignore[arg-type]
    "qlora": Recipe(stage="sft", method="qlora", load_in_4bit=True, per_device_train_batch_size=4, **LORA),  # type: ignore[arg-type]
    "full": Recipe(stage="sft", method="full", bf16=True, dtype="float32", per_device_train_batch_size=1),
    "dpo": Recipe(stage="dpo", method="lora", gradient_checkpointing=True, **LORA),  # type: ignore[arg-type]
    "fsdp": Recipe(stage="sft", method="full", bf16=True, launch=Launch(processes=8, sharding="fsdp")),
}
MODELS = ("llama-3-8b", "mixtral-8x7b", "qwen3-8b")


def milliseconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return (time.process_time() - before) * 1e3


def model_of(name: str) -> ModelInfo | None:
    config = config_named(name)
    if config is None:
        return None
    return ModelInfo(ref=name, name=name, kind="hub", path=None, config=config, architecture=config["architectures"][0])


def in_process() -> bool:
    gpu = gpu_named("A100-80GB")
    bare, firsts, agains, maps = [], [], [], []
    batches, lengths = tuple(1 << n for n in range(12)), tuple(1 << n for n in range(7, 19))
    for name in MODELS:
        model = model_of(name)
        if model is None:
            continue
        for what, recipe in RECIPES.items():
            made: list[Plan] = []

            def planned(recipe: Recipe = recipe, model: ModelInfo = model, made: list[Plan] = made) -> None:
                made.append(plan(recipe, model, gpu=gpu))
                asked = (made[-1].phases, made[-1].fits, made[-1].search, made[-1].device_bytes)
                assert all(asked)

            def whole(planned: Callable[[], None] = planned, made: list[Plan] = made) -> None:
                planned()
                json.dumps(made[-1].to_json())

            bare.append(milliseconds(planned))
            first = bare[-1] + milliseconds(lambda made=made: json.dumps(made[-1].to_json()))  # type: ignore[misc]
            again = statistics.median(milliseconds(whole) for _ in range(7))
            last = made[-1]
            drawn = milliseconds(lambda last=last: batch_map(last.step, last.usable, batches, lengths))  # type: ignore[misc]
            print(f"  {name:13} {what:6} first {first:5.1f} ms, again {again:5.1f} ms, map of 12 × 12 {drawn:6.1f} ms")
            firsts.append(first)
            agains.append(again)
            maps.append(drawn)
    ok = max(*agains, *bare) <= PLAN_MS and max(maps) <= MAP_MS
    print(
        f"a plan for the first time at most {max(bare):.1f} ms, with its whole document median "
        f"{statistics.median(firsts):.1f} and at most {max(firsts):.1f} ms, again at most {max(agains):.1f} ms "
        f"(limit {PLAN_MS:g}); map at most {max(maps):.1f} ms (limit {MAP_MS:g}): "
        f"{'ok' if ok else 'NOT MET'}"
    )
    return ok


def as_a_process(pairs: int) -> bool:
    python = sys.executable
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "TUIWB_HOME": home, "PYTHONPYCACHEPREFIX": f"{home}/bytecode"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        verb = [str(Path(python).with_name("tuiwb")), "plan", "sft-lora", "--set", "model_name_or_path=llama-3.1-8b"]
        command = [*verb, "--gpu", "RTX-4090", "--json"]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        found = in_turn(
            lambda: whole_life(command, env).cpu, lambda: whole_life([python, "-c", "pass"], env).cpu, pairs, 2
        )
    ok = found.high <= PROCESS
    print(f"tuiwb plan / python -c pass: {found} (limit {PROCESS:g}): {'ok' if ok else 'NOT MET'}")
    return ok


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    args = parser.parse_args()
    print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
    inside = in_process()
    return 0 if as_a_process(args.pairs) and inside else 1


if __name__ == "__main__":
    sys.exit(main())
