"""What the tests of the Train screen share."""

from pilot import BenchPilot

from tuiwb.recipe import Recipe
from tuiwb.tui.widgets.table import Table

SIZES = [(80, 24), (120, 40), (160, 50)]
"""Of the terminal."""


async def checked(pilot: BenchPilot) -> None:
    """Wait until the open recipe has been checked, and its rows have."""
    room = pilot.room
    await pilot.until(lambda: room._counted and room._assessment.resolved.stated == room.recipe)
    await pilot.pilot.pause()


async def go_to(pilot: BenchPilot, key: str) -> None:
    """Put the cursor on a key."""
    keys = [line.key for line in pilot.room._lines]
    pilot.room.query_one(Table).cursor = keys.index(key)
    await pilot.pilot.pause()


def recipe_of(pilot: BenchPilot) -> Recipe:
    found: Recipe = pilot.app.workspace.recipe
    return found
