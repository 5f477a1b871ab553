"""The keys of every list and table, whatever screen it is on."""

from tuiwb.tui.keys import Key

KEYS = (
    Key("lists.down", "down,j", "Down", "One row down.", "Lists", footer=False),
    Key("lists.up", "up,k", "Up", "One row up.", "Lists", footer=False),
    Key("lists.page_down", "pagedown,ctrl+f", "Page down", "One page down.", "Lists", footer=False),
    Key("lists.page_up", "pageup,ctrl+b", "Page up", "One page up.", "Lists", footer=False),
    Key("lists.top", "home,g", "Top", "To the first row.", "Lists", footer=False),
    Key("lists.bottom", "end,G", "Bottom", "To the last row.", "Lists", footer=False),
)
