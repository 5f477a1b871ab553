"""The sandboxed renderer against transformers' apply_chat_template, on every template that the installed TRL ships."""

import json
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tuiwb import models
from tuiwb.base.errors import InputFault
from tuiwb.models import templates
from tuiwb.models.template import ChatTemplate, check_template

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

USER = {"role": "user", "content": "What is <b>2 + 2</b>?\n\nThink & answer."}
ANSWER = {"role": "assistant", "content": "It is 4."}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_00001", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}
    ],
}
RESULT = {"role": "tool", "name": "weather", "tool_call_id": "call_00001", "content": "18 °C"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now>",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "a city's name"}},
                "required": ["city"],
            },
        },
    }
]
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "one question": {"messages": [USER]},
    "an answer": {"messages": [USER, ANSWER]},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER]},
    "several turns": {"messages": [USER, ANSWER, {"role": "user", "content": "  And 3 + 3?  "}, ANSWER]},
    "prompt": {"messages": [USER, ANSWER, USER], "add_generation_prompt": True},
    "system prompt": {"messages": [{"role": "system", "content": "Be brief."}, USER], "add_generation_prompt": True},
    "tools": {"messages": [USER], "tools": TOOLS, "add_generation_prompt": True},
    "tool call": {"messages": [USER, CALL, RESULT, ANSWER], "tools": TOOLS},
    "reasoning": {"messages": [USER, {**ANSWER, "reasoning_content": "Two and two."}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}, ANSWER]},
    "no thinking": {"messages": [USER], "add_generation_prompt": True, "enable_thinking": False},
    "odd roles": {"messages": [ANSWER, ANSWER]},
    "unknown role": {"messages": [{"role": "narrator", "content": "Once upon a time"}]},
    "open end": {"messages": [USER, {"role": "assistant", "content": "It is "}], "continue_final_message": True},
}


def trl_templates() -> list[Path]:
    from importlib.util import find_spec

    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))


@pytest.fixture(scope="module")
def theirs(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def outcome(render: Any) -> str:
    """The text, or the word `refused`: where both refuse a conversation, they agree."""
    try:
        return str(render())
    except Exception:
        return "refused"


@pytest.mark.torch
@pytest.mark.parametrize("source", ["smollm2", *trl_templates()], ids=lambda at: getattr(at, "stem", at))
def test_renders_as_transformers_does(source: str | Path, theirs: Any, tiny_model: Path) -> None:
    text = SMOLLM2 if source == "smollm2" else Path(source).read_text("utf-8")
    template = models.load_tokenizer(tiny_model).template(text)
    agreed = 0
    for name, given in CONVERSATIONS.items():
        variables = {key: value for key, value in given.items() if key != "messages"}
        expected = outcome(
            partial(theirs.apply_chat_template, given["messages"], chat_template=text, tokenize=False, **variables)
        )
        ours = outcome(partial(template.render, given["messages"], **variables))
        assert ours == expected, name
        agreed += expected != "refused"
    assert agreed >= 3  # a template that refuses nearly everything would prove nothing


@pytest.mark.torch
@pytest.mark.parametrize("source", [at for at in trl_templates() if "_training" in at.stem], ids=lambda at: at.stem)
def test_generation_spans_are_those_of_transformers(source: Path, theirs: Any, tiny_model: Path) -> None:
    text = source.read_text("utf-8")
    messages = [USER, ANSWER, USER, {**ANSWER, "content": "Again, 4."}]
    template = models.load_tokenizer(tiny_model).template(text)
    try:
        expected = theirs.apply_chat_template(
            messages, chat_template=text, return_assistant_tokens_mask=True, return_dict=True
        )
    except Exception:
        with pytest.raises(InputFault):
            template.render_with_spans(messages)
        return
    rendered, spans = template.render_with_spans(messages)
    encoding = theirs(rendered, add_special_tokens=False, return_offsets_mapping=True)
    mask = [
        int(any(start < end_of_span and end > start_of_span for start_of_span, end_of_span in spans))
        for start, end in encoding["offset_mapping"]
    ]
    assert spans
    assert mask == expected["assistant_masks"]


def test_special_tokens_are_variables_and_a_missing_one_is_nothing() -> None:
    template = ChatTemplate("{{ bos_token }}|{{ eos_token }}|{{ messages[0].content }}", {"eos_token": "</s>"})
    assert template.render([USER | {"content": "x"}]) == "|</s>|x"


def test_the_date_is_todays() -> None:
    source = "{{ strftime_now('%Y-%m-%d') }}"
    before, text, after = datetime.now(), ChatTemplate(source).render([USER]), datetime.now()
    assert text in (before.strftime("%Y-%m-%d"), after.strftime("%Y-%m-%d"))


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% set x = namespace(_a=1) %}",
        "{{ messages.append({}) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ dict.__class__ }}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(source: str) -> None:
    template = ChatTemplate(source)
    text = outcome(lambda: template.render([USER]))
    assert text == "refused" or not text.strip()


def test_objects_reach_a_template_as_their_type_name_only(tmp_path: Path) -> None:
    message = {"role": "user", "content": "hi", "image": tmp_path}
    text = ChatTemplate("{{ messages[0].image }} {{ messages[0].image.unlink }}").render([message])
    assert text == f"<{type(tmp_path).__name__}> "


def test_faults_of_a_template_name_the_line_and_the_words() -> None:
    with pytest.raises(InputFault, match="line 2"):
        check_template("fine\n{% if %}")
    with pytest.raises(InputFault, match="refuses this conversation: only two roles"):
        ChatTemplate("{{ raise_exception('only two roles') }}").render([USER])
    with pytest.raises(InputFault, match="failed on this conversation"):
        ChatTemplate("{{ messages[0].content + 1 }}").render([USER])
    with pytest.raises(InputFault, match="at least one message"):
        ChatTemplate("x").render([])
    with pytest.raises(InputFault, match="each message is an object"):
        ChatTemplate("x").render(["hi"])  # type: ignore[list-item]


def test_rendering_changes_no_message() -> None:
    messages = [USER, {"role": "assistant", "content": [{"type": "text", "text": "It"}]}]
    before = json.dumps(messages)
    source = "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{% endfor %}"
    assert ChatTemplate(source).render(messages, continue_final_message=True).endswith("It")
    assert json.dumps(messages) == before


def test_a_template_for_tools_is_used_when_tools_are_given() -> None:
    template = ChatTemplate("plain", {}, "with tools")
    assert template.render([USER]) == "plain"
    assert template.render([USER], tools=TOOLS) == "with tools"


@pytest.mark.parametrize("name", templates.names())
def test_our_templates_grow_only_at_the_end_and_close_each_answer(name: str) -> None:
    template = ChatTemplate(templates.named_template(name), {"bos_token": "<s>", "eos_token": "</s>"})
    talk = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    longer = [*talk, {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]
    asked = template.render(talk[:1], add_generation_prompt=True)
    answered = template.render(talk)
    assert answered.startswith(asked)
    assert template.render(longer).startswith(answered)
    end = answered[len(asked) :].strip()
    assert end.startswith("two")
    assert end.endswith(("</s>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>"))
    with_system = template.render([{"role": "system", "content": "Be brief."}, *longer])
    assert with_system.count("Be brief.") == 1


def test_alpaca_is_the_format_of_that_name() -> None:
    text = ChatTemplate(templates.named_template("alpaca"), {"eos_token": "</s>"}).render([USER, ANSWER])
    assert "### Instruction:\nWhat is" in text
    assert "\n\n### Response:\nIt is 4.</s>" in text


def test_a_template_begins_with_bos_where_the_tokenizer_would() -> None:
    assert "bos_token" not in templates.named_template("alpaca")
    text = ChatTemplate(templates.named_template("alpaca", begin_with_bos=True), {"bos_token": "<s>"})
    assert text.render([USER]).startswith("<s>Below is")
    llama = ChatTemplate(templates.named_template("llama-3", begin_with_bos=True), {"bos_token": "<s>"})
    assert llama.render([USER]).count("<s>") == 1


def test_a_name_a_file_or_jinja_source_is_found(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{{ messages }}")
    assert templates.find(str(file)) == "{{ messages }}"
    assert templates.find("{{ 1 }}") == "{{ 1 }}"
    assert "im_start" in templates.find("chatml")
    with pytest.raises(InputFault, match=r"chatml, .*alpaca"):
        templates.find("chatlm")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputFault, match="UTF-8 at byte 0"):
        templates.find(str(file))
