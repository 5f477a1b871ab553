"""What a logout does to the processes that are started here. Source: logind.conf(5), loginctl(1), and the cgroup that
systemd puts a process into: `session-N.scope` for a login, `user@UID.service` for what the user's manager starts."""

import os
import pwd
import re
from pathlib import Path

_CONFIGURATIONS = (
    "usr/lib/systemd/logind.conf",
    "usr/lib/systemd/logind.conf.d",
    "etc/systemd/logind.conf",
    "run/systemd/logind.conf.d",
    "etc/systemd/logind.conf.d",
)
"""In the order in which the later ones win."""


def logout_problem(
    root: Path = Path("/"), cgroup: str | None = None, user: str | None = None
) -> tuple[str, str] | None:
    """Why a run that is started here would not outlive the logout.

    Args:
        root: of the file system.
        cgroup: of this process; None asks the kernel.
        user: None is ours.

    Returns:
        a sentence and what to do; None where a run lives on.
    """
    path = _own_cgroup() if cgroup is None else cgroup
    lingers = (root / "var/lib/systemd/linger" / (user or _user())).exists()
    if re.search(r"/user@\d+\.service(/|$)", path):
        if lingers:
            return None
        return (
            "systemd ends all that you have started when your last session ends (no lingering)",
            "loginctl enable-linger",
        )
    if re.search(r"/session-[^/]*\.scope(/|$)", path) and _kills(root):
        return (
            "systemd kills what you have started when you log out (KillUserProcesses=yes)",
            "loginctl enable-linger, then start tuiwb below: systemd-run --user --scope tmux",
        )
    return None


def _kills(root: Path) -> bool:
    value = False
    for name in _CONFIGURATIONS:
        path = root / name
        for file in sorted(path.glob("*.conf")) if path.is_dir() else [path]:
            try:
                text = file.read_text("utf-8", "replace")
            except OSError:
                continue
            for line in text.splitlines():
                key, _, word = line.partition("=")
                if key.strip() == "KillUserProcesses":
                    value = word.strip().lower() in ("yes", "true", "1", "on")
    return value


def _own_cgroup() -> str:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ""
    # Version 2 has one line, `0::/…`; version 1 has one for systemd, `1:name=systemd:/…`.
    found = [line.split(":", 2) for line in lines]
    return next((path for number, name, path in found if (number, name) == ("0", "") or name == "name=systemd"), "")


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
