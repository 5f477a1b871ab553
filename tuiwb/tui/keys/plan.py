"""The keys of the Plan screen."""

from tuiwb.tui.keys import Key

KEYS = (
    Key("plan.change", "enter,e", "Change", "Choose or type the value of the highlighted field. On a number, digits "
        "change it at once (they open screens anywhere else), and ← → halve and double it.", "Fields"),
    Key("plan.gpu", "g", "GPU", "Choose the GPU that the plan is held against.", "Fields"),
    Key("plan.remedy", "r", "Remedy", "Apply one of the changes that would help to the open recipe.", "Plan"),
    Key("plan.assume", "a", "Assume", "Answer what no recipe says: loss path, kernels, adapter type …", "Plan"),
    Key("plan.view", "v", "View", "Show phases, map, remedies, assumptions, formulas or rules.", "Look"),
    Key("plan.measure", "t", "Measure", "Do two real steps here, and hold their peak against the plan.", "Plan"),
    Key("plan.history", "h", "Past runs", "Show what past runs here measured, beside their plans.", "Look"),
    Key("plan.model", "m", "Model", "Choose the base model.", "Fields", footer=False),
    Key("plan.preset", "p", "Preset", "Choose a preset or open a recipe file.", "Fields", footer=False),
    Key("plan.reset", "delete", "Leave out", "Take the field out; a fitting value is chosen.", "Fields", footer=False),
)  # fmt: skip
