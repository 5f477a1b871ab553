"""The keys of the Runs screen."""

from tuiwb.tui.keys import Key

# fmt: off
KEYS = (
    Key("runs.stop", "s", "Stop", "Let the run save a checkpoint and end.", "The run"),
    Key("runs.save", "w", "Save", "Let the run write a checkpoint now and go on.", "The run"),
    Key("runs.pause", "p", "Pause", "Save and give the machine back; resume goes on.", "The run", footer=False),
    Key("runs.cancel", "x", "Cancel", "End the run at once, without saving.", "The run"),
    Key("runs.resume", "r", "Resume", "Go on from the newest whole checkpoint.", "The run"),
    Key("runs.clone", "n", "Again", "Launch the same job as a new run.", "The run", footer=False),
    Key("runs.change", "N", "Change", "Open its recipe on the Train screen: change it, launch it again.", "The run",
        footer=False),
    Key("runs.hold", "H", "Hold", "Keep a run that waits from starting; resume lets it go.", "The run", footer=False),
    Key("runs.attach", "A", "Watch another", "Watch a training started elsewhere: process or folder.", "The run",
        footer=False),
    Key("runs.delete", "D", "Delete", "Put the run into the trash.", "The run", footer=False),
    Key("runs.restore", "u", "Undo delete", "Bring back the run that was deleted last.", "The run", footer=False),
    Key("runs.chat", "t", "Talk", "Talk to what the run trained, on the Chat screen.", "The run"),
    Key("runs.results", "R", "Results", "What an eval run found: base against tuned, the worst rows first.", "The run"),
    Key("runs.rows", "d", "Rows", "Show the very rows that it learned from, on the Data screen.", "The run",
        footer=False),
    Key("runs.next_page", "]", "Page", "Curves, hardware, log, events, checkpoints, answers.", "What is shown"),
    Key("runs.previous_page", "[", "Page back", "The page before.", "What is shown", footer=False),
    Key("runs.filter", "/", "Filter", "Only runs whose name, state or tags match.", "What is shown"),
    Key("runs.sort", "v", "Sort", "By age, state, loss, or in groups by recipe or tag.", "What is shown", footer=False),
    Key("runs.note", "e", "Notes", "Say something of the run; words with # are its tags.", "The run", footer=False),
    Key("runs.prune", "X", "Prune", "Remove old checkpoints: not the newest and the best.", "The run", footer=False),
    Key("runs.mark", "space", "Mark", "Draw this run over the others, and back.", "Several runs", footer=False),
    Key("runs.compare", "=", "Compare", "Best values of this run and the marked ones; how they differ.", "Several runs",
        footer=False),
    Key("runs.metrics", "f", "Metrics", "Only the curves whose name a pattern matches.", "Curves", footer=False),
    Key("runs.group", "c", "Group", "Curves of one group: losses, rewards, KL, lengths …", "Curves", footer=False),
    Key("runs.zoom_in", "i", "Zoom in", "Show half as much of the x axis, at the cursor.", "Curves", footer=False),
    Key("runs.zoom_out", "o", "Zoom out", "Show twice as much of the x axis.", "Curves", footer=False),
    Key("runs.axis", "a", "Axis", "Curves over steps, tokens or time.", "Curves", footer=False),
    Key("runs.smooth", "m", "Smooth", "Smooth the curves more, and then not at all.", "Curves", footer=False),
    Key("runs.log_scale", "l", "Log scale", "Logarithmic y axis, and back.", "Curves", footer=False),
    Key("runs.cursor_left", "left,h", "Cursor left", "Read the values further back.", "Curves", footer=False),
    Key("runs.cursor_right", "right", "Cursor right", "Read the values further on.", "Curves", footer=False),
    Key("runs.more_charts", "+", "Other curves", "Show the next metrics.", "Curves", footer=False),
)
# fmt: on
