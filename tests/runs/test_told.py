"""How an alarm reaches somebody who does not look: the terminal's bell, a desktop notification, a webhook."""

import json
import os
import pty
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from run_tools import at_rest, events_of, until

from tuiwb import rundir
from tuiwb.base import paths, settings
from tuiwb.rundir import RunDir
from tuiwb.runs import lock

ALARM = {"rule": "not_finite", "severity": "critical", "message": "the loss is NaN at step 20"}


@pytest.fixture
def in_alarm() -> Iterator[RunDir]:
    """A run that counts as running, since this process holds its lock."""
    root = paths.private_folder(settings.runs_root())
    run = RunDir(root / "20260101-000000-light-0a1b2c")
    run.path.mkdir()
    rundir.write_job(run, {"kind": "train", "name": "light", "created": time.time(), "input": {}})
    handle = lock.take(run)
    assert handle is not None
    machine = {"host": rundir.host_name(), "machine_id": rundir.machine_id(), "boot_id": rundir.boot_id()}
    rundir.write_state(run, "running", attempt=1, machine=machine, alarms=[ALARM])
    yield run
    os.close(handle)


@pytest.fixture
def terminal() -> Iterator[Callable[..., int]]:
    """Starts the workbench in a pseudo-terminal."""
    started: list[tuple[int, int]] = []

    def begin(**environment: str) -> int:
        pid, handle = pty.fork()
        if pid == 0:
            os.environ.pop("TMUX", None)
            os.environ |= environment
            os.execv(sys.executable, [sys.executable, "-m", "tuiwb"])
        started.append((pid, handle))
        return handle

    yield begin
    for pid, handle in started:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(handle)


def written(handle: int, pattern: bytes, *, wait_s: float = 45.0) -> bytes:
    """What the workbench writes, until `pattern` is in it."""
    seen, deadline = b"", time.monotonic() + wait_s
    while not re.search(pattern, seen):
        assert time.monotonic() < deadline, seen[-2000:]
        if select.select([handle], [], [], 0.1)[0]:
            seen += os.read(handle, 1 << 16)
    return seen


@pytest.mark.parametrize(
    ("term", "notification"),
    [("xterm-256color", rb"\x1b\]9;light: the loss is NaN at step 20\x1b\\\x07"),
     ("foot", rb"\x1b\]777;notify;tuiwb;light: the loss is NaN at step 20\x1b\\\x07")],
)  # fmt: skip
@pytest.mark.usefixtures("in_alarm")
def test_the_terminal_is_rung_and_notified(terminal: Callable[..., int], term: str, notification: bytes) -> None:
    written(terminal(TERM=term), notification)


def test_the_bell_can_be_switched_off_and_a_bad_end_rings_as_well(
    terminal: Callable[..., int], in_alarm: RunDir
) -> None:
    quiet = terminal(TERM="xterm-256color", TUIWB_ALARMS_BELL="false")
    assert b"\x1b]9;" not in written(quiet, rb"! light: alarm")
    rung = terminal(TERM="xterm-256color")
    written(rung, rb"\x1b\]9;light: the loss is NaN")
    rundir.write_exit(in_alarm, attempt=1, state="failed", reason="CUDA out of memory")
    rundir.write_state(in_alarm, "failed", reason="CUDA out of memory", alarms=None)
    written(rung, rb"\x1b\]9;light: failed. CUDA out of memory\x1b\\\x07")


class Hook(ThreadingHTTPServer):
    """A server on loopback that answers with `code`, or never while `code` is None."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Told)
        self.told: list[dict[str, Any]] = []
        self.code: int | None = 200
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret-of-the-channel"


class _Told(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append({"path": self.path, "type": self.headers["Content-Type"], **json.loads(body)})
        if self.server.code is None:
            self.server.over.wait(60)
            return
        self.send_response(self.server.code)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv("TUIWB_ALARMS_WEBHOOK", server.address)
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join(30)


def test_a_webhook_gets_each_alarm(start, hook):
    run = start(steps=30, logs={"20": {"loss": "NaN"}})
    assert at_rest(run)["state"] == "finished"
    (told,) = until(lambda: hook.told)
    assert (told["path"], told["type"]) == ("/secret-of-the-channel", "application/json")
    assert (told["rule"], told["severity"], told["run"], told["name"]) == (
        "not_finite",
        "critical",
        run.run_id,
        "light",
    )
    assert told["message"] == "the loss is NaN at step 20"
    assert told["fix"]
    assert told["text"] == told["content"] == f"light on {rundir.host_name()}: the loss is NaN at step 20"
    assert "secret-of-the-channel" not in run.job_file.read_text()


def test_a_webhook_that_never_answers_costs_the_run_nothing(start, hook):
    hook.code = None
    run = start(steps=30, logs={"20": {"loss": "NaN"}})
    assert at_rest(run)["state"] == "finished"
    assert hook.told or until(lambda: hook.told)
    (problem,) = until(lambda: events_of(run, "alarm_webhook"))
    assert problem["problem"] == "the webhook did not answer within 10 s"


def test_a_webhook_that_refuses_is_told_without_its_address(start, hook):
    hook.code = 500
    assert _problem(start) == "the webhook answered 500"


def test_a_webhook_that_is_not_there_is_told_without_its_address(start, monkeypatch):
    monkeypatch.setenv("TUIWB_ALARMS_WEBHOOK", "http://127.0.0.1:1/secret-of-the-channel")
    assert "the webhook cannot be reached (" in _problem(start)


def _problem(start) -> str:
    """What a run in alarm says of its webhook."""
    run = start(steps=30, logs={"20": {"loss": "NaN"}})
    assert at_rest(run)["state"] == "finished"
    (event,) = until(lambda: events_of(run, "alarm_webhook"))
    assert "secret" not in json.dumps(event)
    return str(event["problem"])
