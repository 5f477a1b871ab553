"""The keys of the Models screen."""

from tuiwb.tui.keys import Key

# fmt: off
KEYS = (
    Key("models.use", "u", "Use", "Let the open recipe train this model; all screens follow.", "The model"),
    Key("models.get", "b", "Bring", "Bring the model to this machine; a download that was cut off is continued.", "The model"),  # noqa: E501
    Key("models.stop", "x", "Stop", "Stop bringing it; what has arrived is kept.", "The model"),
    Key("models.template", "t", "Template", "Show its chat template, and a conversation as the model sees it.", "The model"),  # noqa: E501
    Key("models.delete", "D", "Delete", "Delete the model from this machine.", "The model"),
    Key("models.search", "/", "Search", "Type to filter; enter asks the hub as well.", "The list"),
    Key("models.clear", "backspace", "All", "Forget the search and show everything.", "The list", footer=False),
    Key("models.refresh", "r", "Look again", "Look again at what is on this machine.", "The list", footer=False),
)
# fmt: on
