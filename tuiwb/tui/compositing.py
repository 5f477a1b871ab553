"""Draws what is seen. Textual asks every widget under a change for its lines, the containers too, though the widget in
front of them hides them all; and it cuts them all into pieces that it then throws away."""

from collections.abc import Iterable

from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip


class Front(Compositor):
    """Leaves out widgets of which nothing is seen of what is drawn: one widget in front of them hides it."""

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        if crop is None:
            yield from super()._get_renders()
            return
        front = list[Region]()
        for widget, (region, clip) in self.visible_widgets.items():  # the frontmost first
            inside = region.intersection(clip)
            drawn = inside.intersection(crop)
            if not drawn or any(each.contains_region(drawn) for each in front):
                continue
            front.append(drawn)
            yield region, clip, widget.render_lines(inside.translate(-region.offset))
