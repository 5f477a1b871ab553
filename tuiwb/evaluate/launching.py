"""From a spec to an eval run."""

from tuiwb.evaluate.report import PART
from tuiwb.evaluate.spec import Spec, plain
from tuiwb.rundir import RunDir
from tuiwb.runs.job import Job
from tuiwb.runs.launching import launch as launch_job

WORKER = "tuiwb.workers.eval"


def launch(spec: Spec, *, name: str = "", after: tuple[str, ...] = (), priority: int = 0) -> RunDir:
    """Start measuring; the run outlives this process.

    Args:
        after, priority: as in `runs.Job`.

    Raises:
        InputFault: the spec cannot be run.
        EnvironmentFault, RunFault: as `runs.launch`.
    """
    spec.check()
    local = [subject for subject in spec.subjects if subject.model]
    return launch_job(
        Job(
            kind="eval",
            name=name or f"eval-{spec.subjects[-1].name}",
            module=WORKER,
            input=plain(spec),
            parts=(PART,),
            gpus=None if local and _has_gpu() else (),
            after=after,
            priority=priority,
        )
    )


def _has_gpu() -> bool:
    from tuiwb import hardware

    return bool(hardware.gpus())
