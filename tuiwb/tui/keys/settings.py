"""The keys of the Settings screen."""

from tuiwb.tui.keys import Key

KEYS = (
    Key("settings.edit", "enter", "Change", "Change the highlighted setting or key; it is saved at once."),
    Key("settings.reset", "backspace", "Default", "Go back to the default of the highlighted setting or key."),
    Key("settings.filter", "/", "Filter", "Only settings and keys whose name or help match."),
    Key("settings.file", "f", "File", "Show where the settings file is."),
)  # fmt: skip
