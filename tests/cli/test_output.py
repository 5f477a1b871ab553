"""Tables and texts on a terminal of 80 columns, and through a pipe."""

import json
import os
import sys

import pytest

from tuiwb import runs
from tuiwb.base.text import width_of
from tuiwb.cli import output
from tuiwb.cli.main import main

LONG = "the worker ended with exit code 0 and without a result; it has no checkpoint, and its folder is still there"


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((80, 24)))


@pytest.mark.parametrize("first", ["short", "x" * 70])
def test_no_line_of_a_table_is_longer_than_the_terminal(
    first: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch)
    output.print_table(["run", "reason"], [(first, LONG), (first, "")])
    heads, *lines = capsys.readouterr().out.splitlines()
    assert "run" in heads
    assert max(map(width_of, lines)) <= 80
    assert " ".join(" ".join(lines).replace(first, "").split()) == LONG


def test_a_text_hangs_behind_its_head(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    on_a_terminal(monkeypatch)
    output.hanging("note    driver  ", LONG)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("note    driver  the worker")
    assert second.startswith(" " * 16)
    assert second[16] != " "


def test_through_a_pipe_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["run", "reason"], [("x" * 70, LONG)])
    output.hanging("note  ", LONG)
    assert capsys.readouterr().out.splitlines()[1:] == [f"{'x' * 70}  {LONG}", f"note  {LONG}"]


def test_the_log_of_a_run_is_json_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runs, "find", lambda name: name)
    monkeypatch.setattr(runs, "tail_log", lambda run, **how: iter(["loading", 'a "quoted" line']))
    assert main(["runs", "tail", "last", "--log", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"type": "log", "line": "loading"}, {"type": "log", "line": 'a "quoted" line'}]
