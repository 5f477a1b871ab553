"""Sends one alarm of a run to the user's webhook: `python -m tuiwb.runs.webhook RUN_DIR`, a process of its own, so that
an address that never answers costs the run nothing. The address is read from the settings here, and not written into
the run: with most services it is a secret. What the alarm says is in the environment, as for `alarms.command`.
"""

import http.client
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import RunDir

PATIENCE_S = 10
"""For the whole of it, so that one who answers byte by byte is left as well."""


class _NoAnswer(Exception):
    pass


def main() -> int:
    from tuiwb.base import settings
    from tuiwb.base.errors import TuiwbError

    run = RunDir(Path(sys.argv[1]))
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(PATIENCE_S)
    try:
        send(settings.load().alarms.webhook, document(os.environ))
    except (OSError, ValueError, http.client.HTTPException, TuiwbError, _NoAnswer) as error:
        signal.alarm(0)
        rundir.append_event(run, "alarm_webhook", by="wrapper", problem=_said(error))
        return 1
    return 0


def document(told: "os._Environ[str] | dict[str, str]") -> dict[str, Any]:
    """What is sent. `text` and `content` are what Slack, Mattermost and Discord show."""
    fields = {
        name.lower(): told.get(f"TUIWB_ALARM_{name}", "")
        for name in ("RULE", "SEVERITY", "MESSAGE", "FIX", "RUN", "NAME")
    }
    words = f"{fields['name'] or fields['run']} on {rundir.host_name()}: {fields['message']}"
    return {"text": words, "content": words, **fields, "host": rundir.host_name(), "time": time.time()}


def send(address: str, content: dict[str, Any]) -> None:
    """POST it as JSON.

    Raises:
        ValueError: the address is none of http or https.
        OSError: nobody took it.
    """
    if not address.startswith(("http://", "https://")):
        raise ValueError("alarms.webhook is no http or https address")
    headers = {"Content-Type": "application/json", "User-Agent": "tuiwb"}
    request = urllib.request.Request(address, json.dumps(content).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S):
        pass


def _give_up(*_: object) -> None:
    raise _NoAnswer


def _said(error: BaseException) -> str:
    """Without the address, which may be a secret."""
    if isinstance(error, _NoAnswer | TimeoutError):
        return f"the webhook did not answer within {PATIENCE_S} s"
    if isinstance(error, urllib.error.HTTPError):
        return f"the webhook answered {error.code}"
    if isinstance(error, urllib.error.URLError):
        return f"the webhook cannot be reached ({error.reason})"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
