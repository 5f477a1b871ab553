"""The Train screen: the open recipe as a form, what is wrong with it, and the launch."""

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from tuiwb.base.errors import TuiwbError
from tuiwb.base.text import gate_line
from tuiwb.recipe import Recipe
from tuiwb.tui.recipes import RecipeStart, open_dialog
from tuiwb.tui.screen import RoomScreen
from tuiwb.tui.screens import train_form as form
from tuiwb.tui.screens import train_text as text
from tuiwb.tui.screens import train_work as work
from tuiwb.tui.screens.train_launch import Ready, launch
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.recipe_text import RecipeText
from tuiwb.tui.widgets.scroll import scrolled
from tuiwb.tui.widgets.table import Column, Table
from tuiwb.tui.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuiwb.recipe import Difference
    from tuiwb.resolve import Assessment
    from tuiwb.resolve.duration import Duration
    from tuiwb.resolve.whatif import Alternative
    from tuiwb.tui.dialogs import Live

VIEWS = ("help", "checks", "yaml", "changes")
_TONES = {"error": "bad", "warning": "warn"}


class TrainScreen(RoomScreen):
    ROOM: ClassVar[str] = "train"

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="train"):
            table = Table(Column("key", 29), Column("value", 18, flex=3), Column("why", 10, flex=4, from_width=70))
            with Vertical(id="left"):
                yield Pane(table, title="Recipe", id="form")
                with Pane(title="YAML", note="t: edit", id="yaml"):
                    yield RecipeText(id="yaml-text")
                    yield Static(id="yaml-fault")
                yield scrolled("changes", "Changes")
            with Vertical(id="right"):
                yield scrolled("help", "Help")
                yield scrolled("checks", "Checks")
        yield RecipeStart()

    def __init__(self) -> None:
        super().__init__()
        self._picture: work.Picture | None = None
        self._assessment: Assessment | None = None
        self._time: Duration | None = None
        self._counted = False
        self._costs: dict[str, tuple[Alternative, ...]] = {}
        self._lines: tuple[form.Line, ...] = ()
        self._everything = False
        self._words = ""
        self._view = "help"
        self._cursor_key = ""

    # What is shown

    @property
    def recipe(self) -> Recipe | None:
        recipe: Recipe | None = self.workspace.recipe
        return recipe

    def opened(self) -> None:
        self._see(self._view)

    def shown(self) -> None:
        self._assess()

    def show_workspace(self, workspace: Workspace) -> None:
        self.set_class(workspace.recipe is None, "-nothing")
        if self._assessment is not None and self._assessment.resolved.stated != workspace.recipe:
            self._assessment, self._time, self._counted, self._costs = None, None, False, {}
        recipe, source, typed = self.recipe, workspace.source, workspace.text
        if recipe is not None:
            self.start("picture", lambda _: work.picture_of(recipe, source, typed), self._show_picture)
        self._assess()

    def _assess(self) -> None:
        recipe = self.recipe
        if recipe is not None and self.is_shown:
            self.start("assess", lambda task: work.assess(recipe, task), self._show_assessment)

    def _show_picture(self, picture: work.Picture) -> None:
        self._picture = picture
        self._refresh()

    def _show_assessment(self, assessment: "Assessment") -> None:
        self._assessment, self._counted, self._costs = assessment, False, {}
        self._refresh()
        self.refresh_hints()
        self.start("rows", lambda task: work.with_rows(assessment, task), self._show_rows)

    def _show_rows(self, found: "tuple[Assessment, Duration | None]") -> None:
        """What the rows say came in, after the rest: they are rendered for it."""
        self._assessment, self._time, self._counted = *found, True
        self._refresh()
        self.refresh_hints()

    def _refresh(self) -> None:
        """Everything that is shown, from the recipe and what is known of it."""
        picture = self._picture
        if picture is None:
            return
        known = self._assessment if self._assessment and self._assessment.resolved.stated == picture.recipe else None
        self._lines = form.lines(picture.recipe, known, everything=self._everything, words=self._words)
        keys = [line.key for line in self._lines]
        cursor = keys.index(self._cursor_key) if self._cursor_key in keys else 0
        table = self.query_one(Table)
        table.fill(len(self._lines), self._row, cursor=cursor)
        pane = self.query_one("#form", Pane)
        pane.border_title = Content(text.title(self._words, picture.source, len(picture.changed)))
        pane.border_subtitle = Content(text.verdict(known, self._time))
        self.query_one("#checks-text", Static).update(text.findings(known, self._time, counted=self._counted))
        self.query_one(RecipeText).show(picture.yaml, lambda: self._say_fault(""))
        self.query_one("#changes-text", Static).update(text.changes(picture.changed, picture.source))
        self._show_help(table.cursor)

    def _row(self, at: int) -> tuple[Any, ...]:
        line = self._lines[at]
        if not line.key:
            return (line.group, "bold"), "", ""
        tone = _TONES.get(line.wrong) or ("dim" if line.stated is None else "accent")
        name = f"  {line.key}" if self._everything and not self._words else line.key
        return name, (form.shown(line), tone), (line.reason or self._instead_of(line.key), "dim")

    def _instead_of(self, key: str) -> str:
        """What the preset has in place of a stated value."""
        found = [one for one in self._changed() if one.key == key]
        return f"instead of {form.written(found[0].before) or 'nothing'}" if found else ""

    def _changed(self) -> "tuple[Difference, ...]":
        return self._picture.changed if self._picture else ()

    def _show_help(self, at: int) -> None:
        if at >= len(self._lines):
            return
        line = self._lines[at]
        self._cursor_key = line.key
        other = next((one for one in self._changed() if one.key == line.key), None)
        before = form.written(other.before) if other else None
        checks = self._assessment.checks if self._assessment else ()
        costs = self._costs.get(line.key)
        self.query_one("#help-text", Static).update(text.help_of(line, before, checks, costs or ()))
        if costs is None and line.key and self._assessment is not None:
            self._find_costs(line.key, self._assessment)

    def _find_costs(self, key: str, assessment: "Assessment") -> None:
        """What other values of the key would cost in memory."""

        def found(costs: "tuple[Alternative, ...]") -> None:
            if self._assessment is not None and self._assessment.resolved is assessment.resolved:
                self._costs[key] = costs
                if costs and self._cursor_key == key:
                    self._show_help(self.query_one(Table).cursor)

        self.start("costs", lambda task: work.costs_of(assessment, key, task), found)

    def on_table_moved(self, event: Table.Moved) -> None:
        self._show_help(event.row)
        self.refresh_hints()

    # The YAML

    def action_text(self) -> None:
        self._see("yaml")
        area = self.query_one(RecipeText)
        area.focus()
        if not area.is_safe:
            self.app.notify(
                "It holds characters that a terminal must not get: edit it in the file.", severity="warning"
            )

    def on_recipe_text_typed(self, event: RecipeText.Typed) -> None:
        def taken(recipe: Recipe) -> None:
            self._say_fault("")
            self.bench.keeper.change(recipe, typed)

        typed = event.text
        self.start("yaml", lambda _: work.recipe_of(typed), taken, lambda error: self._say_fault(str(error)))

    def _say_fault(self, fault: str) -> None:
        """What is wrong with the typed text, below it; the form stays as it was."""
        self.query_one("#yaml-fault", Static).update(Content.styled(gate_line(fault), "$text-error"))
        self.query_one("#yaml").set_class(bool(fault), "-fault")

    def on_table_chosen(self) -> None:
        self.run_worker(self.action_do("edit"))

    # What can be done

    def reason(self, action: str) -> str | None:
        if action == "preset":
            return None
        if self.recipe is None:
            return "No recipe is open: press p to choose a preset."
        if action == "launch":
            return self._not_ready()
        if action in ("edit", "leave_out"):
            line = self._current
            if line is None or not line.key:
                return "This is a heading: choose a key below it."
            if action == "leave_out" and line.stated is None:
                return f"The recipe leaves {line.key} out already."
        return None

    def _not_ready(self) -> str | None:
        if self.task_of("launch"):
            return "The run is being launched."
        if self._assessment is None:
            return "The recipe is still being checked."
        if not self._assessment.ok:
            return f"It cannot be launched: {gate_line(str(self._assessment.fault()))}"
        return None

    @property
    def _current(self) -> form.Line | None:
        at = self.query_one(Table).cursor
        return self._lines[at] if at < len(self._lines) else None

    def action_preset(self) -> None:
        open_dialog(self.bench)

    def action_all(self) -> None:
        self._everything, self._words = not self._everything, ""
        self._refresh()

    def action_find(self) -> None:
        self.ask("Find a key", self._show_only, value=self._words, hint="words of its name or help; nothing: all")

    def _show_only(self, words: str) -> None:
        self._words = words.strip()
        self._refresh()

    def show_all(self) -> None:
        if self._words:
            self._show_only("")

    def action_view(self) -> None:
        # Help and checks are always there where the screen is wide, the YAML where it is high as well.
        narrow, tall = self.has_class("-narrow"), self.has_class("-tall")
        views = VIEWS if narrow else VIEWS[2:] if tall else (VIEWS[0], *VIEWS[2:])
        at = views.index(self._view) if self._view in views else 0
        self._see(views[(at + 1) % len(views)])

    def _see(self, view: str) -> None:
        self._view = view
        for name in VIEWS:
            self.set_class(name == view, f"-see-{name}")

    def action_model(self) -> None:
        self._edit("model_name_or_path")

    def action_dataset(self) -> None:
        self._edit("datasets.0.path")

    def action_edit(self) -> None:
        if self._current is not None:
            self._edit(self._current.key)

    def action_leave_out(self) -> None:
        if self._current is not None:
            key = self._current.key
            whole_entry = key.endswith(".path") and key.startswith(("datasets.", "eval_datasets."))
            self._change(key.removesuffix(".path") if whole_entry else key, "")

    def _edit(self, key: str) -> None:
        """Ask for a value in the way that suits the key."""
        about = form.about(key)
        value = self._value(key)
        if key == "model_name_or_path":
            self._offer(key, "models", work.models)
        elif key in ("datasets.0.path", "eval_datasets.0.path"):
            self._offer(key, "datasets", work.datasets)
        elif about.accepts == "true or false":
            self._change(key, "false" if value is True else "true")
        elif about.choices and key != "launch.gpus" and not about.accepts.startswith("a list"):
            known, current = self._assessment, about.choices.index(value) if value in about.choices else 0

            def offer(options: list[tuple[str, str]]) -> None:
                self.choose(key, options, lambda at: self._change(key, about.choices[at]), current=current)

            self.start("words", lambda task: work.words(key, about.choices, known, task), offer)
        else:
            self._type(key, form.written(value))

    def _value(self, key: str) -> Any:
        found = [line.value for line in form.lines(self.recipe or Recipe(), self._assessment, everything=True)
                 if line.key == key]  # fmt: skip
        return found[0] if found else None

    def _type(self, key: str, value: str, problem: str = "") -> None:
        about = form.about(key)
        hint = problem or f"{about.help} It is {about.accepts}; nothing takes it out."
        self.ask(key, lambda typed: self._change(key, typed), value=value, hint=hint, live=self._costing(key))

    def _costing(self, key: str) -> "Live | None":
        """Says what a typed value costs in memory, or what is wrong with it."""
        known = self._assessment
        if known is None:
            return None

        def cost(typed: str, say: "Callable[[Content], None]") -> None:
            self.start("cost", lambda _: work.cost_of(known, key, typed), lambda one: say(text.cost(one)),
                       lambda error: say(text.fault(error)))  # fmt: skip

        return cost

    def _offer(self, key: str, job: str, find: Any) -> None:
        """A list of what is at hand, and any other by typing it."""

        def offer(found: list[tuple[str, str]]) -> None:
            options = [*found, ("another…", "type its path or name")]

            def chosen(at: int) -> None:
                if at < len(found):
                    self._change(key, found[at][0])
                else:
                    self._type(key, form.written(self._value(key)))

            names, value = [name for name, _ in found], self._value(key)
            current = names.index(value) if value in names else 0
            self.choose(key, options, chosen, current=current, other=lambda typed: self._change(key, typed))

        self.start(job, lambda _: find(), offer)

    def _change(self, key: str, value: str) -> None:
        """Put a typed value into the recipe; what is wrong with it is said where it was typed."""
        recipe = self.recipe or Recipe()

        def refused(error: TuiwbError) -> None:
            if value and not form.about(key).choices:
                self._type(key, value, f"{key} {error.message}" if error.message.startswith("must") else error.message)
            else:
                self.problem(error)

        def changed(new: Recipe) -> None:
            self._cursor_key = key
            self.bench.keeper.change(new)

        def change(_: object) -> Recipe:
            from tuiwb.recipe import with_settings

            # Another method or stage says itself how the base is kept and what the loss is.
            follows = {"method": ("load_in_4bit", "load_in_8bit", "use_dora"), "stage": ("loss_type",)}.get(key, ())
            return with_settings(recipe, {key: value} | dict.fromkeys(follows, ""))

        self.start("change", change, changed, refused)

    def action_launch(self) -> None:
        assert self.recipe is not None

        def known(ready: Ready) -> None:
            if ready.assessment.resolved.stated == self.recipe:
                self._show_rows((ready.assessment, ready.time))

        launch(self, self.recipe, known)

    def copyable(self) -> str:
        if self._picture is None:
            return ""
        line = self._current
        if self._view == "yaml" or line is None or not line.key:
            return self._picture.yaml
        return f"{line.key}: {form.written(line.value)}"

    def layout_state(self) -> dict[str, Any]:
        return {"everything": self._everything, "view": self._view, "key": self._cursor_key}

    def restore_layout(self, state: dict[str, Any]) -> None:
        self._everything = bool(state.get("everything"))
        if state.get("view") in VIEWS:
            self._see(state["view"])
        self._cursor_key = str(state.get("key") or "")
        self._refresh()
