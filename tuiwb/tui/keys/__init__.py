"""The one key table: what can be done, with which key, and what it does.

The bindings of the screens, the hints in the footer, the `?` help, the commands of the palette and the user's own keys
(`keys` in the settings) all come from here. The table is a package so that screens can be added side by side: the
file `<screen>.py` of this package holds `KEYS`, the rows of that screen; this file holds the global rows and joins
them. Nothing here imports textual, so that the command line can list the table too.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

APP = "app"


@dataclass(frozen=True, slots=True)
class Key:
    """One action and its keys.

    Args:
        id: `<where>.<action>`, where `<where>` is `app` (everywhere) or the name of a screen. The screen's method
            `action_<action>` does it, and the settings name it so: `[keys]` `"runs.stop" = "x"`.
        keys: the default keys, comma-separated, as Textual names them: `"s"`, `"ctrl+s,f2"`, `"?"`. May be empty: then
            the action is in the palette only.
        label: one or two words, for the footer and the palette.
        help: a sentence that says what it does, for `?` and the palette.
        group: heading in the `?` help.
        footer: show it in the footer's hints.
    """

    id: str
    keys: str
    label: str
    help: str
    group: str = ""
    footer: bool = True

    @property
    def where(self) -> str:
        return self.id.partition(".")[0]

    @property
    def action(self) -> str:
        return self.id.partition(".")[2]


@dataclass(frozen=True, slots=True)
class Room:
    """A screen of the workbench: its number key, its name (of the module, of the rows here) and its tab's title."""

    number: str
    name: str
    title: str
    about: str


ROOMS = (
    Room("1", "plan", "Plan", "how much memory a recipe needs, and what to change"),
    Room("2", "data", "Data", "the rows as the model will see them"),
    Room("3", "train", "Train", "edit the recipe, check it, launch it"),
    Room("4", "runs", "Runs", "watch, save, stop and resume runs"),
    Room("5", "models", "Models", "what is here and what the hub offers"),
    Room("6", "chat", "Chat", "talk to a model or to what a run trained"),
    Room("7", "settings", "Settings", "theme, mouse, places, keys"),
)

_GOTO = tuple(
    Key(f"app.{room.name}", room.number, room.title, f"Go to {room.title}: {room.about}.", "Screens", footer=False)
    for room in ROOMS
)

# fmt: off
GLOBAL = (
    *_GOTO,
    Key("app.previous_screen", "alt+left", "Previous screen", "Go to the screen on the left.", "Screens", footer=False),
    Key("app.next_screen", "alt+right", "Next screen", "Go to the screen on the right.", "Screens", footer=False),
    Key("app.open_recipe", "ctrl+o", "Open", "Open a recipe or a preset; all screens follow.", "Recipe", footer=False),
    Key("app.save_recipe", "ctrl+s", "Save", "Save the open recipe to a file.", "Recipe", footer=False),
    Key("app.copy", "y", "Copy", "Copy what is selected, also through SSH and tmux (OSC 52).", "General", footer=False),
    Key("app.zoom", "z", "Zoom", "Let the focused pane fill the screen, and back.", "General", footer=False),
    Key("app.problem", "!", "Last problem", "Show the last problem again, to read or copy.", "General", footer=False),
    Key("app.mouse", "f9", "Mouse", "Mouse on or off; off leaves selecting to the terminal.", "General", footer=False),
    Key("app.theme", "", "Theme", "Choose a colour theme; it is remembered.", "General", footer=False),
    Key("app.help", "?,f1", "Help", "Show the keys of this screen.", "General"),
    Key("app.palette", "ctrl+p,colon", "Commands", "Search every action of the workbench.", "General"),
    Key("app.quit", "q,ctrl+q", "Quit", "Leave the workbench; runs go on.", "General"),
)
# fmt: on


def rows(where: str) -> tuple[Key, ...]:
    """The rows of one screen, or the global ones for `app`."""
    if where == APP:
        return GLOBAL
    try:
        module = importlib.import_module(f"{__name__}.{where}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{where}":
            raise
        return ()
    found: tuple[Key, ...] = module.KEYS
    return found


def table() -> tuple[Key, ...]:
    """Every row: the global ones, then each screen's in the order of the tabs, then those of other modules here."""
    import pkgutil

    order = [room.name for room in ROOMS]
    others = sorted(name for _, name, _ in pkgutil.iter_modules(__path__) if name not in order)
    return (*GLOBAL, *(row for where in [*order, *others] for row in rows(where)))


def keys_of(row: Key, own: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of an action in force: the user's own, or else the default ones; names as Textual has them."""
    given = own.get(row.id, row.keys)
    return tuple(key for part in given.split(",") if (key := part.strip()))


def faults(own: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the user's own keys, a sentence each: no such action, a key that two actions share."""
    import difflib

    everything = table()
    known = {row.id for row in everything}
    for id_ in own:
        if id_ not in known:
            near = difflib.get_close_matches(id_, known, n=1)
            yield f"keys.{id_}: no such action" + (f"; did you mean `{near[0]}`?" if near else "")
    for where in {row.where for row in everything}:
        taken: dict[str, str] = {}
        for row in everything:
            if row.where not in (where, APP):
                continue
            for key in keys_of(row, own):
                other = taken.setdefault(key, row.id)
                # A screen may take a global key for itself on purpose; only the user's own keys are judged across both.
                if other != row.id and (row.id in own or other in own):
                    yield f"keys: `{key}` is used for both {other} and {row.id}; give one of them another key"


def shown(key: str) -> str:
    """A key as people read it: `ctrl+p` is `^p`, `question_mark` is `?`."""
    names = {
        "question_mark": "?", "exclamation_mark": "!", "colon": ":", "slash": "/", "space": "space", "escape": "esc",
        "left": "←", "right": "→", "up": "↑", "down": "↓", "enter": "⏎", "left_square_bracket": "[",
        "right_square_bracket": "]", "plus": "+", "minus": "-", "comma": ",", "full_stop": ".", "delete": "del",
        "pageup": "pgup", "pagedown": "pgdn", "equals_sign": "=", "underscore": "_",
    }  # fmt: skip
    *modifiers, last = key.split("+") if key != "+" else ["+"]
    text = names.get(last, last)
    for modifier in reversed(modifiers):
        text = {"ctrl": "^", "shift": "⇧"}.get(modifier, f"{modifier}+") + text
    return text
