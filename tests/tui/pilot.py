"""Drives the real app without a terminal. How to use it is said in tuiwb/tui/screen.py.

from pilot import bench

async def test_something() -> None:
    async with bench(screen="settings", size=(80, 24)) as pilot:
        await pilot.press("j", "enter")
        await pilot.until(lambda: "saved" in pilot.text())
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from textual import constants
from textual.message import Message
from textual.pilot import Pilot

from tuiwb.base import settings as settings_module
from tuiwb.tui.app import Workbench

M = TypeVar("M", bound=Message)


@dataclass
class BenchPilot:
    """The running app and what can be done to it.

    Args:
        messages: every message since the start, in order; see `of`.
    """

    app: Workbench
    pilot: Pilot[None]
    messages: list[Message]

    @property
    def room(self) -> Any:
        """The chosen screen."""
        return self.app.room

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def enter(self, text: str) -> None:
        await self.press(*("space" if character == " " else character for character in text))

    async def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Let the app work until `condition()` is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s; the screen is\n{self.text()}")
            await asyncio.sleep(0.01)
            await self.pilot.pause()

    async def until_text(self, text: str, seconds: float = 60) -> None:
        await self.until(lambda: text in self.text(), seconds)

    def of(self, kind: type[M]) -> list[M]:
        """The messages of one type so far."""
        return [message for message in self.messages if isinstance(message, kind)]

    def text(self) -> str:
        """The top screen (a dialog, when one is open) as plain lines."""
        screen = self.app.screen
        return "\n".join(strip.text.rstrip() for strip in screen._compositor.render_strips(screen.size))

    def toasts(self) -> list[str]:
        """The texts of the toasts that are up."""
        return [str(notification.message) for notification in self.app._notifications]


@asynccontextmanager
async def bench(
    screen: str | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    recipe: str | None = None,
    settings: settings_module.Settings | None = None,
    colours: str = "truecolor",
) -> AsyncIterator[BenchPilot]:
    """The app on `screen`, ready. `colours` as TEXTUAL_COLOR_SYSTEM."""
    constants.COLOR_SYSTEM = colours
    messages: list[Message] = []
    app = Workbench(screen, recipe, settings)
    async with app.run_test(size=size, message_hook=messages.append) as pilot:
        driven = BenchPilot(app, pilot, messages)
        await driven.until(lambda: app.ready)
        yield driven
