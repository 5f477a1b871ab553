"""From a recipe that was assessed to a training run."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuiwb import recipe as recipes
from tuiwb.recipe import Recipe
from tuiwb.recipe.parts import parts_of
from tuiwb.resolve import Assessment
from tuiwb.rundir import RunDir
from tuiwb.runs.job import Job
from tuiwb.runs.launching import launch

WORKER = "tuiwb.workers.train"


def train(
    assessment: Assessment, *, after: tuple[str, ...] = (), priority: int = 0, held: bool = False, retries: int = 0
) -> RunDir:
    """Launch the training.

    Args:
        after, priority, held, retries: as in `Job`.

    Raises:
        InputFault: a check found an error; there is no run then.
        EnvironmentFault, RunFault: as `launch`.
    """
    return launch(replace(job_of(assessment), after=after, priority=priority, held=held, retries=retries))


def job_of(assessment: Assessment) -> Job:
    """The job of a training, for `launch`.

    Raises:
        InputFault: a check found an error.
    """
    if not assessment.ok:
        raise assessment.fault()
    recipe = assessment.resolved.recipe
    parts = parts_of(recipe)
    return Job(
        kind="train",
        name=recipe.name or _name(assessment),
        module=WORKER,
        input=recipes.to_plain(recipe),
        source=recipes.to_plain(assessment.resolved.stated),
        reasons=assessment.resolved.reasons,
        fingerprints=_fingerprints(assessment),
        plan=assessment.plan.to_json() if assessment.plan else None,
        parts=_part_names(parts),
        total_steps=parts[0].max_steps if len(parts) == 1 and (parts[0].max_steps or -1) > 0 else None,
        processes=(parts[0].launch.processes if parts[0].launch else None) or 1,
        gpus=_gpus(assessment),
        tags=recipe.tags or (),
        notes=recipe.notes or "",
    )


def _gpus(assessment: Assessment) -> tuple[int, ...] | None:
    """The GPUs that the user named, or none on a processor. Where the choice was left to us, it is made when the run's
    turn has come: the GPU that is free now may not be the one that is free then."""
    stated, resolved = (parts_of(one)[0].launch for one in (assessment.resolved.stated, assessment.resolved.recipe))
    if stated is not None and isinstance(stated.gpus, tuple):
        return stated.gpus
    return () if resolved is not None and resolved.gpus == () else None


def _name(assessment: Assessment) -> str:
    parts, model = parts_of(assessment.resolved.recipe), assessment.model
    method = dict.fromkeys(str(part.method) for part in parts)
    return "-".join([*([model.name] if model else []), *_part_names(parts), *method])


def _part_names(parts: Sequence[Recipe]) -> tuple[str, ...]:
    """The stages, each name once: sft, dpo, sft-2."""
    stages = [part.stage or "sft" for part in parts]
    return tuple(
        f"{stage}-{before + 1}" if (before := stages[:number].count(stage)) else stage
        for number, stage in enumerate(stages)
    )


def _fingerprints(assessment: Assessment) -> dict[str, str]:
    """What the run was made of, so that a change is noticed later. Weights and data are told by names, shapes, sizes
    and times, because reading all of them could take minutes; the prepared data have a fingerprint of their own."""
    found = {"recipe": _digest(recipes.to_plain(assessment.resolved.recipe))}
    model = assessment.model
    if model is not None:
        tensors = [(tensor.name, tensor.shape, tensor.dtype) for tensor in model.tensors]
        found["model"] = _digest([dict(model.config), tensors, model.bytes_on_disk])
        if model.chat_template:
            found["chat_template"] = _digest(model.chat_template)
    for path in _files(assessment.resolved.recipe):
        try:
            stat = Path(path).stat()
        except OSError:
            continue  # a dataset of the hub has its revision in the recipe
        found[path] = f"{stat.st_size} bytes, {stat.st_mtime_ns} ns"
    return found


def _files(recipe: Recipe) -> list[str]:
    entries = [entry for part in parts_of(recipe) for entry in (*(part.datasets or ()), *(part.eval_datasets or ()))]
    return [path for entry in entries for path in (entry.path, entry.journal) if path]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
