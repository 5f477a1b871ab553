"""A preset made to fit a model and a device: batch, checkpointing, bits, length and GPUs, asked of the memory plan.

What a step learns from stays as the preset has it (its examples, their length) as long as anything else can give way.
The ways are tried from the cheapest on: fewer examples at a time, checkpointing, the model split over the GPUs, the
base in 4 bits, the optimizer in 8, and shorter examples last.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tuiwb.base.errors import UsageFault
from tuiwb.base.units import GIB, count, gib
from tuiwb.recipe import Launch, Recipe, load, pairs
from tuiwb.resolve.fill import resolve
from tuiwb.resolve.trainable import refusals

if TYPE_CHECKING:
    from tuiwb.hardware import Host
    from tuiwb.hardware.catalogue import GpuSpec
    from tuiwb.memory import Plan
    from tuiwb.models import ModelInfo

SIZES = {"1B": "llama-3.2-1b", "8B": "llama-3.1-8b", "32B": "qwen2.5-32b-instruct", "70B": "llama-3.1-70b"}
"""Classes of models, each with the one of the catalogue that stands for it."""
CARDS = (16, 24, 48, 80)
"""GiB of the usual classes of GPUs, as they are sold."""
_SHORTEST = 512
_OPTIMIZER_8BIT = "adamw_bnb_8bit"


@dataclass(frozen=True, slots=True)
class Target:
    """What a preset is to fit: so many GPUs of one kind, or the CPU with its memory. Looks like a GPU to the plan."""

    name: str
    memory_total: int
    gpus: int = 1
    cpu: bool = False
    capability: tuple[int, int] | None = None

    @classmethod
    def of(cls, spec: "GpuSpec", gpus: int = 1) -> "Target":
        return cls(spec.name, spec.memory_total, gpus, capability=spec.capability)

    @classmethod
    def of_cpu(cls, memory: int) -> "Target":
        return cls("the CPU", memory, cpu=True)

    @property
    def title(self) -> str:
        return f"{self.gpus} × {self.name}" if self.gpus > 1 else self.name


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that was derived."""

    key: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """A preset for a model and a target.

    Attributes:
        preset: its name.
        recipe: the preset with what was derived; where nothing fits, with everything that was tried.
        plan: of that recipe, complete.
        choices: what was derived, and why.
        refusal: why it cannot be; empty where it fits.
        min_gpus: how many such GPUs would be enough, where one is not; None where no number is, or none is needed.
    """

    preset: str
    recipe: Recipe
    plan: "Plan"
    choices: tuple[Choice, ...] = ()
    refusal: str = ""
    min_gpus: int | None = None

    @property
    def ok(self) -> bool:
        return not self.refusal

    @property
    def short_refusal(self) -> str:
        """The refusal without what is needed, for tables that have it in a column."""
        return "does not fit: " + self.refusal.partition("; ")[2]

    def to_json(self) -> dict[str, Any]:
        from tuiwb.recipe import to_plain

        fits = self.plan.fits
        return {
            "preset": self.preset,
            "fits": self.ok,
            "refusal": self.refusal,
            "min_gpus": self.min_gpus,
            "peak_bytes": self.plan.peak_bytes,
            "memory_bytes": fits.memory_bytes if fits else None,
            "derived": [dataclasses.asdict(choice) for choice in self.choices],
            "recipe": to_plain(self.recipe),
        }


@dataclass
class Fitter:
    """Fits presets to one model and target. What was found is remembered."""

    model: "ModelInfo"
    target: Target
    host: "Host"
    _known: dict[str, Fitted] = field(default_factory=dict)

    def fit(self, name: str) -> Fitted:
        """The preset made to fit, or why it cannot be.

        Raises:
            InputFault: there is no such preset, or the model cannot be planned.
            UsageFault: it has several parts.
        """
        if name not in self._known:
            self._known[name] = self._fit(name)
        return self._known[name]

    def _fit(self, name: str) -> Fitted:
        preset = load(name)
        if preset.stages:
            raise UsageFault("it has several parts: fit the preset of each stage, such as sft-lora", key=name)
        base = self._complete(msgspec.structs.replace(preset, gradient_checkpointing=False))
        ways = list(_ways(base, self.target))
        smallest = self._planned(base, ways[-1], ways[-1].sizes[-1])
        if not _ok(smallest):
            return self._refused(name, preset, base, ways, smallest)
        before: list[tuple[_Way, int, Plan]] = []
        for way in ways:
            for size in way.sizes:
                planned = self._planned(base, way, size)
                if _ok(planned):
                    return self._found(name, preset, base, way, size, before)
                before.append((way, size, planned))
        raise AssertionError("the smallest fits")

    def _complete(self, recipe: Recipe) -> Recipe:
        from tuiwb.hardware.gpu import Gpu

        target = self.target
        gpus = [
            Gpu(
                index=number, uuid="", name=target.name, memory_total=target.memory_total,
                memory_free=target.memory_total, compute_capability=target.capability,
            )
            for number in range(0 if target.cpu else target.gpus)
        ]  # fmt: skip
        return resolve(recipe, model=self.model, host=self.host, gpus=gpus).recipe

    def _planned(self, base: Recipe, way: "_Way", size: int) -> "Plan":
        from tuiwb import memory

        return memory.plan(way.applied(base, size, self.target.gpus), self.model, gpu=self.target)

    def _found(
        self, name: str, preset: Recipe, base: Recipe, way: "_Way", size: int, before: "list[tuple[_Way, int, Plan]]"
    ) -> Fitted:
        from tuiwb import memory

        recipe = self._stated(preset, base, way, size)
        plan = memory.plan(self._complete(recipe), self.model, gpu=self.target)
        return Fitted(name, recipe, plan, tuple(_choices(base, way, size, before, self.target)))

    def _stated(self, preset: Recipe, base: Recipe, way: "_Way", size: int) -> Recipe:
        """The preset with what was derived, and nothing that `resolve` would choose again all the same."""
        changes = way.changes | way.batch(base, size, self.target.gpus)
        changes.pop("per_device_eval_batch_size")
        if self.target.cpu:
            changes["use_cpu"] = True
        if self.target.gpus > 1:
            changes["launch"] = Launch(processes=self.target.gpus, sharding=way.sharding)  # type: ignore[arg-type]
        return msgspec.structs.replace(preset, **changes)

    def _refused(self, name: str, preset: Recipe, base: Recipe, ways: "list[_Way]", smallest: "Plan") -> Fitted:
        way = ways[-1]
        recipe = self._stated(preset, base, way, way.sizes[-1])
        planned = smallest.recipe
        fits = smallest.fits
        assert fits is not None
        # Context and slack included: what is said to be needed must be more than what there is.
        needs = f"needs {gib(fits.needed_bytes)} even with {_tried(planned, base)}"
        has = f"{self.target.title} has {gib(fits.memory_bytes)}"
        enough = None
        if not self.target.cpu:
            enough = self._fewest(base, ways)
        text = f"{name} on {self.model.name} {needs}; {has}{self._enough(planned, enough)}{self._instead(name)}"
        return Fitted(name, recipe, smallest, refusal=text, min_gpus=enough)

    def _fewest(self, base: Recipe, ways: "list[_Way]") -> int | None:
        """GPUs that are enough when the model is split over them; length and bits as the preset has them."""
        from tuiwb import memory

        plain = next(one for one in reversed(ways) if not one.gives_up)
        several = dataclasses.replace(plain, sharding="fsdp")
        gpus, enough = max(2, self.target.gpus), None
        # The search leaves the batches that are summed as they are, and with more GPUs there are fewer: ask again.
        for _ in range(4):
            planned = memory.plan(several.applied(base, plain.sizes[-1], gpus), self.model, gpu=self.target)
            if _ok(planned):
                enough = gpus
            found = planned.search.min_gpus
            if found is None or found == gpus or (enough is not None and found > enough):
                break
            gpus = max(2, found)
        return enough

    def _enough(self, planned: Recipe, gpus: int | None) -> str:
        if self.target.cpu:
            return ""
        if gpus is None:
            return ", and no number of them is enough"
        several = msgspec.structs.replace(planned, launch=Launch(processes=gpus, sharding="fsdp"))
        later = " (which can be planned but not trained yet)" if refusals(several) else ""
        return f", and {count(gpus)} of them are enough with sharding fsdp{later}"

    def _instead(self, name: str) -> str:
        """Another method of the stage that fits."""
        stage, _, method = name.partition("-")
        others = {"full": ("lora", "qlora"), "freeze": ("lora", "qlora"), "lora": ("qlora",), "dora": ("qlora",)}
        for other in others.get(method, ()):
            wanted = f"{stage}-{other}"
            if pairs.is_pair(wanted) and self.fit(wanted).ok:
                return f"; {wanted} fits"
        return ""


@dataclass(frozen=True, slots=True)
class _Way:
    """Changes besides the batch, and the batches to try with them, the largest first.

    Attributes:
        gives_up: it costs quality: bits or length.
    """

    changes: dict[str, Any]
    sizes: tuple[int, ...]
    sharding: str = "none"
    gives_up: bool = False

    def batch(self, base: Recipe, size: int, gpus: int) -> dict[str, Any]:
        """As many examples in a step as before, `size` of them at once."""
        group = (base.num_generations or 1) if base.stage in ("grpo", "rloo") else 1
        return {
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": max(1, _examples(base) // (size * gpus)),
            "per_device_eval_batch_size": -(-size // group) * group,
        }

    def applied(self, base: Recipe, size: int, gpus: int) -> Recipe:
        changes = self.changes | self.batch(base, size, gpus)
        if gpus > 1:
            launch = base.launch or Launch()
            changes["launch"] = msgspec.structs.replace(launch, processes=gpus, sharding=self.sharding)
        return msgspec.structs.replace(base, **changes)


def _ways(base: Recipe, target: Target) -> Iterator[_Way]:
    """What may be done to a recipe so that it fits, the cheapest first."""
    several = target.gpus > 1
    sizes = _sizes(base, target)
    half = tuple(size for size in sizes if size > 1) or sizes
    for sharding in ("ddp", "fsdp") if several else ("none",):
        yield _Way({"gradient_checkpointing": False}, half, sharding)
        if base.method == "prefix":  # it does not go with checkpointing
            yield _Way({"gradient_checkpointing": False}, sizes[-1:], sharding)
        else:
            yield _Way({"gradient_checkpointing": True}, sizes, sharding)
    changes: dict[str, Any] = {"gradient_checkpointing": base.method != "prefix"}
    if base.method in ("dora", "ia3", "prefix", "prompt") and not base.load_in_4bit:
        changes |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
        yield _Way(changes, sizes, sharding, gives_up=True)
    if base.method in ("full", "freeze") and not several and not target.cpu:
        changes = changes | {"optim": _OPTIMIZER_8BIT}
        yield _Way(changes, sizes, sharding, gives_up=True)
    length = base.max_length or 1024
    while length // 2 >= _SHORTEST:
        length //= 2
        changes = changes | {"max_length": length}
        yield _Way(changes, sizes[-1:], sharding, gives_up=True)


def _sizes(base: Recipe, target: Target) -> tuple[int, ...]:
    """Batches of one device, the largest first: on a GPU up to all examples of a step, on a CPU, which large batches
    make no faster, up to that of the preset."""
    least = 2 if base.stage == "kto" else 1  # its distance to the reference is measured over a batch
    most = (base.per_device_train_batch_size or 1) if target.cpu else max(_examples(base) // target.gpus, least)
    sizes = [most]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= least:
        sizes.append(sizes[-1] // 2)
    return tuple(sizes)


def _choices(
    base: Recipe, way: _Way, size: int, before: "list[tuple[_Way, int, Plan]]", target: Target
) -> Iterator[Choice]:
    """What was derived, each with the figure that decided it."""
    if target.cpu:
        yield Choice("use_cpu", "true", "the CPU is asked for")
    if target.gpus > 1:
        tight = way.sharding != "ddp"
        why = "a copy of the model on each does not fit" if tight else "each GPU holds the whole model"
        yield Choice("launch.processes", str(target.gpus), "one for each GPU")
        yield Choice("launch.sharding", way.sharding, why)
    tried = {(one.sharding, tuple(one.changes.items()), at): planned for one, at, planned in before}
    larger = tried.get((way.sharding, tuple(way.changes.items()), 2 * size))
    examples = _examples(base)
    each = f"{count(examples)} examples a step, as in the preset"
    if larger is not None:
        each += f"; {count(2 * size)} at a time would need {gib(larger.peak_bytes)}"
    yield Choice("per_device_train_batch_size", str(size), each)
    passes = max(1, examples // (size * target.gpus))
    yield Choice("gradient_accumulation_steps", str(passes), f"the other part of the {count(examples)} examples")
    without = before[-1][2] if before else None
    for one, _, planned in before:
        if not one.changes["gradient_checkpointing"] and one.sharding == way.sharding:
            without = planned  # with the fewest examples that were tried
    checkpointing = bool(way.changes["gradient_checkpointing"])
    if checkpointing and without is not None:
        why = f"without it {gib(without.peak_bytes)} would be needed"
    elif base.method == "prefix":
        why = "a learned prefix does not go with it"
    else:
        why = "it fits without, and checkpointing costs a third of the speed"
    yield Choice("gradient_checkpointing", str(checkpointing).lower(), why)
    yield from _given_up(base, way, before)


def _given_up(base: Recipe, way: _Way, before: "list[tuple[_Way, int, Plan]]") -> Iterator[Choice]:
    whys = {
        "load_in_4bit": "the base in 16 bits",
        "optim": "the optimizer's state in 32 bits",
        "max_length": f"{count(base.max_length or 0)} tokens",
    }
    for key, what in whys.items():
        without = [planned for one, _, planned in before if way.changes.get(key) != one.changes.get(key)]
        if key in way.changes and without:
            value = way.changes[key]
            text = str(value).lower() if isinstance(value, bool) else str(value)
            yield Choice(key, text, f"with {what} {gib(without[-1].peak_bytes)} would be needed")


def _tried(planned: Recipe, base: Recipe) -> str:
    """What was given up before it was refused."""
    words = [f"{count(planned.per_device_train_batch_size or 1)} of {count(planned.max_length or 0)} tokens at a time"]
    words += ["checkpointing"] if planned.gradient_checkpointing else []
    words += ["the base in 4 bits"] if planned.load_in_4bit else []
    words += ["the optimizer in 8 bits"] if planned.optim == _OPTIMIZER_8BIT != base.optim else []
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else words[0]


def _examples(base: Recipe) -> int:
    return (base.per_device_train_batch_size or 1) * (base.gradient_accumulation_steps or 1)


def _ok(plan: "Plan") -> bool:
    return plan.fits is not None and plan.fits.ok


def model_class(size: str) -> "ModelInfo":
    """The model that stands for a class of sizes, such as 8B.

    Raises:
        UsageFault: it is no size.
    """
    from tuiwb.models.well_known import find_entry

    wanted = SIZES.get(size.upper())
    if wanted is None:
        raise UsageFault(f"{size} is no class of models; there are {', '.join(SIZES)}", key="--model-size")
    entry = find_entry(wanted)
    assert entry is not None
    return msgspec.structs.replace(entry.info(wanted), name=f"{size.upper()} ({entry.name})")


def card(gib_sold: float) -> "GpuSpec":
    """A GPU sold with so much memory: the one of the catalogue that leaves a process the least of it.

    Raises:
        UsageFault: it is no possible size.
    """
    from tuiwb.hardware.catalogue import GPU_CATALOGUE, GpuSpec

    if not 1 <= gib_sold < 1000:
        raise UsageFault(f"{gib_sold:g} GiB is no size of a GPU", key="--gpu")
    near = [gpu.memory_total for gpu in GPU_CATALOGUE if 0.9 * gib_sold <= gpu.memory_total / GIB <= gib_sold]
    return GpuSpec(f"a GPU with {gib_sold:g} GiB", min(near, default=int(0.92 * gib_sold * GIB)))
