"""Makes the pictures of the README from a real run: `python screenshots/make.py`.

Walks the demo first (`tuiwb demo --headless`, which reuses a finished one), then opens each screen on what it left and
saves it as SVG beside this file. TUIWB_HOME says which home is used.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tuiwb.base import paths
from tuiwb.demo.walk import held_out
from tuiwb.tui.app import Workbench

HERE = Path(__file__).parent
SIZE = (120, 34)


async def until(condition: Callable[[], object], seconds: float = 180) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def settle(app: Workbench) -> None:
    """Give the screen the time to read what it shows. Runs never rests: it looks at its files again and again."""
    await until(lambda: app.ready)
    await asyncio.sleep(8)


async def screens() -> None:
    app = Workbench(recipe="demo")
    async with app.run_test(size=SIZE) as pilot:
        await until(lambda: app.workspace.model is not None)
        for room in ("plan", "data", "train", "runs", "models", "settings"):
            app.go(room)
            await settle(app)
            save(app, room)
        app.go("chat")
        await settle(app)
        await until(lambda: app.room.chat is not None)  # the run of the demo
        chat = app.room.chat
        chat.sampling = type(chat.sampling)(temperature=0.0, max_new_tokens=96)
        chat.say(held_out()[0])
        await until(lambda: chat.state == "ready" and not chat.answering)
        await pilot.pause(0.5)
        save(app, "chat")


def save(app: Workbench, name: str) -> None:
    path = HERE / f"{name}.svg"
    picture = app.export_screenshot(title=f"tuiwb · {name}")
    # Where this checkout and this home are is nobody's business.
    for place, shown in ((HERE.parent, "~/tuiwb"), (paths.data_home().parent, "~/.tuiwb"), (Path.home(), "~")):
        picture = picture.replace(str(place), shown)
    path.write_text(picture, "utf-8")
    print(path.name, file=sys.stderr)  # noqa: T201


def main() -> None:
    subprocess.run([sys.executable, "-m", "tuiwb", "demo", "--headless"], check=True)
    asyncio.run(screens())


if __name__ == "__main__":
    main()
