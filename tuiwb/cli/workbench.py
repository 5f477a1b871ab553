"""What `tuiwb` without a verb does: open the workbench on this terminal."""

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import UsageFault

if TYPE_CHECKING:
    import argparse


def run(
    args: "argparse.Namespace | None",
    *,
    screen: str | None = None,
    recipe: str | None = None,
    layout: dict[str, dict[str, Any]] | None = None,
) -> int:
    """Open the workbench and come back when the user leaves it.

    Args:
        screen: the screen to open first; None is that of last time.
        recipe: the recipe file or preset to open; None is that of last time.
        layout: by screen, what its `restore_layout` gets in place of what the session remembers.

    Raises:
        UsageFault: this is not a terminal.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageFault("the workbench needs a terminal; `tuiwb --help` lists the verbs that do not")
    for stale in ("COLUMNS", "LINES"):
        os.environ.pop(stale, None)  # an exported size would hide what the terminal says, also after a resize
    # Nothing that is loaded from here on is garbage; looking for some costs a tenth of the start. The app switches
    # the collector on again after its first paint.
    gc.disable()
    from tuiwb.tui import app

    app.run(screen, recipe, layout or {})
    return 0
