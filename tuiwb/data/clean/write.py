"""The rows that stay, as a file: each as it stands in the source unless a step changed it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tuiwb.base import atomic
from tuiwb.base.errors import EnvironmentFault, UsageFault, reason_of
from tuiwb.base.tasks import Task
from tuiwb.data.clean.report import document, markdown
from tuiwb.data.clean.run import Cleaned
from tuiwb.data.clean.steps import changes
from tuiwb.data.subset import line_of, refuse, write_lines

if TYPE_CHECKING:
    from tuiwb.data.view import View

_STEP = 1000
REPORT_ENDINGS = (".md", ".json")


def write(view: "View", cleaned: Cleaned, output: Path, *, force: bool = False, task: Task | None = None) -> int:
    """Write the rows that stay, in their order; errors as `subset.write_lines`.

    Returns:
        how many they are.
    """
    return write_lines(output, lines(view, cleaned, task), view.store.files(), force=force)


def lines(view: "View", cleaned: Cleaned, task: Task | None = None) -> Iterator[bytes]:
    """The rows that stay, as lines of JSON."""
    change = changes(cleaned.steps)
    for done, number in enumerate(cleaned.stay()):
        if task and done % _STEP == 0:
            task.step("writing", done, cleaned.kept, "rows")
        if change is not None:
            value = view.row(number).value
            changed = change(value)
            if changed is not value:
                yield orjson.dumps(changed, default=str, option=orjson.OPT_NON_STR_KEYS)
                continue
        yield line_of(view, number)


def write_report(view: "View", cleaned: Cleaned, output: Path, *, force: bool = False) -> None:
    """Write what was left out and why, as Markdown or, where `output` ends in .json, as a document.

    Raises:
        UsageFault: `output` ends otherwise, is a source, or is there already without `force`.
        EnvironmentFault: it cannot be written; an old file is untouched.
    """
    if output.suffix not in REPORT_ENDINGS:
        raise UsageFault("a report ends in .md or .json", file=output, key="--report")
    refuse(output, view.store.files(), force=force)
    as_json = output.suffix == ".json"
    content = orjson.dumps(document(view, cleaned)) + b"\n" if as_json else markdown(view, cleaned).encode()
    try:
        atomic.write_bytes(output, content)
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=output) from error
