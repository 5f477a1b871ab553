"""The turns that are found in a rendered text, against templates whose authors marked them, and templates that bend
what they are given."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CHATML

from tuiwb.base.errors import InputFault
from tuiwb.data.spans import TurnFinder, _Located
from tuiwb.models.template import ChatTemplate

_SPEC = importlib.util.find_spec("trl")
assert _SPEC is not None
assert _SPEC.origin is not None
TRL = Path(_SPEC.origin).parent / "chat_templates"
TRAINING = sorted(path.stem.removesuffix("_training") for path in TRL.glob("*_training.jinja"))

# What TRL's authors train and we do not, and why.
HEADER = "the generation prompt, which the model is always given and never writes"
EXPLAINED = {
    "deepseek_r1_distill": {"<｜Assistant｜>": HEADER, "<｜tool▁outputs▁end｜>": HEADER},
    "deepseekv3": {"<｜Assistant｜>": HEADER, "<｜tool▁outputs▁end｜>": HEADER},
    "gptoss": {"<|start|>assistant": HEADER},
    "muse_glimmer": {"<|start|>assistant": HEADER},
    "qwen2_5": {"\n": "the line break at the end of the generation prompt"},
}
# And what we train and TRL's authors do not.
EXPLAINED_MORE = {
    "llava_next": {" ": "the space that the template writes after its end mark"},
    "diffusion_gemma": {"<|tool_response>": "the mark with which the model hands over to the tool"},
}
# These show nothing of a tool call; TRL then trains an empty answer, and we train nothing.
NO_TOOLS = {"lfm2", "llama3", "phi3", "phi3_5", "qwen2_5_vl", "deepseek_r1_distill"}
NEEDS_PARTS = {"idefics3", "smolvlm", "llava_next"}


def say(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
CONVERSATIONS = {
    "one": [say("user", "What is 2+2?"), say("assistant", "It is 4.")],
    "system": [say("system", "Be brief."), say("user", "What is 2+2?"), say("assistant", "It is 4.")],
    "several": [
        say("user", " Hello there "),
        say("assistant", " Hi! "),
        say("user", "Bye"),
        say("assistant", "Bye bye\n"),
    ],
    "thinking": [
        say("user", "Q1"),
        say("assistant", "<think>\nhm\n</think>\n\nA1"),
        say("user", "Q2"),
        say("assistant", "<think>\nhm2\n</think>\n\nA2"),
    ],
    "reasoning": [
        say("user", "Q1"),
        say("assistant", "A1", reasoning_content="hm"),
        say("user", "Q2"),
        say("assistant", "A2", reasoning_content="hm2"),
    ],
    "repetition": [say("user", "x"), say("assistant", "x"), say("user", "x"), say("assistant", "x")],
    "tool": [
        say("user", "weather?"),
        say("assistant", "", tool_calls=[CALL]),
        say("tool", "sunny", name="weather"),
        say("assistant", "It is sunny."),
    ],
}


def without_marks(source: str) -> str:
    source = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", source)
    return re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", source)


def finder(template: ChatTemplate) -> TurnFinder:
    return TurnFinder(lambda messages, asking: template.render(messages, add_generation_prompt=asking))


def characters(spans: Any) -> set[int]:
    return {at for start, end in spans for at in range(start, end)}


def pieces(text: str, places: set[int]) -> list[str]:
    """The runs of neighbouring characters."""
    found: list[list[int]] = []
    for at in sorted(places):
        if found and found[-1][-1] == at - 1:
            found[-1].append(at)
        else:
            found.append([at])
    return [text[run[0] : run[-1] + 1] for run in found]


@pytest.mark.parametrize("name", TRAINING)
def test_the_answers_are_found_where_trl_marks_them(name: str) -> None:
    source = (TRL / f"{name}_training.jinja").read_text()
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    marked, bare = ChatTemplate(source, tokens), ChatTemplate(without_marks(source), tokens)
    compared = 0
    for case, messages in CONVERSATIONS.items():
        if name in NEEDS_PARTS:
            if case in ("tool", "reasoning"):
                continue
            messages = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        try:
            text, theirs = marked.render_with_spans(messages)
        except InputFault:
            continue  # not every template takes a system prompt or a tool
        rendered, turns = finder(bare).find(messages)
        assert rendered == text
        ours = characters((turn.start, turn.close) for turn in turns if turn.role == "assistant")
        fewer, more = characters(theirs) - ours, ours - characters(theirs)
        compared += 1
        if case == "tool" and name in NO_TOOLS:
            assert not more
            continue
        assert set(pieces(text, fewer)) <= set(EXPLAINED.get(name, {})), case
        assert set(pieces(text, more)) <= set(EXPLAINED_MORE.get(name, {})), case
    assert compared >= 3


WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            "x",
            "\n",
            "<|im_end|>",
            "<|im_end|>\n",
            "<|im_end|>\n<|im_start|>assistant\nx",
            "<|im_start|>assistant\n",
            "assistant",
            "Qz0vx0kwP",
            "Qzvx7jkwP",
            "  both ends  ",
        ]
    ),
)
TRIMMING = CHATML.replace("message['content']", "message['content'] | trim")
# Mistral's way: no header for the answer, the system prompt inside the last question, an end mark of its own.
INSTRUCT = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}{{ bos_token }}{% for m in rest %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' }}{% if loop.revindex <= 2 and system %}{{ system + '\n\n' }}{% endif %}"
    "{{ m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3), st.none() | WORDS, st.sampled_from([CHATML, TRIMMING])
)
def test_each_answer_with_its_end_mark_and_nothing_else(
    exchanges: list[tuple[str, str]], system: str | None, source: str
) -> None:
    messages = [] if system is None else [say("system", system)]
    for question, answer in exchanges:
        messages += [say("user", question), say("assistant", answer)]
    text, turns = finder(ChatTemplate(source)).find(messages)
    answers = [text[turn.start : turn.close] for turn in turns if turn.role == "assistant"]
    clean = str.strip if source == TRIMMING else str
    assert answers == [clean(answer) + "<|im_end|>\n" for _, answer in exchanges]
    contents = [text[turn.content : turn.end] for turn in turns]
    assert contents == [clean(message["content"]) for message in messages]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3), st.none() | st.text(min_size=1, max_size=9))
def test_a_template_without_headers_that_moves_the_system_prompt(
    exchanges: list[tuple[str, str]], system: str | None
) -> None:
    messages = [] if system is None else [say("system", system)]
    for question, answer in exchanges:
        messages += [say("user", question), say("assistant", answer)]
    text, turns = finder(ChatTemplate(INSTRUCT, {"bos_token": "<s>"})).find(messages)
    answers = [text[turn.start : turn.close] for turn in turns if turn.role == "assistant"]
    assert answers == [f" {answer}</s>" for _, answer in exchanges]


@pytest.mark.parametrize("source", [CHATML, TRIMMING, INSTRUCT])
@pytest.mark.parametrize("case", ["one", "system", "several", "thinking", "repetition"])
def test_reading_off_a_known_shape_is_looking_at_the_conversation(source: str, case: str) -> None:
    template = ChatTemplate(source, {"bos_token": "<s>"})
    messages = CONVERSATIONS[case]
    text, fast = finder(template).find(messages)

    def render(some: list[dict[str, Any]], asking: bool) -> str:
        return template.render(some, add_generation_prompt=asking)

    assert fast == _Located(render, messages, text).turns()


def test_one_rendering_is_enough_once_a_shape_is_known() -> None:
    template = ChatTemplate(CHATML)
    count = 0

    def render(messages: list[dict[str, Any]], asking: bool) -> str:
        nonlocal count
        count += 1
        return template.render(messages, add_generation_prompt=asking)

    turns = TurnFinder(render)
    turns.find(CONVERSATIONS["one"])
    learned = count
    turns.find([say("user", "another"), say("assistant", "one")])
    assert count == learned + 1


def test_reasoning_that_a_template_drops_from_earlier_answers_is_not_looked_for() -> None:
    source = without_marks((TRL / "qwen3.jinja").read_text())
    text, turns = finder(ChatTemplate(source)).find(CONVERSATIONS["thinking"])
    first, last = (turn for turn in turns if turn.role == "assistant")
    assert text[first.start : first.close] == "A1<|im_end|>\n"
    assert text[last.start : last.close] == "<think>\nhm2\n</think>\n\nA2<|im_end|>\n"


def test_a_message_that_the_template_leaves_out_is_empty() -> None:
    source = "{% for m in messages if m['role'] != 'system' %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    _, turns = finder(ChatTemplate(source)).find(CONVERSATIONS["system"])
    assert (turns[0].start, turns[0].close) == (0, 0)
    assert turns[1].close > 0
