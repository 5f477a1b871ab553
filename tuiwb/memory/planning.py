"""The plan of a recipe: every figure with its parts, what fits, what was assumed."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tuiwb.memory import costs, describe, device, remedies, rules, states
from tuiwb.memory.assumptions import Assumption, Assumptions
from tuiwb.memory.derivation import inputs_from
from tuiwb.memory.inputs import Inputs
from tuiwb.memory.parallel import part
from tuiwb.memory.phases import Phase, Step
from tuiwb.memory.search import Search, peak_of, search
from tuiwb.models import ModelInfo
from tuiwb.recipe import Recipe


class Fits(Struct, frozen=True):
    """Whether the peak, the CUDA context and a stated slack fit a GPU.

    Attributes:
        memory_bytes: what the GPU has for one process.
        needed_bytes: peak, context and slack.
        margin_bytes: what is left; negative is what is missing.
    """

    gpu: str
    memory_bytes: int
    needed_bytes: int

    @property
    def ok(self) -> bool:
        return self.margin_bytes >= 0

    @property
    def margin_bytes(self) -> int:
        return self.memory_bytes - self.needed_bytes

    def to_json(self) -> dict[str, Any]:
        return {
            "gpu": self.gpu,
            "memory_bytes": self.memory_bytes,
            "ok": self.ok,
            "margin_bytes": self.margin_bytes,
        }


class Plan(Struct, frozen=True, dict=True):
    """What one GPU needs. Build it with `plan`; the costly parts are computed when they are asked for."""

    recipe: Recipe
    model: ModelInfo
    inputs: Inputs
    gpu: device.HasMemory | None
    assumptions: tuple[Assumption, ...]
    stated: Mapping[str, str]
    reached: tuple[float, float] | None = None

    @cached_property
    def stages(self) -> tuple[Step, ...]:
        """A step for each stage of the pipeline; without one there is one."""
        inputs = self.inputs
        grids = [replace(inputs.grid, stage=stage) for stage in range(inputs.grid.pipeline)]
        return tuple(Step(replace(inputs, grid=grid, architecture=part(inputs.model, grid))) for grid in grids)

    @cached_property
    def step(self) -> Step:
        """The step of the GPU that needs most."""
        if len(self.stages) == 1:
            return Step(self.inputs)
        return max(self.stages, key=peak_of)

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        return self.step.phases()

    @cached_property
    def binding(self) -> Phase:
        """The phase that decides: the highest."""
        return max(self.phases, key=lambda phase: phase.bytes)

    @cached_property
    def steady(self) -> dict[str, float]:
        return self.step.steady()

    @property
    def steady_bytes(self) -> int:
        return round(sum(self.steady.values()))

    @property
    def peak_bytes(self) -> int:
        return round(self.binding.bytes)

    @cached_property
    def device_bytes(self) -> tuple[int, int]:
        """What nvidia-smi shows: from, to."""
        if self.inputs.stage == "inference":
            low, high = device.answering_band(self.peak_bytes, self.inputs.ranks)
            return round(low), round(high)
        loss = next((phase for phase in self.phases if phase.name == "forward and loss"), self.binding)
        logits = loss.parts.get("logits", 0.0) + loss.parts.get("loss", 0.0)
        packed = bool(self.recipe.packing or self.recipe.padding_free)
        low, high = device.band(self.peak_bytes, self.steady_bytes, logits, self.inputs.ranks, varies=not packed)
        return round(low), round(high)

    @property
    def parameters(self) -> int:
        return self.inputs.model.parameters

    @cached_property
    def trainable(self) -> int:
        """Trained parameters of the whole model."""
        return states.trainable(replace(self.inputs, architecture=self.inputs.model))

    @property
    def usable(self) -> int:
        """What the GPU has for the training; 0 without a GPU."""
        if self.gpu is None:
            return 0
        return round(usable(self.gpu) - self.inputs.vllm_share * self.gpu.memory_total)

    @cached_property
    def fits(self) -> Fits | None:
        """Against the GPU that was named; None without one."""
        if self.gpu is None:
            return None
        need = round(device.needed(self.peak_bytes, self.steady_bytes, self.inputs.ranks))
        return Fits(self.gpu.name, self.usable, need)

    @cached_property
    def components(self) -> tuple[describe.Component, ...]:
        return describe.components(self.step.inputs, self.phases, self.steady)

    @cached_property
    def search(self) -> Search:
        if self.gpu is None:
            return Search(None, None, None)
        return search(self.step, self.usable)

    @cached_property
    def remedies(self) -> tuple[remedies.Remedy, ...]:
        return remedies.remedies(self)

    @cached_property
    def rules(self) -> tuple[rules.Rule, ...]:
        """The rules that people quote, for this model."""
        return rules.rules(self)

    @property
    def why(self) -> str:
        """Why the binding phase binds, in one sentence."""
        return describe.why_it_binds(self.phases)

    def changed(self, recipe: Recipe) -> "Plan":
        """The plan of another recipe for the same model, GPU and assumptions."""
        answers = self.inputs.stage == "inference"
        return plan(recipe, self.model, gpu=self.gpu, assume=self.stated, answers=answers, reached=self.reached)

    @property
    def disk_bytes(self) -> int:
        return costs.disk_bytes(self.inputs)

    @cached_property
    def time_s(self) -> tuple[float, float] | None:
        return costs.time_band(self.recipe, self.inputs, self.gpu, self.reached)

    def _ranks(self) -> list[dict[str, int]]:
        """Each GPU's figures: they differ from stage to stage of a pipeline."""
        found = []
        for stage, step in enumerate(self.stages):
            figures = {"steady_bytes": round(sum(step.steady().values())), "peak_bytes": round(peak_of(step))}
            found += [{"stage": stage, **figures}] * (self.inputs.ranks // self.inputs.grid.pipeline)
        return [{"rank": number, **figures} for number, figures in enumerate(found)]

    def to_json(self) -> dict[str, Any]:
        """The document of `tuiwb plan --json`; sizes in bytes, for one GPU."""
        low, high = self.device_bytes
        time = self.time_s
        return {
            "parameters": {"total": self.parameters, "trainable": self.trainable},
            "components": [component.to_json() for component in self.components],
            "phases": [_phase_json(phase) for phase in self.phases],
            "steady_bytes": self.steady_bytes,
            "peak_bytes": self.peak_bytes,
            "device_bytes": {"low": low, "high": high},
            "binding_phase": self.binding.name,
            "ranks": self._ranks(),
            "fits": None if self.fits is None else self.fits.to_json(),
            "search": self.search.to_json(),
            "remedies": [remedy.to_json() for remedy in self.remedies],
            "disk_bytes": self.disk_bytes,
            "time_s": None if time is None else {"low": time[0], "high": time[1]},
            "assumptions": [assumption.to_json() for assumption in self.assumptions],
        }


def plan(
    recipe: Recipe,
    model: ModelInfo,
    *,
    gpu: device.HasMemory | None = None,
    assume: Mapping[str, str] | None = None,
    answers: bool = False,
    reached: tuple[float, float] | None = None,
) -> Plan:
    """What `recipe` needs on one GPU.

    Args:
        recipe: complete (`resolve`); what it leaves out all the same is assumed, and said so.
        model: its configuration is enough.
        gpu: to say whether it fits; a live one counts with what is free.
        assume: answers to the questions of `assumptions`.
        reached: operations in a second that past trainings reached on this GPU, from and to (`history.speed`).
        answers: plan what the model needs to answer so many prompts at once, instead of its training.

    Raises:
        InputFault: the model's configuration or the recipe is at fault.
        UsageFault: an assumption that does not exist.
    """
    assumed = Assumptions(assume or {})
    capability = getattr(gpu, "capability", None) or getattr(gpu, "compute_capability", None)
    inputs = inputs_from(recipe, model, assumed, answers=answers, capability=capability)
    states.optimizer_cost(inputs)
    if inputs.accumulation > 1:
        assumed.note("gradients", "kept", "they are summed over several batches")
    if reached is not None:
        assumed.note(
            "speed", f"{reached[0] / 1e12:.2g} to {reached[1] / 1e12:.2g} TFLOPS", "what past runs reached here"
        )
    return Plan(recipe, model, inputs, gpu, assumed.all, dict(assume or {}), reached)


def usable(gpu: device.HasMemory) -> int:
    """What a new process can have: of a live GPU what is free now, of a named one all that it offers."""
    free = getattr(gpu, "memory_free", None)
    return int(free) if isinstance(free, int) and free > 0 else int(gpu.memory_total)


def _phase_json(phase: Phase) -> dict[str, Any]:
    # Rounded so that the components add up to the phase to the byte.
    parts = {name: round(value) for name, value in phase.parts.items()}
    return {"name": phase.name, "bytes": sum(parts.values()), "components": parts}
