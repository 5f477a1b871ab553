"""The keys of the Train screen."""

from tuiwb.tui.keys import Key

KEYS = (
    Key("train.launch", "l", "Launch", "Launch the run; it goes on without this terminal.", "Run"),
    Key("train.edit", "enter,e", "Change", "Change the highlighted key of the recipe.", "Recipe"),
    Key("train.text", "t", "YAML", "Edit the recipe as YAML; the form follows, and esc leads back to it.", "Recipe"),
    Key("train.view", "v", "View", "Show help, checks, the YAML or the changes.", "Look"),
    Key("train.all", "a", "All", "Show every key of a recipe, or those that matter first.", "Look"),
    Key("train.preset", "p", "Preset", "Choose a preset or open a recipe file.", "Recipe"),
    Key("train.leave_out", "delete,backspace", "Leave out", "Take the key out; a fitting value is chosen.", "Recipe"),
    Key("train.find", "/", "Find", "Show the keys whose name or help holds a word.", "Look"),
    Key("train.model", "m", "Model", "Choose the base model.", "Recipe", footer=False),
    Key("train.dataset", "d", "Dataset", "Choose the dataset to learn from.", "Recipe", footer=False),
)  # fmt: skip
