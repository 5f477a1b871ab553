"""What an eval run found: base against tuned with intervals, and below each row with its scores, the worst first."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import ModalScreen

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate, gate_line
from tuiwb.tui.dialogs import Ask, Reader
from tuiwb.tui.jobs import JobHost
from tuiwb.tui.widgets.frame import Pane
from tuiwb.tui.widgets.table import Cell, Column, Table

if TYPE_CHECKING:
    from tuiwb.rundir import RunDir
    from tuiwb.tui.app import Workbench

CHANGES = ("all", "worse", "better", "equal")
"""Which rows are shown: by how the last subject's score compares with the first one's."""


class Results(JobHost, ModalScreen[None]):
    """See the top of this file.

    Args:
        run: an eval run.
        report: of `evaluate.read_report`.
    """

    DEFAULT_CSS = """
    Results { align: center middle; }
    Results Pane { background: $surface; width: 100%; }
    Results #results { height: 2fr; max-height: 14; }
    Results #cases { height: 3fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "leave"),
        ("tab,shift+tab", "other"),
        ("slash", "filter"),
        ("c", "change"),
        ("d", "data"),
        ("y", "copy"),
    ]

    def __init__(self, run: "RunDir", report: dict[str, Any]) -> None:
        super().__init__()
        self._run_dir, self._report = run, report
        self._results: list[dict[str, Any]] = report["results"]
        self._cases: list[dict[str, Any]] = []
        self._shown: list[dict[str, Any]] = []
        self._words, self._change = "", CHANGES[0]
        self._looking = False

    def compose(self) -> ComposeResult:
        subjects = self._report["subjects"]
        columns = [Column("data", 10, flex=1), Column("metric", 15)]
        columns += [Column(gate_line(name, 22), 22, right=True) for name in subjects[:1] + subjects[1:][-1:]]
        columns += [
            Column("difference", 24, right=True, from_width=96),
            Column("won lost same", 13, right=True, from_width=112),
        ]
        yield Pane(
            Table(*columns, id="all"), title=f"Results of {gate_line(self._run_dir.run_id, 40)}", id="results",
            note="95 % intervals, paired bootstrap over rows",
        )  # fmt: skip
        scores = [Column(gate_line(name, 9), 9, right=True) for name in subjects[:1] + subjects[1:][-1:]]
        yield Pane(
            Table(Column("row", 7, right=True), *scores, Column("asked", 20, flex=2),
                  Column("answered", 20, flex=3, from_width=90), id="rows"),
            title="Rows", id="cases",
            note="enter: whole   d: to the Data screen   /: filter   c: better, worse   tab   esc",
        )  # fmt: skip

    def on_mount(self) -> None:
        table = self.query_one("#all", Table)
        table.fill(len(self._results), self._result)
        table.focus()
        self._look()

    def job_failed(self, error: TuiwbError) -> None:
        cast("Workbench", self.app).problem(error)

    # What is shown

    @property
    def _names(self) -> tuple[str, str]:
        subjects = self._report["subjects"]
        return subjects[0], subjects[-1]

    def _result(self, row: int) -> list[Cell]:
        found, (first, last) = self._results[row], self._names
        change = found["differences"].get(last)
        cells: list[Cell] = [found["dataset"] + (" (general)" if found["general"] else ""), found["metric"]]
        cells += [interval(found["values"].get(name)) for name in dict.fromkeys((first, last))]
        tone = "dim"
        if change is not None and (change["low"] > 0 or change["high"] < 0):
            tone = "good" if (change["low"] > 0) == found["higher_is_better"] else "bad"
        cells.append((interval(change, signed=True), tone))
        counted = change is not None and found["metric"] != "bleu"
        cells.append(
            f"{change['better']} {change['worse']} {change['equal']}" if change is not None and counted else ""
        )
        return cells

    def _case(self, row: int) -> list[Cell]:
        case, (first, last) = self._shown[row], self._names
        cells: list[Cell] = [str(case["row"])]
        for name in dict.fromkeys((first, last)):
            score = case["scores"].get(name)
            cells.append("—" if score is None else (f"{score:.4g}", "dim" if name != last else ""))
        return [*cells, _line(case["question"] or ""), _line(case["answers"].get(last, ""))]

    def on_table_moved(self, event: Table.Moved) -> None:
        if event.table.id == "all":
            self._look()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        if event.table.id == "all":
            self.query_one("#rows", Table).focus()
        elif self._shown:
            self.app.push_screen(Reader(f"row {self._shown[event.row]['row']}", whole(self._shown[event.row])))

    def _look(self) -> None:
        """Find the rows of the metric under the cursor, in a thread: ROUGE of thousands of answers takes seconds."""
        if not self._results:
            return
        found = self._results[self.query_one("#all", Table).cursor]
        run, metric, dataset = self._run_dir, found["metric"], found["dataset"]
        self._cases, self._looking = [], True  # those of another metric have other scores
        self._fill(metric)

        def work(_: Task) -> list[dict[str, Any]]:
            from tuiwb import evaluate

            return evaluate.cases_of(run, metric, dataset=dataset)

        def done(cases: list[dict[str, Any]]) -> None:
            self._cases, self._looking = cases, False
            self._fill(metric)

        self.start("cases", work, done)

    def _fill(self, metric: str) -> None:
        first, last = self._names
        higher = self._results[self.query_one("#all", Table).cursor]["higher_is_better"]
        words = self._words.lower().split()
        self._shown = [
            case
            for case in self._cases
            if self._change in ("all", changed(case, first, last, higher=higher))
            and all(word in said(case) for word in words)
        ]
        only = f", {self._change} than {first}" if self._change in ("better", "worse") else ""
        only += f", with {self._words}" if words else ""
        found = "…" if self._looking else f"{len(self._shown):,}"
        title = f"Rows by {gate_line(metric, 30)}, the worst first{gate_line(only, 60)}: {found}"
        self.query_one("#cases", Pane).border_title = Content(title)
        self.query_one("#rows", Table).fill(len(self._shown), self._case, cursor=0)

    # Keys

    def action_leave(self) -> None:
        self.dismiss(None)

    def action_other(self) -> None:
        rows, results = self.query_one("#rows", Table), self.query_one("#all", Table)
        (results if rows.has_focus else rows).focus()

    def action_change(self) -> None:
        self._change = CHANGES[(CHANGES.index(self._change) + 1) % len(CHANGES)]
        self._fill(self._results[self.query_one("#all", Table).cursor]["metric"])

    def action_filter(self) -> None:
        def take(text: str | None) -> None:
            if text is not None:
                self._words = text.strip()
                self._fill(self._results[self.query_one("#all", Table).cursor]["metric"])

        self.app.push_screen(Ask("Only rows with these words", self._words, "in question, answers or reference"), take)

    def action_data(self) -> None:
        """To the row under the cursor, on the Data screen."""
        case = self._shown[self.query_one("#rows", Table).cursor] if self._shown else None
        if case is None or not case["path"].startswith("/"):
            self.app.notify("There is no row to go to.", severity="warning")
            return
        bench = cast("Workbench", self.app)
        self.dismiss(None)
        data = dict(bench.session.layout.get("data", {}))
        bench.brief("data", data | {"path": case["path"], "row": case["row"], "start": True})
        bench.call_after_refresh(bench.go, "data")

    def action_copy(self) -> None:
        if self._shown:
            self.app.copy_to_clipboard(whole(self._shown[self.query_one("#rows", Table).cursor]))


def interval(found: dict[str, Any] | None, *, signed: bool = False) -> str:
    """A value with its interval, short."""
    if found is None:
        return "—"
    value, low, high = (_short(found[name], "+" if signed else "") for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _short(value: float, sign: str) -> str:
    """Three digits of it: a perplexity of 25,700 is 25.7k, which leaves room for its interval."""
    for unit, power in (("M", 1e6), ("k", 1e3)):
        if power * 0.9995 <= abs(value) < 1e9:
            return f"{value / power:{sign}.3g}{unit}"
    return f"{value:{sign}.3g}"


def changed(case: dict[str, Any], first: str, last: str, *, higher: bool) -> str:
    """`better`, `worse` or `equal`: the last subject's score against the first one's."""
    before, now = case["scores"].get(first), case["scores"].get(last)
    if before is None or now is None or before == now:
        return "equal"
    return "better" if (now > before) == higher else "worse"


def said(case: dict[str, Any]) -> str:
    """What was asked and answered, in small letters, to search in."""
    return "\n".join(filter(None, (case["question"], case["reference"], *case["answers"].values()))).lower()


def whole(case: dict[str, Any]) -> str:
    """Everything about a row, to read."""
    scores = "   ".join(f"{name} {score:.4g}" for name, score in case["scores"].items())
    parts = [f"{case['path']}, row {case['row']}", scores]
    if case["question"]:
        parts.append(f"asked:\n{case['question']}")
    if case["reference"]:
        parts.append(f"right:\n{case['reference']}")
    parts += [f"{name}:\n{text}" for name, text in case["answers"].items()]
    return gate("\n\n".join(parts))


def _line(text: str) -> str:
    return gate_line(" ".join(text[:400].split()), 200)
