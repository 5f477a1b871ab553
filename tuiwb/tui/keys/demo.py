"""The key of the demo's guide."""

from tuiwb.tui.keys import Key

KEYS = (Key("demo.go_on", "ctrl+n", "Go on", "Go on with the demo, or back to where it was.", "Demo"),)
