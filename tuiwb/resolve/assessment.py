"""All that is to be known of a recipe on this machine, in one call: what the verbs print and the screen shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuiwb.base.errors import InputFault, TuiwbError
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.recipe import Recipe
from tuiwb.resolve.check import LEVELS, Check
from tuiwb.resolve.check_data import check_data
from tuiwb.resolve.check_keys import check_keys
from tuiwb.resolve.check_machine import check_device, check_disk, check_logout, check_memory, check_packages
from tuiwb.resolve.check_model import check_model, check_template
from tuiwb.resolve.check_rows import with_rows
from tuiwb.resolve.check_stage import check_stage
from tuiwb.resolve.choices import Resolved
from tuiwb.resolve.fill import resolve
from tuiwb.resolve.parts import assess_parts

if TYPE_CHECKING:
    from tuiwb.data.outlook import Outlook
    from tuiwb.hardware import Gpu, Host
    from tuiwb.memory import Plan
    from tuiwb.models import ModelInfo


@dataclass(frozen=True, slots=True)
class Assessment:
    """A recipe, resolved, planned and checked.

    Attributes:
        model: what the recipe's model is; None with `model_problem` where it cannot be opened.
        plan: the memory it needs; None where that cannot be said.
        checks: the findings, errors first.
        rows: what the rows are like; None where they were not looked at, and for a recipe with stages.
    """

    resolved: Resolved
    model: "ModelInfo | None" = None
    model_problem: str = ""
    plan: "Plan | None" = None
    checks: tuple[Check, ...] = field(default_factory=tuple)
    rows: "Outlook | None" = None

    @property
    def ok(self) -> bool:
        """Whether the recipe can be launched."""
        return not any(check.level == "error" for check in self.checks)

    def fault(self) -> InputFault:
        """The first error, to be raised where a recipe that is not `ok` was to be launched."""
        first = next(check for check in self.checks if check.level == "error")
        return InputFault(first.message + (f"; {first.fix}" if first.fix else ""), key=first.key or None)


def assess(
    recipe: Recipe,
    *,
    host: "Host | None" = None,
    gpus: "Sequence[Gpu] | None" = None,
    rows: bool = False,
    task: Task | None = None,
) -> Assessment:
    """Open the model, resolve, plan and check.

    Args:
        host, gpus: the machine; None asks it.
        rows: look at the rows too (see `check_rows`), which takes some seconds more.

    Raises:
        Cancelled: the task was cancelled.
    """
    from tuiwb import hardware, models

    task = task or Task()
    host = host or hardware.host()
    gpus = hardware.gpus() if gpus is None else gpus
    if recipe.stages:
        found = assess_parts(recipe, lambda part: assess(part, host=host, gpus=gpus, task=task))
        return with_rows(found, task) if rows else found
    model, problem = None, ""
    if recipe.model_name_or_path:
        task.step("opening the model")
        try:
            # A configuration is enough to plan; that training needs the weights too, a check says.
            model = models.open_model(recipe.model_name_or_path, config_only=True, task=task)
        except Cancelled:
            raise
        except TuiwbError as fault:
            problem = str(fault)
    task.step("resolving")
    resolved = resolve(recipe, model=model, host=host, gpus=gpus)
    plan, plan_problem = _plan(resolved, model, gpus)
    said = checks(
        resolved, model=model, host=host, gpus=gpus, model_problem=problem, plan=plan, plan_problem=plan_problem,
        task=task,
    )  # fmt: skip
    assessment = Assessment(resolved, model, problem, plan, tuple(said))
    return with_rows(assessment, task) if rows else assessment


def checks(
    resolved: Resolved,
    *,
    model: "ModelInfo | None",
    host: "Host",
    gpus: Sequence["Gpu"],
    model_problem: str = "",
    plan: "Plan | None" = None,
    plan_problem: str = "",
    task: Task | None = None,
) -> list[Check]:
    """What is wrong with a resolved recipe on this machine, errors first."""
    recipe = resolved.recipe
    found = [
        *check_keys(recipe, resolved.stated),
        *check_model(recipe, model, model_problem),
        *check_template(recipe, model),
        *check_stage(recipe, model, task or Task()),
        *check_data(recipe, model, task or Task()),
        *check_device(recipe, host, gpus),
        *check_packages(recipe),
        *check_memory(recipe, plan, plan_problem, host),
        *check_disk(plan),
        *check_logout(),
    ]
    return sorted(found, key=lambda check: LEVELS.index(check.level))


def _plan(resolved: Resolved, model: "ModelInfo | None", gpus: Sequence["Gpu"]) -> tuple["Plan | None", str]:
    if model is None:
        return None, ""
    from tuiwb import memory

    wanted = resolved.recipe.launch.gpus if resolved.recipe.launch else ()
    gpu = next((gpu for gpu in gpus if isinstance(wanted, tuple) and gpu.index in wanted), None)
    try:
        return memory.plan(resolved.recipe, model, gpu=gpu), ""
    except TuiwbError as fault:
        return None, fault.message
