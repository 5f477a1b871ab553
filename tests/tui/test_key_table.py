"""The key table: one row for everything that can be done, and everything that can be done has its row."""

import importlib
import inspect

import pytest
from pilot import bench

from tuiwb.base import settings
from tuiwb.tui import actions, keys
from tuiwb.tui.screen import RoomScreen, normal

EXISTING = [room.name for room in keys.ROOMS if importlib.util.find_spec(f"tuiwb.tui.screens.{room.name}")]


def screen_class(name: str) -> type[RoomScreen]:
    module = importlib.import_module(f"tuiwb.tui.screens.{name}")
    found: type[RoomScreen] = getattr(module, f"{name.title()}Screen")
    return found


def test_no_two_rows_share_an_id_and_every_row_says_what_it_does() -> None:
    table = keys.table()
    ids = [row.id for row in table]
    assert len(ids) == len(set(ids))
    for row in table:
        assert row.help.endswith((".", "…")), row
        assert row.label, row


@pytest.mark.parametrize("where", [keys.APP, "lists", *EXISTING])
def test_a_key_means_one_thing_on_a_screen(where: str) -> None:
    taken: dict[str, str] = {}
    for row in keys.rows(where):
        for key in keys.keys_of(row, {}):
            other = taken.setdefault(normal(key), row.id)
            assert other == row.id, f"{key} is {other} and {row.id}"


@pytest.mark.parametrize("name", EXISTING)
def test_every_row_of_a_screen_has_its_method(name: str) -> None:
    found = screen_class(name)
    assert name == found.ROOM
    for row in keys.rows(name):
        assert inspect.isfunction(getattr(found, f"action_{row.action}", None)), row.id


def test_every_global_row_has_its_function() -> None:
    rooms = {room.name for room in keys.ROOMS}
    for row in keys.GLOBAL:
        assert row.action in rooms or inspect.isfunction(getattr(actions, row.action, None)), row.id


def test_the_users_own_keys_replace_the_default_ones() -> None:
    row = keys.Key("app.help", "?,f1", "Help", "Help.")
    assert keys.keys_of(row, {}) == ("?", "f1")
    assert keys.keys_of(row, {"app.help": "f12, ctrl+h"}) == ("f12", "ctrl+h")
    assert keys.keys_of(row, {"app.help": ""}) == ()


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"app.hlep": "x"}, "did you mean `app.help`?"),
        ({"settings.edit": "q"}, "`q` is used for both"),
        ({"app.help": "f3"}, ""),
    ],
)
def test_what_is_wrong_with_the_users_keys_is_said(own: dict[str, str], sentence: str) -> None:
    found = list(keys.faults(own))
    assert bool(found) == bool(sentence)
    assert all(sentence in fault for fault in found)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("ctrl+p", "^p"),
        ("question_mark", "?"),
        ("alt+left", "alt+←"),
        ("ctrl+shift+a", "^⇧a"),
        ("?", "?"),
        ("f1", "f1"),
    ],
)
def test_keys_are_shown_as_people_read_them(key: str, shown: str) -> None:
    assert keys.shown(key) == shown


async def test_a_key_of_the_users_own_works_and_the_old_one_does_not() -> None:
    own = settings.Settings(keys={"app.help": "f3", "app.settings": "8"})
    async with bench("settings", settings=own) as pilot:
        await pilot.press("question_mark")
        assert "Leave the workbench" not in pilot.text()
        assert "f3 Help" in pilot.text()
        assert "8 Settings" in pilot.text()
        await pilot.press("f3")
        await pilot.until_text("Go to Settings")


async def test_wrong_keys_of_the_users_own_are_told_at_the_start() -> None:
    async with bench("settings", settings=settings.Settings(keys={"app.hlep": "x"})) as pilot:
        await pilot.until(lambda: any("did you mean `app.help`?" in toast for toast in pilot.toasts()))
