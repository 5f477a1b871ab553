"""The text gate: nothing from outside moves the cursor, changes a colour or hides a character."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tuiwb.base.text import gate, gate_line

# Surrogates can stand in Python strings (from os.fsdecode), so they belong to the alphabet.
anything = st.text(st.characters(codec=None))


@given(anything)
def test_gated_text_holds_no_control_or_format_character(text: str) -> None:
    for character in gate(text):
        if character not in "\n\u200c\u200d":  # joiners that scripts and emoji need, harmless alone
            assert unicodedata.category(character) not in ("Cc", "Cs"), repr(character)
    assert not set(gate(text)) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\ufeff\u200e\u200f")


@given(anything)
def test_gating_twice_changes_nothing_more(text: str) -> None:
    assert gate(gate(text)) == gate(text)
    assert gate_line(gate_line(text)) == gate_line(text)


@given(anything)
def test_a_gated_line_is_one_line(text: str) -> None:
    assert len(gate_line(text).splitlines()) <= 1


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_passes_unchanged(text: str) -> None:
    assert gate(text) == text


@given(anything, st.integers(1, 50))
def test_width_is_kept(text: str, width: int) -> None:
    assert len(gate_line(text, width)) <= width


def test_escape_sequences_become_visible() -> None:
    assert gate("\x1b[31mred\x1b]0;title\x07") == "␛[31mred␛]0;title␇"
    assert gate("a\u202eb") == "a⟨U+202E⟩b"
    assert gate("line\r\nnext\tcell\rback") == "line\nnext    cell␍back"
    assert gate_line("one\ntwo") == "one␊two"


def test_a_megabyte_is_cut_before_it_is_searched() -> None:
    assert gate_line("x" * 1_000_000, 10) == "xxxxxxxxx…"
