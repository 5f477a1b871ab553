"""The keys of the Chat screen."""

from tuiwb.tui.keys import Key

KEYS = (
    Key("chat.write", "i", "Write", "Write to the model; Escape leaves the text field.", "Talk"),
    Key("chat.stop", "x,ctrl+x", "Stop", "End the answer with what there is; Escape does it too.", "Talk"),
    Key("chat.again", "r", "Again", "Ask the last question again; the answer is replaced.", "Talk"),
    Key("chat.new", "n", "New", "Start a new conversation.", "Talk"),
    Key("chat.whom", "o", "Whom", "Choose a run or a model to talk to.", "Whom"),
    Key("chat.side", "b", "Base beside", "Show the base model's answers beside the tuned one's, or hide them.", "Whom"),
    Key("chat.system", "s", "System", "Set the system prompt of the next question.", "How"),
    Key("chat.sampling", "t", "Sampling", "Change temperature, top_p and the other sampling settings.", "How"),
    Key("chat.engine", "e", "Engine", "Start the engine; restart it when it died; stop it to free its memory.", "Whom"),
    Key("chat.scroll_up", "pageup,k", "Up", "Scroll the conversation up.", "Talk", footer=False),
    Key("chat.scroll_down", "pagedown,j", "Down", "Scroll the conversation down.", "Talk", footer=False),
)  # fmt: skip
