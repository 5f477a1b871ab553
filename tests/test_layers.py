"""The walls of the house: which room may import which, and that no headless one pulls in what belongs to a wing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEADLESS = sorted(
    folder.name
    for folder in (ROOT / "tuiwb").iterdir()
    if (folder / "__init__.py").is_file() and folder.name not in ("cli", "tui", "workers")
)
HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes")
TRAINING = (*HEAVY, "textual")


def modules_after(code: str) -> set[str]:
    """The top-level modules of a fresh interpreter that ran `code`."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("room", HEADLESS)
def test_a_headless_room_imports_nothing_of_the_wings(room: str) -> None:
    # Every public name too: a lazy one that pulls in torch is as bad as an early one.
    code = f"import tuiwb.{room} as room\nfor name in getattr(room, '__all__', ()): getattr(room, name)"
    assert not modules_after(code) & set(TRAINING)


def test_the_screens_and_the_key_table_import_no_training_stack() -> None:
    code = (
        "import importlib, pkgutil, tuiwb.tui.app, tuiwb.tui.screens as screens\n"
        "for _, name, _ in pkgutil.iter_modules(screens.__path__): importlib.import_module(f'tuiwb.tui.screens.{name}')"
    )
    assert not modules_after(code) & set(HEAVY)
    assert "textual" not in modules_after("from tuiwb.tui import keys; keys.table()")


def test_the_command_line_starts_without_rich_textual_and_argparse() -> None:
    loaded = modules_after("from tuiwb.cli.main import main; main(['--version'])")
    assert not loaded & {"textual", "rich", "argparse", "msgspec", *HEAVY}


def test_the_layer_contract_holds() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout
