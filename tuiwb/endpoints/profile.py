"""Profiles of endpoints: `endpoints.toml` in the config folder, a table for each. Keys are kept elsewhere (`keys`)."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tuiwb.base import atomic, paths
from tuiwb.base.errors import EnvironmentFault, InputFault, UsageFault, reason_of
from tuiwb.base.validation import in_words

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server that answers chat completions."""

    name: str
    """What it is called here."""
    url: str
    """Its address up to and with `/v1`, or `unix:/path/of/socket`."""
    model: str = ""
    """The model to ask there; empty takes the only one that it serves."""
    key_env: str = ""
    """The environment variable that holds its key; empty takes the key that was saved for it, if any."""
    context: int | None = None
    """Longest prompt and answer together, tokens, where it is known."""
    timeout_s: float = 60.0
    """Seconds without a byte after which it is given up."""
    insecure: bool = False
    """Send the key over plain http to another machine."""

    @property
    def socket(self) -> str | None:
        """The unix socket behind the address, if it is one."""
        return self.url.removeprefix("unix:") if self.url.startswith("unix:") else None

    @property
    def base(self) -> str:
        """The address that requests go to, without a slash at its end."""
        return "http://localhost/v1" if self.socket else self.url.rstrip("/")

    @property
    def place(self) -> str:
        """Host and port, or the socket: for people."""
        return self.socket or urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def ref(self) -> str:
        """What `find` takes for it: its name, or its address where it has no profile."""
        address = f"{self.url}#{self.model}" if self.model else self.url
        return address if self.name == self.place else self.name

    @property
    def local(self) -> bool:
        host = urlsplit(self.url).hostname or ""
        return self.socket is not None or host in ("localhost", "::1") or host.startswith("127.")


def is_address(text: str) -> bool:
    """Whether this is an address rather than a name."""
    return text.startswith(("http://", "https://", "unix:"))


def find(text: str) -> Endpoint:
    """The endpoint that is meant.

    Args:
        text: a profile's name, or an address, perhaps with `#model` behind it.

    Raises:
        UsageFault: there is no such profile.
        InputFault: the address is none, or endpoints.toml cannot be read.
    """
    if is_address(text):
        address, _, model = text.partition("#")
        return checked(Endpoint(name=Endpoint(name="", url=address).place, url=address, model=model))
    known = profiles()
    if text in known:
        return known[text]
    import difflib

    near = difflib.get_close_matches(text, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else "`tuiwb endpoints add` makes one"
    raise UsageFault(f"there is no endpoint `{text}`; {hint}")


def profiles() -> dict[str, Endpoint]:
    """The saved endpoints, by name.

    Raises:
        InputFault: endpoints.toml holds something else.
        EnvironmentFault: it cannot be read.
    """
    import tomllib

    file = _file()
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputFault(f"not valid TOML: {error}", file=file) from error
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=file) from error
    found = {}
    for name, table in tables.items():
        if isinstance(table, dict) and ("key" in table or "api_key" in table):
            raise InputFault(
                f"keys do not belong here: name a variable with key_env, or run `tuiwb endpoints key {name}`",
                file=file,
                key=name,
            )
        try:
            found[name] = checked(msgspec.convert({"name": name, **table}, Endpoint))
        except (msgspec.ValidationError, TypeError) as error:
            place, said = in_words(str(error))
            raise InputFault(f"{place}: {said}" if place else said, file=file, key=name) from error
    return found


def save(endpoint: Endpoint) -> None:
    """Keep a profile, in the place of one of the same name; the rest of the file stays as it is.

    Raises:
        InputFault: its name or address is none.
        EnvironmentFault: it cannot be written.
    """
    import tomlkit

    if not _NAME.fullmatch(endpoint.name):
        raise InputFault("a name is letters, digits, dots and dashes, at most 40", key="name")
    checked(endpoint)
    document = _document()
    table = tomlkit.table()
    for name, value in msgspec.to_builtins(endpoint).items():
        if name != "name" and value is not None and value != getattr(_PLAIN, name):
            table[name] = value
    document[endpoint.name] = table
    _write(document)


def delete(name: str) -> None:
    """Forget a profile and its key.

    Raises:
        UsageFault: there is none.
    """
    from tuiwb.endpoints.keys import forget_key

    if name not in profiles():
        raise UsageFault(f"there is no endpoint `{name}`")
    document = _document()
    document.remove(name)
    _write(document)
    forget_key(name)


def checked(endpoint: Endpoint) -> Endpoint:
    """The endpoint, if it can be asked.

    Raises:
        InputFault: its address is none.
    """
    if endpoint.socket is not None:
        if not endpoint.socket.startswith("/"):
            raise InputFault("a unix socket is written unix:/path", key="url")
        return endpoint
    try:
        parts = urlsplit(endpoint.url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good, parts = False, urlsplit("")
    if not good:
        raise InputFault("is no address such as http://localhost:8000/v1", key="url")
    if parts.username or parts.password:
        raise InputFault("an address must not hold a password: save a key with `tuiwb endpoints key`", key="url")
    return endpoint


_PLAIN = Endpoint(name="", url="")


def _file() -> Path:
    return paths.config_home() / "endpoints.toml"


def _document() -> Any:
    import tomlkit

    profiles()  # what cannot be read is not written over
    file = _file()
    return tomlkit.parse(file.read_text("utf-8") if file.exists() else "")


def _write(document: Any) -> None:
    import tomlkit

    file = _file()
    paths.private_folder(file.parent)
    try:
        atomic.write_text(file, tomlkit.dumps(document))
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=file) from error
