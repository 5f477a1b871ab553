"""What stands on the border of a pane, written without drawing what is inside it."""

from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget


def write_edges(pane: Widget, above: Content, below: Content) -> None:
    """Put these on the upper and the lower border. Assigning `border_title` draws the whole pane again."""
    if (pane._border_title, pane._border_subtitle) == (above, below):
        return
    pane._border_title, pane._border_subtitle = above, below
    (left, top), (width, height) = pane.content_offset, pane.outer_size
    lines = [Region(-left, y - top, width, 1) for y in (0, height - 1)]
    pane.refresh(*lines)
