"""Code of a model: what it computes counts, and what it must not do it cannot."""

import os
import socket
from pathlib import Path

import pytest

from tuiwb.evaluate import sandbox


def how(program: str, *, seconds: float = 10) -> str:
    outcome = sandbox.run(program, seconds=seconds)
    assert not outcome.passed
    return outcome.how


def test_what_is_right_passes_and_what_is_wrong_is_told() -> None:
    assert sandbox.run("import json, math, re, collections\nassert math.factorial(5) == 120").passed
    assert how("assert 1 == 2, 'one is not two'") == "AssertionError: one is not two"
    assert how("def f(:").startswith("SyntaxError")
    assert how("import sys; sys.exit(3)") == "ended with 3"
    assert sandbox.run("import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()").passed


def test_what_hangs_is_ended() -> None:
    assert how("import time\nwhile True: time.sleep(1)", seconds=1) == "not done after 1 s"
    assert how("while True: pass", seconds=1) == "not done after 1 s"


def test_a_fork_bomb_makes_no_process(tmp_path: Path) -> None:
    before = len(list(Path("/proc").iterdir()))
    assert "PermissionError" in how("import os\nwhile True: os.fork()")
    assert "PermissionError" in how("import subprocess\nsubprocess.Popen(['/bin/true'])")
    assert "PermissionError" in how("import os\nos.execv('/bin/true', ['true'])")
    assert "PermissionError" in how(f"import os\nos.kill({os.getpid()}, 9)")
    assert len(list(Path("/proc").iterdir())) < before + 100


def test_a_memory_bomb_ends_alone() -> None:
    assert "MemoryError" in how("x = 'x'\nwhile True: x += x")
    assert how("x = bytearray(1 << 33)") == "MemoryError"


def test_output_without_end_is_cut() -> None:
    assert how("while True: print('x' * 10_000)", seconds=20)


def test_there_is_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "PermissionError" in how(f"import socket\nsocket.create_connection(('127.0.0.1', {port}))")
    assert "PermissionError" in how("import socket\nsocket.socket(socket.AF_UNIX)")


@pytest.mark.parametrize(
    "act",
    ["open({p!r}, 'w')", "open({p!r}, 'a')", "os.remove({p!r})", "os.rename({p!r}, {p!r} + '2')", "os.chmod({p!r}, 0)",
     "os.truncate({p!r}, 0)", "os.mkdir({p!r} + '3')", "os.symlink('/', {p!r} + '4')", "os.utime({p!r})",
     "open({p!r} + '5', 'x')", "os.open({p!r}, os.O_RDWR)"],
)  # fmt: skip
def test_no_file_is_changed(act: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    before, names = kept.stat(), sorted(tmp_path.iterdir())
    assert "PermissionError" in how("import os\n" + act.format(p=str(kept)))
    assert sorted(tmp_path.iterdir()) == names
    assert kept.read_text() == "as it was"
    assert (kept.stat().st_mode, kept.stat().st_mtime) == (before.st_mode, before.st_mtime)


def test_nothing_of_the_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert sandbox.run("import os\nassert 'HF_TOKEN' not in os.environ").passed
