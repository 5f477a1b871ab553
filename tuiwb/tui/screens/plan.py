"""The Plan screen: fields on one side; on the other whether it fits, what fills the memory, and what to change."""

from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize

from tuiwb.base.errors import TuiwbError
from tuiwb.base.text import gate
from tuiwb.hardware.catalogue import GPU_CATALOGUE, GpuSpec, gpu_named
from tuiwb.memory.assumptions import QUESTIONS
from tuiwb.recipe import Recipe, with_settings
from tuiwb.tui.recipes import RecipeStart, open_dialog
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.screens import plan_measured
from tuiwb.tui.screens import plan_text as text
from tuiwb.tui.screens.plan_fields import Field, Fields
from tuiwb.tui.screens.plan_model import View, fields, make_view
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.scroll import Scroll
from tuiwb.tui.widgets.sheet import Page, Sheet
from tuiwb.tui.workspace import Workspace

VIEWS = ("phases", "map", "remedies", "assumptions", "formulas", "rules")
_TITLES = {"phases": "Phases", "map": "What fits", "remedies": "What would help", "assumptions": "Assumed",
           "formulas": "Formulas", "rules": "Why the rules disagree"}  # fmt: skip
_DEFAULT_GPU = "RTX-4090"
_ROOMY = 42  # rows with which the assumptions find place below phases and map


class PlanScreen(RoomScreen):
    ROOM: ClassVar[str] = "plan"

    def __init__(self) -> None:
        super().__init__()
        self._view: View | None = None
        self._problem = ""
        self._assume: dict[str, str] = {}
        self._spec: GpuSpec | None = None
        self._live: bool | None = None
        self._assumed_gpu = False
        self._page = "phases"

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="plan"):
            with Vertical(id="left"):
                with Pane(title="Recipe", id="form"), VerticalScroll(can_focus=False):
                    yield Fields()
                with Pane(title="Help", id="help"), Scroll():
                    yield Sheet("help-text")
            with Vertical(id="right"):
                with Pane(title="Memory", id="memory"):
                    yield Sheet("verdict")
                    yield Sheet("overview")
                with Horizontal(id="pages"):
                    for number, column in enumerate(
                        (("phases", "remedies", "formulas", "rules"), ("map", "assumptions"))
                    ):
                        with Vertical(id=f"column-{number}"):
                            for name in column:
                                with Pane(title=_TITLES[name], id=name), Scroll():
                                    yield Sheet(f"{name}-text")
        yield RecipeStart()

    # ------------------------------------------------------------------------------------------------ what is shown

    @property
    def recipe(self) -> Recipe | None:
        recipe: Recipe | None = self.workspace.recipe
        return recipe

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height >= _ROOMY, "-roomy")

    def opened(self) -> None:
        self._see(self._page)
        self.start("gpus", lambda _: _has_gpu(), self._know_gpus)

    def _know_gpus(self, live: bool) -> None:
        self._live = live
        if not live and self._spec is None:
            self._spec, self._assumed_gpu = gpu_named(_DEFAULT_GPU), True
        self._replan()

    def show_workspace(self, workspace: Workspace) -> None:
        self.set_class(workspace.recipe is None, "-nothing")
        self._fill()
        self._replan()

    def shown(self) -> None:
        self._replan()

    def _replan(self) -> None:
        """Plan what is open, in a thread; the latest wins."""
        now = self.workspace
        if now.recipe is None or self._live is None or not self.is_shown:
            return
        if now.model is None and not now.model_problem:
            self._view, self._problem = None, _no_model(now.recipe)
            self._draw()
            return
        recipe, model, spec, assume = now.recipe, now.model, self._spec, dict(self._assume)
        self.start("plan", lambda _: make_view(recipe, model, spec, assume), self._show, self._cannot)

    def _show(self, view: View) -> None:
        self._view, self._problem = view, ""
        self._fill()
        self._draw()
        self.refresh_hints()

    def _cannot(self, error: TuiwbError) -> None:
        self._view, self._problem = None, str(error)
        self._draw()
        self.refresh_hints()

    def _fill(self) -> None:
        if self.recipe is None or not self.is_open:
            return
        resolved = self._view.resolved if self._view else None
        gpu = self._spec.name if self._spec else "the one that is here"
        gpu += " (assumed)" if self._assumed_gpu else ""
        form = self.query_one(Fields)
        form.fill(fields(self.recipe, resolved, self.workspace.model, gpu))
        self._help(form.current)

    def _draw(self) -> None:
        if not self.is_open:
            return
        view = self._view
        self.set_class(view is None, "-unplanned")
        if view is None:
            waiting = Content.styled("planning…", "dim")
            said = Content.styled(gate(self._problem), "$text-warning") if self._problem else waiting
            self._put("verdict", lambda _: said)
            return
        plan = view.plan
        assumed = self._assumed_gpu
        self._put("verdict", lambda width: text.verdict(plan, width, assumed_gpu=assumed))
        self._put("overview", lambda width: text.overview(plan, width))
        self._put("phases-text", lambda width: text.phases(plan, width))
        self._put("map-text", lambda width: text.batch_map(view, width))
        self._put("remedies-text", lambda width: text.remedies(plan, width))
        self._put("assumptions-text", lambda width: text.assumptions(plan, width))
        self._put("formulas-text", lambda width: text.formulas(plan, width))
        self._put("rules-text", lambda width: text.rules(plan, width))

    def _put(self, name: str, page: Page) -> None:
        self.query_one(f"#{name}", Sheet).show(page)

    def _help(self, field: Field | None) -> None:
        if field is not None:
            self._put("help-text", lambda _: text.help_of(field))

    # --------------------------------------------------------------------------------------------- what can be done

    def reason(self, action: str) -> str | None:
        if action in ("preset", "history"):
            return None
        if self.recipe is None:
            return "No recipe is open: p chooses a preset or a file."
        if action == "remedy" and (self._view is None or not self._view.plan.remedies):
            return "There is no plan yet." if self._view is None else "Nothing that is known would lower the peak."
        return None

    def on_fields_moved(self, event: Fields.Moved) -> None:
        self._help(event.field)

    def on_fields_picked(self) -> None:
        self.run_worker(self.action_do("change"))

    def on_fields_edited(self, event: Fields.Edited) -> None:
        self._set(event.key, event.value)

    def _set(self, key: str, value: str) -> None:
        """Put a value into the open recipe; the method's other name for four bits follows it."""
        if self.recipe is None:
            return
        settings = {key: value}
        if key == "method":
            settings |= {"load_in_4bit": "", "use_dora": ""}
        if key == "launch.processes" and value == "1":
            settings["launch.sharding"] = ""
        try:
            self.bench.keeper.change(with_settings(self.recipe, settings))
        except TuiwbError as error:
            self.problem(error)

    def action_change(self) -> None:
        field = self.query_one(Fields).current
        if field is None:
            return
        if field.key == "gpu":
            self.action_gpu()
        elif field.key == "model_name_or_path":
            self.action_model()
        elif field.kind == "choice":
            options = [(word, "") for word in field.choices]
            at = field.choices.index(field.value) if field.value in field.choices else 0
            self.choose(field.label, options, lambda chosen: self._set(field.key, field.choices[chosen]), current=at)
        else:
            self.ask(field.label, lambda typed: self._set(field.key, typed.strip()), value=field.value, hint=field.help)

    def action_reset(self) -> None:
        field = self.query_one(Fields).current
        if field is not None and field.key not in ("gpu", "model_name_or_path"):
            self._set(field.key, "")

    def action_gpu(self) -> None:
        here = [("the one that is here", "what is free on it now")] if self._live else []
        options = here + [(gpu.name, f"{gpu.memory_total / (1 << 30):.1f} GiB") for gpu in GPU_CATALOGUE]
        names = [name for name, _ in options]
        current = names.index(self._spec.name) if self._spec and self._spec.name in names else 0

        def chosen(at: int) -> None:
            self._spec = None if at < len(here) else GPU_CATALOGUE[at - len(here)]
            self._assumed_gpu = False
            self._fill()
            self._replan()

        self.choose("The GPU to plan for", options, chosen, current=current)

    def action_model(self) -> None:
        def offer(found: list[tuple[str, str]]) -> None:
            options = [*found, ("another…", "a folder, a .gguf file or an id on the hub")]

            def chosen(at: int) -> None:
                if at < len(found):
                    self._set("model_name_or_path", found[at][0])
                else:
                    self.ask("Base model", lambda typed: self._set("model_name_or_path", typed.strip()))

            self.choose("The base model", options, chosen)

        self.start("models", lambda _: _models(), offer)

    def action_preset(self) -> None:
        open_dialog(self.bench)

    def action_remedy(self) -> None:
        view = self._view
        assert view is not None
        found = view.plan.remedies
        options = [(one.change, f"saves {one.saves_bytes / (1 << 30):.2f} GiB and {one.cost}") for one in found]

        def chosen(at: int) -> None:
            recipe = self.recipe
            if recipe is None:
                return
            try:
                self.bench.keeper.change(with_settings(recipe, found[at].settings))
            except TuiwbError as error:
                self.problem(error)

        self.choose("Apply to the open recipe", options, chosen)

    def action_assume(self) -> None:
        made = {one.name: one.value for one in (self._view.plan.assumptions if self._view else ())}
        options = [(one.name, f"{made.get(one.name, '–')}: {one.help}") for one in QUESTIONS]

        def chosen(at: int) -> None:
            question = QUESTIONS[at]
            values = [("by default", "what the plan chooses"), *((word, "") for word in question.values)]
            now = self._assume.get(question.name)
            self.choose(
                question.name,
                values,
                lambda word: self._assume_that(question.name, values[word][0] if word else None),
                current=question.values.index(now) + 1 if now in question.values else 0,
            )

        self.choose("What no recipe says", options, chosen)

    def _assume_that(self, name: str, value: str | None) -> None:
        self._assume.pop(name, None)
        if value is not None:
            self._assume[name] = value
        self._replan()

    def action_history(self) -> None:
        title = "Past runs on this machine"
        self.start("past", lambda _: plan_measured.history(plan_measured.past_runs()), lambda it: self.read(title, it))

    def action_measure(self) -> None:
        """Two steps in a worker, which take their time; the key again ends them."""
        recipe = self.recipe
        assert recipe is not None
        if self.task_of("measure") is not None:
            self.cancel("measure")
            self.app.notify("Measuring was ended; nothing of it stays.")
            return
        self.app.notify("Two steps are done in the background; t ends them.")
        self.start(
            "measure",
            lambda task: plan_measured.measured(plan_measured.measure(recipe, task)),
            lambda it: self.read("Two steps on this machine", it),
            keep=True,
        )

    def action_view(self) -> None:
        beside = set()  # what is seen with the phases
        if self.has_class("-tall"):
            beside = {"map"}
            if self.has_class("-wide"):
                beside |= {"remedies", "assumptions"}
            elif self.has_class("-roomy"):
                beside |= {"assumptions"}
        pages = [name for name in VIEWS if name not in beside]
        at = pages.index(self._page) if self._page in pages else 0
        self._see(pages[(at + 1) % len(pages)])

    def _see(self, page: str) -> None:
        self._page = page
        for name in VIEWS:
            self.set_class(name == page, f"-see-{name}")

    def copyable(self) -> str:
        if self._view is None:
            return ""
        import json

        return json.dumps(self._view.plan.to_json(), indent=1)

    def layout_state(self) -> dict[str, Any]:
        return {
            "gpu": self._spec.name if self._spec and not self._assumed_gpu else "",
            "page": self._page,
            "assume": self._assume,
        }

    def restore_layout(self, state: dict[str, Any]) -> None:
        try:
            self._spec = gpu_named(str(state["gpu"])) if state.get("gpu") else self._spec
        except TuiwbError:
            self._spec = None
        if state.get("page") in VIEWS:
            self._page = state["page"]
        kept = state.get("assume")
        known = {one.name: one.values for one in QUESTIONS}
        if isinstance(kept, Mapping):
            self._assume = {name: value for name, value in kept.items() if value in known.get(name, ())}


def _no_model(recipe: Recipe) -> str:
    return "opening the model…" if recipe.model_name_or_path else "m: choose the base model"


def _has_gpu() -> bool:
    from tuiwb import hardware

    return bool(hardware.gpus())


def _models() -> list[tuple[str, str]]:
    """The models that are here, and those that the catalogue knows."""
    from tuiwb import models
    from tuiwb.base import units

    here = {model.name: model.parameters for model in models.installed()}
    found = [(name, units.parameters(count) if count else "") for name, count in here.items()]
    return found + [(one.name, "not here yet: Models brings it") for one in models.catalogue() if one.name not in here]
