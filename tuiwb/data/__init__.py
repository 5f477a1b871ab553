"""What a model learns from: sources, formats, rendering and the mask.

`open` is the only way in: `data.open("rows.jsonl")` gives a `View` whatever the file's size and format.
"""

from tuiwb.data.example import Example, Message, Turns

__all__ = ["Example", "Message", "Turns"]
