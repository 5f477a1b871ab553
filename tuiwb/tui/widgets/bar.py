"""A scroll bar that costs little beside a text that grows: its cells are drawn once.

Textual draws every cell of a bar anew, borders and all, whenever its thumb moves by an eighth of a cell: on 40 lines a
quarter of what it takes to paint an answer that comes.
"""

from rich.segment import Segment
from textual.geometry import Region
from textual.scrollbar import ScrollBar
from textual.strip import Strip


class Bar(ScrollBar):
    """See the top of this file."""

    def __init__(self, *, thickness: int) -> None:
        super().__init__(vertical=True, name="vertical", thickness=thickness)
        self._cells: dict[Segment, Strip] = {}

    def render_lines(self, crop: Region) -> list[Strip]:
        rendered, size = self.render(), self.size
        assert isinstance(rendered, self.renderer)
        colours = rendered.style
        assert not isinstance(colours, str)
        assert colours.color is not None
        assert colours.bgcolor is not None
        bar = self.renderer.render_bar(
            size=size.height,
            virtual_size=rendered.virtual_size,
            window_size=rendered.window_size,
            position=rendered.position,
            thickness=size.width,
            back_color=colours.bgcolor,
            bar_color=colours.color,
        )
        strips = [self._cell(segment) for segment in bar.segments[crop.y : crop.bottom]]
        background = self.background_colors[1]
        for each in self.get_line_filters():
            strips = [strip.apply_filter(each, background) for strip in strips]
        return strips

    def _cell(self, segment: Segment) -> Strip:
        strip = self._cells.get(segment)
        if strip is None:
            strip = self._cells[segment] = Strip(Segment.apply_style([segment], self.visual_style.rich_style))
        return strip

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._cells.clear()
