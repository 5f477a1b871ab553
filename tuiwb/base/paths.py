"""Where the user's files live (XDG), and how one variable moves them all.

`TUIWB_HOME=/somewhere` puts config, data, state and cache into folders below it. Nothing here creates a folder:
`private_folder` does, when something is about to be written.
"""

import os
from pathlib import Path


def _home(kind: str, xdg: str, fallback: str) -> Path:
    if moved := os.environ.get("TUIWB_HOME"):
        return Path(moved).expanduser().absolute() / kind
    base = os.environ.get(xdg)
    # The XDG specification says that a relative path is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / fallback
    return root / "tuiwb"


def config_home() -> Path:
    """Settings and the user's own presets."""
    return _home("config", "XDG_CONFIG_HOME", ".config")


def data_home() -> Path:
    """Runs and models: what must not be lost."""
    return _home("data", "XDG_DATA_HOME", ".local/share")


def state_home() -> Path:
    """The session (open recipe, layout) and the log: worth keeping, not worth a backup."""
    return _home("state", "XDG_STATE_HOME", ".local/state")


def cache_home() -> Path:
    """What may be deleted at any time."""
    return _home("cache", "XDG_CACHE_HOME", ".cache")


def config_file() -> Path:
    return config_home() / "config.toml"


def log_file() -> Path:
    return state_home() / "tuiwb.log"


def session_file() -> Path:
    return state_home() / "session.json"


def presets_folder() -> Path:
    """The presets that ship with the program: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_presets"
    return shipped if shipped.is_dir() else package.parent / "presets"


def runtime_folder() -> Path:
    """Leases and sockets: on this machine, gone at reboot, never under a home that other machines share."""
    uid = os.getuid()
    if (given := os.environ.get("XDG_RUNTIME_DIR")) and os.access(given, os.W_OK):
        return private_folder(Path(given) / "tuiwb")
    if os.access(run := Path(f"/run/user/{uid}"), os.W_OK):
        return private_folder(run / "tuiwb")
    import tempfile  # as in `atomic`

    return private_folder(Path(tempfile.gettempdir()) / f"tuiwb-{uid}")


def private_folder(path: Path) -> Path:
    """`path`, created with its parents if need be, readable by its owner alone.

    Raises:
        EnvironmentFault: it cannot be created.
    """
    from tuiwb.base.errors import EnvironmentFault, reason_of

    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"cannot create this folder ({reason_of(error)})", file=path) from error
    return path
