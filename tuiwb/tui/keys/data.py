"""The keys of the Data screen."""

from tuiwb.tui.keys import Key

KEYS = (
    Key("data.open", "o", "Open", "Open a dataset: type a path, or choose a recent one or the recipe's.", "File"),
    Key("data.view", "v", "View", "Show the row as the model sees it, as turns, or raw.", "Row"),
    Key("data.search", "/", "Search", "Find words, /regex/, column:words or column>number.", "Find"),
    Key("data.next", "n", "Next", "Go to the next row that is looked for.", "Find", footer=False),
    Key("data.previous", "N", "Previous", "Go to the one before that is looked for.", "Find", footer=False),
    Key("data.filter", "f", "Filter", "Show only the rows that are looked for; nothing typed shows all.", "Find"),
    Key("data.goto", "#", "Go to", "Go to a row by its number, counted from 0.", "Find", footer=False),
    Key("data.problems", "p", "Problems", "Go to the list of problems, or leave it; enter jumps to a case.", "Check"),
    Key("data.check", "c", "Check all", "Read the whole file for problems; small files need no asking.", "Check",
        footer=False),
    Key("data.format", "t", "Format", "Say what the rows are, where it cannot be told or is told wrong.", "File"),
    Key("data.model", "m", "Model", "Choose the model whose chat template and tokens are shown.", "Row"),
    Key("data.use", "u", "Use", "Make this dataset the one that the open recipe learns from.", "File"),
    Key("data.reload", "r", "Reload", "Read the file again, when it changed on disk.", "File", footer=False),
    Key("data.scroll_down", "J,shift+down", "Scroll down", "Scroll the row's text down.", "Row", footer=False),
    Key("data.scroll_up", "K,shift+up", "Scroll up", "Scroll the row's text up.", "Row", footer=False),
    Key("data.columns_right", "l,right", "Columns right", "Show the columns further right.", "Row", footer=False),
    Key("data.columns_left", "h,left", "Columns left", "Show the columns further left.", "Row", footer=False),
)  # fmt: skip
