"""The Settings screen: what is listed, changing each kind of value, errors in place, and the file on disk."""

import pytest
from pilot import BenchPilot, bench

from tuiwb.base import paths, settings
from tuiwb.tui.screens.settings import entries
from tuiwb.tui.widgets.table import Table


async def go_to(pilot: BenchPilot, key: str) -> None:
    listed = [entry.key for entry in entries(pilot.app.settings)]
    pilot.room.query_one(Table).cursor = listed.index(key)
    await pilot.until_text(key)


def test_every_setting_and_every_action_is_listed_with_its_help() -> None:
    listed = entries(settings.Settings())
    keys = [entry.key for entry in listed]
    assert {"screen.theme", "places.runs", "worker.launcher", "hub.offline", "keys.app.help", "keys.runs.stop"} <= set(
        keys
    )
    assert len(keys) == len(set(keys))
    assert all(entry.help for entry in listed)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_help_of_a_setting_is_shown(size: tuple[int, int]) -> None:
    async with bench("settings", size=size) as pilot:
        await go_to(pilot, "screen.mouse")
        await pilot.until_text("Take mouse clicks")


async def test_a_switch_is_toggled_and_saved() -> None:
    async with bench("settings") as pilot:
        await go_to(pilot, "screen.animation")
        await pilot.press("enter")
        await pilot.until(lambda: settings.load().screen.animation is True)
        await pilot.until(lambda: pilot.app.animation_level == "full")
        await pilot.press("backspace")
        await pilot.until(lambda: settings.load().screen.animation is False)


async def test_a_choice_is_chosen_from_a_list() -> None:
    async with bench("settings") as pilot:
        await go_to(pilot, "screen.clipboard")
        await pilot.press("enter")
        await pilot.until_text("osc52")
        await pilot.enter("off")
        await pilot.press("enter")
        await pilot.until(lambda: settings.load().screen.clipboard == "off")


async def test_a_number_is_typed_and_nonsense_is_refused_in_place() -> None:
    async with bench("settings") as pilot:
        await go_to(pilot, "screen.refresh_s")
        await pilot.press("enter")
        await pilot.press(*["backspace"] * 5)
        await pilot.enter("fast")
        await pilot.press("enter")
        await pilot.until_text("`fast` is not a number")
        assert not paths.config_file().exists()
        await pilot.press(*["backspace"] * 4)
        await pilot.enter("2.5")
        await pilot.press("enter")
        await pilot.until(lambda: settings.load().screen.refresh_s == 2.5)


async def test_a_list_is_typed_as_words() -> None:
    async with bench("settings") as pilot:
        await go_to(pilot, "worker.launcher")
        await pilot.press("enter")
        await pilot.enter("nice -n 5")
        await pilot.press("enter")
        await pilot.until(lambda: settings.load().worker.launcher == ["nice", "-n", "5"])


async def test_a_key_is_changed_and_works_at_once() -> None:
    async with bench("settings") as pilot:
        await go_to(pilot, "keys.app.help")
        await pilot.press("enter")
        await pilot.press(*["backspace"] * 10)
        await pilot.enter("f3")
        await pilot.press("enter")
        await pilot.until(lambda: settings.load().keys == {"app.help": "f3"})
        await pilot.until_text("f3 Help")
        await pilot.press("f3")
        await pilot.until_text("Go to Settings")


async def test_the_filter_finds_a_setting_by_its_help() -> None:
    async with bench("settings", size=(120, 40)) as pilot:
        await pilot.press("slash")
        await pilot.enter("folder models")
        await pilot.press("enter")
        await pilot.until_text("which is ")
        assert "places.models" in pilot.text()
        assert "screen.theme" not in pilot.text()
        await pilot.press("slash")
        await pilot.enter("nonsense")
        await pilot.press("enter")
        await pilot.until_text("Nothing matches the filter")
        await pilot.press("enter")
        await pilot.until(lambda: "Nothing matches the filter." in pilot.toasts())


async def test_comments_of_the_file_survive_and_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    paths.private_folder(paths.config_home())
    paths.config_file().write_text("# mine\n[screen]\nmouse = true # keep\n")
    async with bench("settings") as pilot:
        await go_to(pilot, "screen.animation")
        await pilot.press("enter")
        await pilot.until(lambda: settings.load().screen.animation is True)
        assert "# mine" in paths.config_file().read_text()
        assert "# keep" in paths.config_file().read_text()

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tuiwb.base.atomic.write_text", full)
        await pilot.press("enter")
        await pilot.until(lambda: any("No space left on device" in toast for toast in pilot.toasts()))
        assert settings.load().screen.animation is True
