"""The settings file: what it holds, where each value came from, and how one is changed.

`config.toml` in the config folder. A key is `section.name` there, `TUIWB_SECTION_NAME` in the environment (which wins).
The docstring under a field is its help on the settings screen and in `tuiwb config show`.
"""

import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from tuiwb.base import atomic, paths
from tuiwb.base.errors import EnvironmentFault, InputFault, reason_of
from tuiwb.base.fielddocs import field_docs
from tuiwb.base.validation import in_words


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


class Screen(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    theme: str = "textual-dark"
    """Colour theme; every theme that Textual ships can be named."""
    mouse: bool = True
    """Take mouse clicks; off leaves selection and copying to the terminal."""
    animation: bool = False
    """Animate scrolling and transitions; off saves bytes on a slow link."""
    refresh_s: float = 1.0
    """Seconds between two looks at runs and hardware while a screen shows them."""
    clipboard: Literal["auto", "osc52", "off"] = "auto"
    """How copying reaches your own machine: auto and osc52 send OSC 52, through tmux as well."""
    restore_session: bool = True
    """Open with the recipe and screen of last time."""


class Places(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    runs: str = ""
    """Folder of the runs; empty means runs/ in the data folder."""
    models: str = ""
    """Folder of the models that `tuiwb models get` brings; empty means models/ in the data folder."""
    cache: str = ""
    """Folder of what may be lost; empty means the cache folder."""


class Worker(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    python: str = ""
    """Interpreter of the training processes; empty means the one that runs tuiwb."""
    launcher: list[str] = []
    """Words put before the interpreter, such as ["nice", "-n", "5"]."""
    stop_grace_s: float = 60.0
    """Seconds that a stopping run gets for its checkpoint, at least; three times the longest step is added."""


class Hub(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    offline: bool = False
    """Never ask the hub; as HF_HUB_OFFLINE=1."""
    timeout_s: float = 10.0
    """Seconds to wait for the hub before the next source is tried."""


class Alarms(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    bell: bool = True
    """Ring the terminal's bell and send a desktop notification (OSC 9 and OSC 777) at an alarm and at a bad end."""
    command: list[str] = []
    """Words of a command to run at each alarm; it is told TUIWB_ALARM_MESSAGE, _RULE, _SEVERITY, _FIX, _RUN, _NAME."""
    webhook: str = ""
    """An http or https address to which each alarm is sent as JSON, in the form that Slack and Discord show."""
    silent_steps: float = 10.0
    """A step that takes so many times as long as the median one is an alarm."""
    silent_s: float = 60.0
    """Seconds without progress that are never an alarm."""


class Settings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    screen: Screen = msgspec.field(default_factory=Screen)
    places: Places = msgspec.field(default_factory=Places)
    worker: Worker = msgspec.field(default_factory=Worker)
    hub: Hub = msgspec.field(default_factory=Hub)
    alarms: Alarms = msgspec.field(default_factory=Alarms)
    keys: dict[str, str] = {}
    """Keys of your own: action id = key or comma-separated keys; `tuiwb config show` lists the ids."""


SECTIONS: dict[str, type[Section]] = {
    "screen": Screen,
    "places": Places,
    "worker": Worker,
    "hub": Hub,
    "alarms": Alarms,
}


def load(path: Path | None = None, environ: dict[str, str] | None = None) -> Settings:
    """The settings in force: defaults, then the file, then the environment.

    Raises:
        InputFault: the file or a variable holds something that is not a setting.
        EnvironmentFault: the file cannot be read.
    """
    file = path or paths.config_file()
    values: dict[str, Any] = {}
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError as error:
        raise InputFault(f"not valid UTF-8 at byte {error.start}", file=file) from error
    except OSError as error:
        raise EnvironmentFault(f"cannot be read ({reason_of(error)})", file=file) from error
    if text:
        import tomllib

        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputFault(f"not valid TOML: {error}", file=file) from error
    _check_names(values, file)
    merged = _with_environment(values, os.environ if environ is None else environ)
    try:
        return msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        raise InputFault(_plain(str(error)), file=file) from error


def save(key: str, value: object, path: Path | None = None) -> None:
    """Write one setting, keeping the rest of the file and its comments as they are.

    Args:
        key: `section.name`, or `keys.<action id>`.

    Raises:
        UsageFault, InputFault: no such setting, or not its type; nothing was written.
        EnvironmentFault: the file cannot be written; the old one is untouched.
    """
    import tomlkit

    file = path or paths.config_file()
    text = file.read_text("utf-8") if file.exists() else ""
    document = tomlkit.parse(text)
    section, _, name = key.partition(".")
    table = document.setdefault(section, tomlkit.table())
    table[name] = value
    plain = document.unwrap()
    _check_names(plain, file)
    try:
        msgspec.convert(plain, Settings)
    except msgspec.ValidationError as error:
        raise InputFault(_plain(str(error)), key=key) from error
    paths.private_folder(file.parent)
    try:
        atomic.write_text(file, tomlkit.dumps(document))
    except OSError as error:
        raise EnvironmentFault(f"cannot be written ({reason_of(error)})", file=file) from error


def help_texts() -> dict[str, str]:
    """The sentence under each field, by `section.name`."""
    texts: dict[str, str] = {}
    for section, struct in SECTIONS.items():
        texts |= {f"{section}.{name}": text for name, text in field_docs(struct).items()}
    return texts


def runs_root(settings: Settings | None = None) -> Path:
    given = (settings or load()).places.runs
    return Path(given).expanduser() if given else paths.data_home() / "runs"


def models_root(settings: Settings | None = None) -> Path:
    given = (settings or load()).places.models
    return Path(given).expanduser() if given else paths.data_home() / "models"


def cache_root(settings: Settings | None = None) -> Path:
    given = (settings or load()).places.cache
    return Path(given).expanduser() if given else paths.cache_home()


def _check_names(values: dict[str, Any], file: Path) -> None:
    import difflib

    known = {name: set(struct.__struct_fields__) for name, struct in SECTIONS.items()}
    for section, table in values.items():
        if section == "keys":
            continue
        if section not in known:
            raise InputFault(_unknown(section, [*known, "keys"], difflib), file=file, key=section)
        if isinstance(table, dict):
            for name in table:
                if name not in known[section]:
                    raise InputFault(
                        _unknown(name, sorted(known[section]), difflib), file=file, key=f"{section}.{name}"
                    )


def _unknown(name: str, known: list[str], difflib: Any) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return "no such setting" + (f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(known)}")


def _with_environment(values: dict[str, Any], environ: Any) -> dict[str, Any]:
    merged = {name: dict(table) if isinstance(table, dict) else table for name, table in values.items()}
    for section, struct in SECTIONS.items():
        for field in msgspec.structs.fields(struct):
            raw = environ.get(f"TUIWB_{section}_{field.name}".upper())
            if raw is not None:
                merged.setdefault(section, {})[field.name] = _from_text(raw, field.type, section, field.name)
    return merged


def _from_text(raw: str, wanted: Any, section: str, name: str) -> Any:
    try:
        return msgspec.convert(raw.split() if wanted == list[str] else raw, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise InputFault(_plain(str(error)), key=f"TUIWB_{section}_{name}".upper()) from error


def _plain(message: str) -> str:
    """msgspec's sentence in the words of the settings file: `screen.mouse: must be true or false, not text`."""
    place, said = in_words(message)
    return f"{place}: {said}" if place else said
