"""Whether a model's template takes every row, and max_length all of it: what only rendering shows."""

from typing import TYPE_CHECKING

from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.data.layout import Layout
from tuiwb.data.problems import Problem, Tally
from tuiwb.data.rows import Row
from tuiwb.data.sides import layouts
from tuiwb.data.turns import BadRow

if TYPE_CHECKING:
    from tuiwb.data.render import Renderer
    from tuiwb.data.view import View

_BATCH = 256


def misfits(view: "View", renderer: "Renderer", task: Task | None = None) -> tuple[Problem, ...]:
    """Render every row that can be trained on: those that the template refuses (tool arguments that it cannot write, a
    system turn that it does not know), and, where the renderer has a `max_length`, those that it cuts.

    Raises:
        InputFault: the format is not clear, or the model has no template and the rows need one.
        Cancelled: the task was cancelled.
    """
    task = task or Task()
    tally = Tally()
    total = len(view)
    waiting: list[tuple[Row, Layout]] = []
    for row in view.scan():
        if row.id % _BATCH == 0:
            task.step("rendering", row.id, total, "rows")
            _count_cut(waiting, renderer, tally)
            waiting = []
        try:
            example = view.example(row)
            sides = {} if example.kind == "tokenized" else layouts(example, renderer)
        except BadRow:
            continue  # said without a model
        except InputFault as fault:
            if fault.key == "chat_template":
                raise
            tally.add("unrenderable", fault.message, row.id, row.line)
            continue
        if renderer.max_length is not None:
            waiting += [(row, layout) for layout in sides.values()]
    _count_cut(waiting, renderer, tally)
    return tally.problems()


def _count_cut(waiting: list[tuple[Row, Layout]], renderer: "Renderer", tally: Tally) -> None:
    if not waiting:
        return
    cut: dict[int, tuple[Row, int]] = {}
    for (row, _), encoded in zip(waiting, renderer.encode([layout for _, layout in waiting]), strict=True):
        if encoded.truncated:
            cut[row.id] = (row, cut.get(row.id, (row, 0))[1] + encoded.truncated)
    for row, tokens in cut.values():
        tally.add("cut_off", f"{tokens:,}", row.id, row.line)
