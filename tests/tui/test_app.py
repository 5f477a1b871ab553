"""The app: going from screen to screen, what it remembers, copying, leaving, and what it never imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pilot import bench

from tuiwb.base import paths, settings
from tuiwb.base.errors import InputFault
from tuiwb.base.tasks import Task
from tuiwb.tui import keys, session
from tuiwb.tui.app import Workbench
from tuiwb.tui.screen import RoomScreen, size_classes
from tuiwb.tui.workspace import Workspace

VISIT = """
import asyncio, sys
{hook}
from tuiwb.tui.app import Workbench
async def main():
    app = Workbench()
    async with app.run_test(size=(100, 30)) as pilot:
        for room in app.rooms:
            app.go(room.name)
            for _ in range(200):
                await pilot.pause(0.02)
                if app.ready and app.current_room == room.name and app.room.is_open:
                    break
            else:
                raise SystemExit(f"{{room.name}} did not open")
asyncio.run(main())
heavy = {{"torch", "transformers", "peft", "trl", "bitsandbytes"}} & set(sys.modules)
raise SystemExit(f"imported {{heavy}}" if heavy else 0)
"""
HIDE = """
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "trl", "bitsandbytes"):
            raise ImportError(f"{name} is hidden")
sys.meta_path.insert(0, Hidden())
"""


@pytest.mark.parametrize("hook", ["", HIDE], ids=["as it is", "without torch"])
def test_every_screen_opens_without_the_training_stack(hook: str) -> None:
    done = subprocess.run([sys.executable, "-c", VISIT.format(hook=hook)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("width", "height", "classes"),
    [
        (20, 5, {"-tiny", "-low"}),
        (80, 24, {"-narrow", "-short"}),
        (120, 40, {"-normal", "-tall"}),
        (160, 50, {"-wide", "-tall"}),
        (99, 33, {"-narrow", "-short"}),
        (100, 34, {"-normal", "-tall"}),
    ],
)
def test_the_size_chooses_the_layout(width: int, height: int, classes: set[str]) -> None:
    from textual.geometry import Size

    assert {name for name, on in size_classes(Size(width, height)).items() if on} == classes


async def test_number_keys_and_arrows_go_from_screen_to_screen() -> None:
    async with bench("settings") as pilot:
        await pilot.press("4")
        await pilot.until(lambda: pilot.app.current_room == "runs")
        await pilot.press("alt+right")
        names = [room.name for room in pilot.app.rooms]
        await pilot.until(lambda: pilot.app.current_room == names[names.index("runs") + 1])
        await pilot.press("alt+left")
        await pilot.until(lambda: pilot.app.current_room == "runs")


async def test_a_screen_that_was_resized_while_away_comes_back_right() -> None:
    async with bench("settings", size=(160, 50)) as pilot:
        await pilot.press("4")
        await pilot.pilot.resize_terminal(80, 24)
        await pilot.press("7")
        await pilot.until(lambda: pilot.app.current_room == "settings" and pilot.room.has_class("-narrow"))
        assert not pilot.room.has_class("-wide")


async def test_the_screen_of_last_time_opens_again() -> None:
    async with bench("settings") as pilot:
        await pilot.press("4")
        await pilot.press("q")
    assert json.loads(paths.session_file().read_text())["screen"] == "runs"
    async with bench() as pilot:
        assert pilot.app.current_room == "runs"


async def test_nothing_is_remembered_when_the_setting_says_so() -> None:
    own = settings.Settings(screen=settings.Screen(restore_session=False))
    async with bench("settings", settings=own) as pilot:
        await pilot.press("q")
    assert not paths.session_file().exists()


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"screen": 7}', '{"layout": []}', '{"screen": "nowhere"}'])
async def test_a_session_that_makes_no_sense_is_put_aside(content: str) -> None:
    paths.private_folder(paths.session_file().parent)
    paths.session_file().write_text(content)
    async with bench() as pilot:
        assert pilot.app.current_room in [room.name for room in keys.ROOMS]


async def test_a_session_that_cannot_be_written_disturbs_nobody() -> None:
    paths.private_folder(paths.state_home().parent)
    paths.state_home().write_text("a file where the folder should be")
    session.keep(session.Remembered(Workspace(), "runs", {}))
    assert session.load() == session.Session()


async def test_the_palette_finds_an_action_of_another_screen() -> None:
    async with bench("runs", size=(100, 30)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.enter("where the settings file")
        await pilot.until_text("Show where the settings file is.")
        await pilot.press("down", "enter")
        await pilot.until(lambda: pilot.app.current_room == "settings")
        await pilot.until(lambda: any("config.toml" in toast for toast in pilot.toasts()))


async def test_a_theme_is_kept_and_an_unknown_one_is_told() -> None:
    async with bench("settings") as pilot:
        pilot.app.theme = "textual-light"
        await pilot.until(lambda: settings.load().screen.theme == "textual-light")
    settings.save("screen.theme", "textual-drak")
    async with bench("settings") as pilot:
        assert pilot.app.theme == "textual-dark"
        await pilot.until(lambda: any("no theme `textual-drak`" in toast for toast in pilot.toasts()))


async def test_a_terminal_of_sixteen_colours_gets_a_theme_in_its_own() -> None:
    async with bench("settings", colours="standard") as pilot:
        assert pilot.app.theme == "ansi-dark"
        assert settings.load().screen.theme == "textual-dark"
        pilot.app.theme = "nord"
        await pilot.until(lambda: settings.load().screen.theme == "nord")
        assert pilot.app.theme == "nord"


async def test_a_problem_is_one_gated_sentence_and_can_be_read_again() -> None:
    async with bench("settings") as pilot:
        pilot.room.problem(InputFault("no such \x1b[31mcolumn [b]", file="rows.jsonl", line=3))
        await pilot.until(lambda: "rows.jsonl:3: no such ␛[31mcolumn [b]" in pilot.toasts())
        await pilot.press("exclamation_mark")
        await pilot.until_text("no such ␛[31mcolumn [b]")
        await pilot.press("y")
        assert pilot.app.clipboard == "rows.jsonl:3: no such ␛[31mcolumn [b]"


async def test_a_key_that_is_held_down_says_once_what_it_says() -> None:
    async with bench("runs") as pilot:
        pilot.app.NOTIFICATION_TIMEOUT = 600  # the machine may be slow
        await pilot.until_text("There are no runs yet.")
        for _ in range(4):
            await pilot.press("s")
        await pilot.until(lambda: pilot.toasts() == ["No run is selected."])
        pilot.app.notify("another one")
        await pilot.until(lambda: pilot.toasts() == ["No run is selected.", "another one"])


async def test_what_is_too_long_to_copy_is_told() -> None:
    async with bench("settings") as pilot:
        pilot.app.copy_to_clipboard("x" * 80_000)
        await pilot.until(lambda: any("80,000 bytes are too much" in toast for toast in pilot.toasts()))
        assert pilot.app.clipboard == ""


async def test_leaving_asks_only_when_something_is_cut_off() -> None:
    async with bench("settings") as pilot:
        room = pilot.room
        assert isinstance(room, RoomScreen)

        def wait(task: Task) -> None:
            while True:
                task.step("downloading")

        task = room.start("downloading smollm2", wait, lambda _: None, keep=True)
        await pilot.press("q")
        await pilot.until_text("downloading smollm2: this would be stopped")
        await pilot.press("n")
        assert pilot.app.is_running
        assert not task.cancelled
        await pilot.press("q")
        await pilot.press("y")
        await pilot.until(lambda: task.cancelled)


async def test_zoom_fills_the_screen_and_escape_brings_it_back() -> None:
    async with bench("settings", size=(120, 40)) as pilot:
        await pilot.press("z")
        await pilot.until(lambda: "What it does" not in pilot.text())
        await pilot.press("escape")
        await pilot.until_text("What it does")


async def test_a_bug_ends_in_the_log_and_not_on_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    app = Workbench("settings")

    async def divide() -> None:
        async with app.run_test() as pilot:
            app.call_later(lambda: 1 / 0)
            for _ in range(100):
                await pilot.pause(0.01)

    with pytest.raises(ZeroDivisionError):
        await divide()
    assert isinstance(app.failure, ZeroDivisionError)
    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err


def test_a_broken_settings_file_is_one_sentence_with_its_line(tmp_path: Path) -> None:
    paths.private_folder(paths.config_home())
    paths.config_file().write_text("[screen]\nmouze = true\n")
    done = subprocess.run(
        [sys.executable, "-c", "from tuiwb.tui.app import Workbench; Workbench()"],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert "did you mean `mouse`?" in done.stderr


def test_without_a_terminal_the_command_says_so() -> None:
    done = subprocess.run([sys.executable, "-m", "tuiwb"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
