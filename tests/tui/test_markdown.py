"""Markdown that grows: what is drawn, and that growing ends where the whole text does."""

from itertools import pairwise

import pytest

from tuiwb.tui.widgets.markdown import PART, Markdown, _parser, cuts, rows

TEXT = """# Title
Some *text* with `code`, **bold**, [a link](http://x.y) and <b>html</b>
second line

- one that is long enough to wrap
  - nested
- two

3. three
4. four

> quote

| a | b |
|---|---|
| 1 | two words |

```python
print("hello")
```

---
end"""

DRAWN = """Title

Some text with code, bold, a link
(http://x.y) and <b>html</b>
second line

• one that is long enough to wrap
  • nested
• two

3. three
4. four

▌ quote

a │ b
──┼──────────
1 │ two words

 print("hello")

─────────────────────────────────

end"""


def drawn(text: str, width: int) -> str:
    return "\n".join(row.plain.rstrip() for row in rows(text, width))


def test_every_kind_of_block_is_drawn() -> None:
    assert drawn(TEXT, 33) == DRAWN


@pytest.mark.parametrize(
    "text", ["", "-", "> > >", "* * *\n-", "|a|\n|-|", "```", "1.\n2.", "![]()", "[x](", "~~", "- - -\n  "]
)
def test_what_is_half_there_is_drawn(text: str) -> None:
    for row in rows(text, 10):
        assert row.cell_length <= 10


@pytest.mark.parametrize("width", [8, 20, 77])
def test_no_line_is_wider_than_the_column(width: int) -> None:
    wide = "東京は日本の首都です " * 5 + "x" * 200
    for text in (wide, f"- {wide}", f"> > {wide}", f"```\n{wide}\n```", f"|{wide}|{wide}|\n|-|-|\n|1|{wide}|"):
        assert all(row.cell_length <= width for row in rows(text, width))


def test_parts_are_cut_between_blocks_and_hold_the_whole_text() -> None:
    text = "\n\n".join([TEXT] * 6) + "\n\n" + "\n".join(f"- item {number} of a list" for number in range(80))
    found = [0, *(at for at, _ in cuts(text, _parser().parse(text))), len(text)]
    parts = [text[start:end] for start, end in pairwise(found)]
    assert len(parts) > 6
    assert max(map(len, parts)) < 2 * PART
    whole = [row for row in drawn(text, 60).split("\n") if row]
    assert [row for part in parts for row in drawn(part, 60).split("\n") if row] == whole


def test_growing_ends_where_the_whole_text_does() -> None:
    text = "\n\n".join([TEXT] * 5)
    growing, whole = Markdown(), Markdown(text)
    for end in range(0, len(text) + 1, 37):
        growing.show(text[:end])
        growing.rows(60)
    growing.show(text)
    assert [row.plain for row in growing.rows(60)] == [row.plain for row in whole.rows(60)]
    assert [row.plain.rstrip() for row in growing.rows(33)] == [row.plain.rstrip() for row in whole.rows(33)]
    growing.show("another one")  # does not go on from what was there
    assert [row.plain for row in growing.rows(60)] == ["another one"]


def test_growing_ends_there_where_the_gate_lets_not_everything_through() -> None:
    text = "\r\n\r\n".join(["\x1b[2J\tone\u202e\r\n- two\rthree", "# four\u200b " * 30, "five\x00 " * 40] * 6)
    growing = Markdown()
    for end in range(0, len(text) + 1, 13):
        growing.show(text[:end])
        growing.rows(40)
    growing.show(text)
    assert [row.plain for row in growing.rows(40)] == [row.plain for row in Markdown(text).rows(40)]
    assert not any(character in row.plain for row in growing.rows(40) for character in "\x1b\r\x00\u202e")


def test_what_was_drawn_is_not_drawn_again() -> None:
    growing = Markdown("\n\n".join([TEXT] * 5))
    before = growing.rows(60)
    growing.show("\n\n".join([TEXT] * 5) + " and more")
    after = growing.rows(60)
    same = sum(one is other for one, other in zip(before, after, strict=False))
    assert same > 0.8 * len(before)
    assert after[-1].plain.endswith("and more")
