"""What can wait until the first screen is there."""

import gc
import importlib
from collections.abc import Iterable

from tuiwb.base.tasks import Task


def freeze() -> None:
    """What was built at the start lives as long as the program: the collector need not look at it again."""
    gc.enable()
    gc.collect()
    gc.freeze()


def import_screens(names: Iterable[str], task: Task) -> None:
    """Import the other screens in a thread, so that the first visit of one does not wait for it."""
    for name in names:
        task.step(f"import {name}")
        importlib.import_module(f"tuiwb.tui.screens.{name}")
    gc.freeze()  # they stay too: a look of the collector at them holds a key up for 80 ms
