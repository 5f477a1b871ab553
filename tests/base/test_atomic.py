"""A file is the old one or the new one."""

import json
import stat
from pathlib import Path

import pytest

from tuiwb.base import atomic


def test_replaces_and_is_private(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "state.json"
    target.parent.mkdir()
    atomic.write_json(target, {"seq": 1})
    atomic.write_json(target, {"seq": 2})
    assert json.loads(target.read_text()) == {"seq": 2}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "state.json"
    target.parent.mkdir()
    atomic.write_text(target, "old")

    def write_half() -> None:
        with atomic.replacing(target) as file:
            file.write(b"half of the new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_without_permission_is_the_callers_to_report(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        atomic.write_text(tmp_path / "missing" / "file", "text")
