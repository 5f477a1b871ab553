"""The Chat screen before a word was said."""

from pathlib import Path

from pilot import bench
from test_chat_screen import ready, remember


async def test_there_is_no_prompt_to_show_yet(tiny_model: Path) -> None:
    remember(whom=str(tiny_model))
    async with bench(screen="chat", size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("escape", "p")
        await pilot.until(lambda: "Nothing was said yet: there is no prompt." in pilot.toasts())


async def test_the_way_to_another_one_stays_whatever_is_typed() -> None:
    async with bench(screen="chat", size=(80, 24)) as pilot:
        await pilot.press("escape", "o")
        await pilot.until_text("Whom to talk to")
        await pilot.enter("no such name")
        await pilot.until(lambda: "another…" in pilot.text())
