"""Any conversation through any template that the installed TRL ships: the text is that of transformers, and what is
trained is what the template's own marks say."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_render_spans import NEEDS_PARTS, TRAINING, TRL, characters, pieces
from test_render_spans import WORDS as TEXTS
from tiny import CHATML

from tuiwb import models
from tuiwb.base.errors import InputFault
from tuiwb.data.example import Example
from tuiwb.data.render import Renderer

TEMPLATES = {path.stem: path.read_text("utf-8") for path in sorted(TRL.glob("*.jinja"))} | {"chatml": CHATML}
MARKED = [name for name in TRAINING if name not in NEEDS_PARTS]
CALL = {"id": "call_00001", "type": "function", "function": {"name": "f", "arguments": {"a": "ü <b>", "n": 1}}}


@st.composite
def conversations(draw: st.DrawFn, *, tools: bool = True) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    if draw(st.booleans()):
        turns.append({"role": "system", "content": draw(TEXTS)})
    for _ in range(draw(st.integers(1, 3))):
        turns.append({"role": "user", "content": draw(TEXTS)})
        if tools and draw(st.integers(0, 3)) == 0:
            turns.append({"role": "assistant", "content": draw(TEXTS), "tool_calls": [CALL]})
            turns.append({"role": "tool", "name": "f", "tool_call_id": "call_00001", "content": draw(TEXTS)})
        turns.append({"role": "assistant", "content": draw(TEXTS)})
        if tools and draw(st.integers(0, 3)) == 0:
            turns[-1]["reasoning_content"] = draw(TEXTS)
    return turns


def outcome(render: Any) -> str:
    """The text, or the word `refused`: where both refuse a conversation, they agree."""
    try:
        return str(render())
    except Exception:
        return "refused"


@pytest.fixture(scope="module")
def theirs(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.torch
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=conversations(), name=st.sampled_from(sorted(TEMPLATES)), asking=st.booleans())
def test_the_text_is_that_of_transformers(
    theirs: Any, tiny_model: Path, turns: list[dict[str, Any]], name: str, asking: bool
) -> None:
    given_turns = turns[:-1] if asking else turns
    template = models.load_tokenizer(tiny_model).template(TEMPLATES[name])
    render = partial(theirs.apply_chat_template, given_turns, chat_template=TEMPLATES[name], tokenize=False)
    expected = outcome(partial(render, add_generation_prompt=asking))
    assert outcome(partial(template.render, given_turns, add_generation_prompt=asking)) == expected


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=conversations(tools=False), name=st.sampled_from(MARKED))
def test_what_is_trained_is_what_the_marks_say(tiny_model: Path, turns: list[dict[str, Any]], name: str) -> None:
    tokenizer = models.load_tokenizer(tiny_model)
    template = tokenizer.template(TEMPLATES[f"{name}_training"])
    try:
        text, spans = template.render_with_spans(turns)
    except InputFault:
        return  # not every template takes a system prompt
    layout = Renderer(tokenizer, template).layout(Example(id=0, messages=turns))
    marked, ours = characters(spans), characters(layout.trained)
    assert not marked - ours
    # Only what a model needs to stop is added, where no known special token is inside the marks.
    assert set(pieces(layout.text, ours - marked)) <= {"<|im_end|>"}
    assert layout.text in (text, text + "<|im_end|>")
