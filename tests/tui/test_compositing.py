"""What is hidden is not drawn, and what is seen is the same as Textual draws."""

import pytest
from pilot import bench
from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip

from tuiwb.tui.compositing import Front


@pytest.mark.parametrize("screen", ["chat", "settings", "runs"])
async def test_what_is_seen_is_drawn_as_textual_draws_it(screen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(screen=screen, size=(100, 30)) as pilot:
        compositor = pilot.app.screen._compositor
        assert isinstance(compositor, Front)

        def seen(crop: Region) -> list[tuple[int, int, Strip | None]]:
            left, right = crop.column_span
            chops = compositor._render_chops(crop, crop.line_range.__contains__)
            return [
                (y, x, strip)
                for y in crop.line_range
                for x, end, strip in zip(chops[y], compositor.cuts[y][1:], chops[y].values(), strict=True)
                if x < right and end > left
            ]

        whole = compositor.size.region
        some = [Region(x, y, w, h) for x in (0, 37) for y in (0, 9, 25) for w in (1, 50) for h in (1, 5)]
        for crop in [whole, *some, *(region for region, _ in compositor.visible_widgets.values())]:
            if not (crop := crop.intersection(whole)):
                continue
            ours = seen(crop)
            with monkeypatch.context() as patch:
                patch.setattr(Front, "_get_renders", Compositor._get_renders)
                assert ours == seen(crop)


async def test_a_change_asks_no_widget_that_is_hidden_or_elsewhere() -> None:
    async with bench(screen="settings", size=(100, 30)) as pilot:
        compositor = pilot.app.screen._compositor
        region = pilot.room.query("Pane").first().content_region
        asked = list(compositor._get_renders(region))
        everybody = list(Compositor._get_renders(compositor, region))
        assert 0 < len(asked) < len(everybody)
        assert all(each.overlaps(region) for each, *_ in asked)
