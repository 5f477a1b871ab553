"""Keys of endpoints: from the environment, or from `keys.toml` in the config folder, which its owner alone may read."""

import os
import stat
from pathlib import Path

from tuiwb.base import atomic, paths
from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.endpoints.profile import Endpoint

_OPENAI = "https://api.openai.com/"


def key_of(endpoint: Endpoint) -> str:
    """The key to send; empty where there is none.

    Raises:
        InputFault: the variable that the profile names is not set, the key cannot be sent in a header, or it would
            travel unencrypted.
        EnvironmentFault: others may read the file with the keys, or it cannot be read.
    """
    if endpoint.key_env:
        key = os.environ.get(endpoint.key_env, "").strip()
        if not key:
            raise InputFault(f"the environment variable {endpoint.key_env} holds no key for {endpoint.name}")
    else:
        key = _saved().get(endpoint.name, "")
        if not key and endpoint.url.startswith(_OPENAI):
            key = os.environ.get("OPENAI_API_KEY", "").strip()
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise InputFault(f"the key of {endpoint.name} holds a character that no key has: save it again")
    if key and endpoint.url.startswith("http://") and not (endpoint.local or endpoint.insecure):
        raise InputFault(
            f"the key of {endpoint.name} would travel unencrypted to {endpoint.place}: use https, an SSH tunnel, "
            "or set insecure = true"
        )
    return key


def save_key(name: str, key: str) -> None:
    """Keep a key for an endpoint.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    _write({**_saved(), name: key.strip()})


def forget_key(name: str) -> None:
    keys = _saved()
    if keys.pop(name, None) is not None:
        _write(keys)


def _file() -> Path:
    return paths.config_home() / "keys.toml"


def _saved() -> dict[str, str]:
    import tomllib

    file = _file()
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise EnvironmentFault("others may read the keys in it: chmod 600 it, and change the keys", file=file)
        keys = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # The parser's own words may quote the line, and with it a key.
        raise InputFault("not valid TOML", file=file) from error
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=file) from error
    return {name: key for name, key in keys.items() if isinstance(key, str)}


def _write(keys: dict[str, str]) -> None:
    import tomlkit

    file = _file()
    paths.private_folder(file.parent)
    try:
        atomic.write_text(file, tomlkit.dumps(keys), mode=0o600)
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=file) from error
