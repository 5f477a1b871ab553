"""What past runs of this machine say of the plan: the measured peak beside the planned one, and the speed.

The run directories are the caller's to find; this reads their files.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from tuiwb import rundir
from tuiwb.rundir import RunDir

# Speeds of runs that resemble each other differ by so much (lengths, batches, what else the machine does).
SPREAD = 0.25


class Past(Struct, frozen=True):
    """One run that came to its end.

    Attributes:
        device: `cuda`, where the peak is what PyTorch allocated; `cpu`, where it is the whole process' resident memory,
            libraries included.
        flops_per_s: floating-point operations of the training in a second; None where no step was logged.
    """

    run_id: str
    method: str
    device: str
    planned_bytes: int
    measured_bytes: int
    flops_per_s: float | None

    @property
    def off(self) -> float:
        """By which share of what was measured the plan was above it."""
        return self.planned_bytes / self.measured_bytes - 1

    def to_json(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "method": self.method,
            "device": self.device,
            "planned_bytes": self.planned_bytes,
            "measured_bytes": self.measured_bytes,
            "off": round(self.off, 4),
        }


def past(runs: Iterable[RunDir]) -> tuple[Past, ...]:
    """The trainings among `runs` that were planned and measured, in their order."""
    found = (_past(run) for run in runs)
    return tuple(one for one in found if one is not None)


def _past(run: RunDir) -> Past | None:
    job = rundir.read_job(run)
    plan, parts = job.get("plan"), list(job.get("parts") or [])
    if job.get("kind") != "train" or not isinstance(plan, Mapping) or len(parts) != 1:
        return None
    part = run.part(1, str(parts[0]))
    result = rundir.read_result(part) or {}
    on_gpu = "peak_cuda_bytes" in result
    measured = result.get("peak_cuda_bytes") or result.get("peak_rss_bytes")
    if result.get("outcome") not in ("finished", "stopped") or not measured or not plan.get("peak_bytes"):
        return None
    recipe = job.get("input") or {}
    last: dict[str, Any] = next(
        (line for line in reversed(rundir.read_all(part.metrics_file)) if "tokens_per_s" in line), {}
    )
    speed = last.get("tokens_per_s")
    return Past(
        run.run_id,
        str(recipe.get("method") or ""),
        "cuda" if on_gpu else "cpu",
        int(plan["peak_bytes"]),
        int(measured),
        float(speed) * _flops_of_a_token(plan, recipe) if speed else None,
    )


def _flops_of_a_token(plan: Mapping[str, Any], recipe: Mapping[str, Any]) -> float:
    """As `costs.step_flops`, from what the run's job says; attention's part is left out."""
    count = float((plan.get("parameters") or {}).get("total") or 0)
    whole = recipe.get("method") in ("full", "freeze")
    return 2.0 * (2 + whole + bool(recipe.get("gradient_checkpointing"))) * count


def speed(runs: Iterable[Past], device: str) -> tuple[float, float] | None:
    """Floating-point operations in a second, from and to, that trainings on the device reached; None without any."""
    reached = [one.flops_per_s for one in runs if one.flops_per_s and one.device == device]
    if not reached:
        return None
    return min(reached) * (1 - SPREAD), max(reached) * (1 + SPREAD)
