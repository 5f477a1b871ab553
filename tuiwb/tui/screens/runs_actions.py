"""What is done to the runs of the Runs screen: asked, resumed, cloned, noted, pruned, put away, compared."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiwb.tui import run_texts
from tuiwb.tui.screen import RoomScreen

if TYPE_CHECKING:
    from tuiwb.runs import CheckpointView, RunView


class RunActions(RoomScreen):
    """The half of the Runs screen that changes runs; the half that shows them is in runs.py."""

    ROOM = "runs"

    def __init__(self) -> None:
        super().__init__()
        self.marked: tuple[str, ...] = ()

    @property
    @abstractmethod
    def current(self) -> "RunView | None":
        """The selected run."""

    @property
    @abstractmethod
    def checkpoints(self) -> "tuple[CheckpointView, ...]":
        """Of the selected run, as far as they are known."""

    @property
    @abstractmethod
    def checkpoint(self) -> "CheckpointView | None":
        """The checkpoint under the cursor, while the user is in their list."""

    @abstractmethod
    def hurry(self) -> None:
        """Something was done: look again now."""

    @abstractmethod
    def select(self, run_id: str) -> None:
        """Show another run."""

    @property
    def _chosen(self) -> "RunView":
        """As `current`, for an action, which `reason` lets happen only with one."""
        assert self.current is not None
        return self.current

    def _do(self, what: str, said: str, work: Any) -> None:
        """Ask something of the run, in a thread."""

        def done(_: object) -> None:
            self.app.notify(said)
            self.hurry()

        self.start(what, lambda _: work(), done, keep=True)

    def _ask(self, verb: Any, said: str) -> None:
        from tuiwb import runs

        view = self._chosen
        self._do(f"{verb} {view.run_id}", said, lambda: runs.ask(view.run_id, verb))

    def action_save(self) -> None:
        self._ask("save", "It will save at the end of this step.")

    def action_stop(self) -> None:
        watched = self._chosen.kind == "watch"
        self._ask("stop", "It is watched no longer." if watched else "It will save at the end of this step and stop.")

    def action_pause(self) -> None:
        self._ask("pause", "It will save at the end of this step and pause.")

    def action_hold(self) -> None:
        from tuiwb import runs

        view = self._chosen
        self._do(f"hold {view.run_id}", "It is held; r lets it go.", lambda: runs.hold(view.run_id))

    def action_cancel(self) -> None:
        self.confirm(
            f"Cancel {run_texts.title(self._chosen)}?",
            lambda: self._ask("cancel", "It is being ended."),
            detail=run_texts.lost_by_cancel(self._chosen.kind, self.checkpoints),
            yes="Cancel it",
        )

    def action_resume(self) -> None:
        from tuiwb import runs

        view, chosen = self._chosen, self.checkpoint
        if chosen is None or not chosen.resumable or chosen is self.checkpoints[-1]:
            self._do(f"resume {view.run_id}", "It goes on.", lambda: runs.resume(view.run_id))
            return
        self.confirm(
            f"Go on from step {chosen.step}?",
            lambda: self._do(
                f"resume {view.run_id}", "It goes on.", lambda: runs.resume(view.run_id, step=chosen.step)
            ),
            detail="Later checkpoints are put aside, and what came after it is done again.",
            yes="Go on",
        )

    def action_clone(self) -> None:
        from tuiwb import runs

        view = self._chosen

        def done(run: Any) -> None:
            self.app.notify("A new run of the same job is starting.")
            self.hurry()
            self.select(run.run_id)

        self.start(f"clone {view.run_id}", lambda _: runs.clone(view.run_id), done, keep=True)

    def action_change(self) -> None:
        """Clone with changes: they are made on the Train screen, with its checks."""
        from tuiwb import runs
        from tuiwb.tui.recipes import unless_lost

        view = self._chosen

        def show(recipe: Any) -> None:
            self.bench.keeper.take(recipe, f"again {run_texts.title(view)}")
            self.bench.go("train")

        self.start(f"recipe of {view.run_id}", lambda _: runs.recipe_of(view.run_id),
                   lambda recipe: unless_lost(self.bench, lambda: show(recipe)))  # fmt: skip

    def action_attach(self) -> None:
        """Watch a training that was not launched here."""
        from tuiwb import runs

        def done(run: Any) -> None:
            self.hurry()
            self.select(run.run_id)

        def take(text: str) -> None:
            if word := text.strip():
                pid = int(word) if word.isdecimal() else None
                self.start("attach", lambda _: runs.attach(pid, None if pid else Path(word)), done, keep=True)

        self.ask(
            "Watch a training that was started elsewhere",
            take,
            hint="the number of its process, or the folder that it writes to; it is touched in no way",
        )

    def action_delete(self) -> None:
        from tuiwb import runs

        view = self._chosen
        self.confirm(
            f"Delete {run_texts.title(view)}?",
            lambda: self._do(
                f"delete {view.run_id}", "It is in the trash; u brings it back.", lambda: runs.delete(view.run_id)
            ),
            detail="It goes to the trash, from where it can be brought back.",
            yes="Delete",
        )

    def action_restore(self) -> None:
        from tuiwb import runs

        def done(run: Any) -> None:
            self.app.notify("It is back.")
            self.hurry()
            self.select(run.run_id)

        self.start("restore", lambda _: runs.restore("last"), done, keep=True)

    def action_prune(self) -> None:
        from tuiwb import runs
        from tuiwb.base.units import size

        run = self._chosen.run

        def ask(found: Any) -> None:
            if not found:
                self.app.notify("There is no checkpoint that could go.")
                return
            names = ", ".join(each.path.name for each in found)
            freed = size(sum(each.bytes for each in found))
            self.confirm(
                f"Remove {len(found)} checkpoints for good?",
                lambda: self._do(f"prune {run.run_id}", f"{freed} are free again.", lambda: runs.prune(run, found)),
                detail=f"{names}: {freed}. The newest, the best and the result stay.",
                yes="Remove them",
            )

        self.start(f"look at {run.run_id}", lambda _: runs.removable(run), ask)

    def action_note(self) -> None:
        from tuiwb import runs

        view = self._chosen

        def take(text: str) -> None:
            notes, tags = run_texts.labels(text)
            self._do(f"note {view.run_id}", "Noted.", lambda: runs.annotate(view.run_id, notes=notes, tags=tags))

        self.ask(
            f"Notes on {run_texts.title(view)}",
            take,
            value=run_texts.labels_text(view),
            hint="what you want to remember; words that begin with # are tags",
        )

    def action_compare(self) -> None:
        from tuiwb import runs

        ids = list(dict.fromkeys([self._chosen.run_id, *self.marked]))
        self.start(
            "compare runs",
            lambda _: runs.compare([runs.find(each) for each in ids]),
            lambda found: self.read("Compared", run_texts.compared(found)),
        )

    def action_results(self) -> None:
        """What an eval run found."""
        from tuiwb import evaluate
        from tuiwb.tui.results import Results

        run = self._chosen.run

        def show(report: dict[str, Any]) -> None:
            self.app.push_screen(Results(run, report))

        self.start("results", lambda _: evaluate.read_report(run), show)

    def action_rows(self) -> None:
        how = self.bench.session.layout.get("data", {})
        kept = {key: value for key, value in how.items() if key in ("look", "recent")}
        self.bench.brief("data", kept | {"run": self._chosen.run_id})
        self.bench.go("data")

    def action_chat(self) -> None:
        chosen, chat = self.checkpoint, self.bench.session.layout.get("chat", {})
        run_id = self._chosen.run_id if chosen is None else chosen.path
        if chat.get("whom") != run_id:  # a conversation with this run goes on
            how = {key: value for key, value in chat.items() if key not in ("template", "adapters")}
            self.bench.brief("chat", how | {"whom": run_id, "start": True})
        self.bench.go("chat")
