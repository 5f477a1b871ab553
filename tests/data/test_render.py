"""Token ids and mask of one example: what the screen shows and the trainer trains."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_render_spans import TRAINING, TRL, characters, pieces

from tuiwb.base.errors import InputFault
from tuiwb.data.example import Example
from tuiwb.data.layout import Rendered
from tuiwb.data.render import Renderer, render
from tuiwb.models import ChatTemplate, Tokenizer, load_tokenizer

END = "<|im_end|>\n"


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return load_tokenizer(tiny_model)


def chat(*turns: str, **more: Any) -> Example:
    roles = ("user", "assistant")
    return Example(id=0, messages=[{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)], **more)


def trained(tokenizer: Tokenizer, rendered: Rendered) -> str:
    return tokenizer.decode([number for number, flag in zip(rendered.ids, rendered.mask, strict=True) if flag])


def shown(rendered: Rendered) -> str:
    return "".join(rendered.text[s.start : s.end] for s in rendered.segments if s.trained)


def test_the_ids_are_those_of_the_whole_text_and_the_answers_are_trained(tokenizer: Tokenizer) -> None:
    rendered = render(chat("What is it?", "A fox.", "Sure?", "Yes."), tokenizer, tokenizer.template())
    assert rendered.ids == tokenizer.encode(rendered.text)
    assert trained(tokenizer, rendered) == f"A fox.{END}Yes.{END}" == shown(rendered)
    assert [s.role for s in rendered.segments] == ["", "user", "", "assistant", "", "user", "", "assistant"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=15), min_size=2, max_size=6))
def test_segments_cover_the_text_once_and_agree_with_the_mask(tokenizer: Tokenizer, turns: list[str]) -> None:
    example = chat(*turns)
    rendered = render(example, tokenizer, tokenizer.template())
    assert "".join(rendered.text[s.start : s.end] for s in rendered.segments) == rendered.text
    answers = [m["content"] for m in example.messages or [] if m["role"] == "assistant"]
    assert shown(rendered) == "".join(answer + END for answer in answers)


def test_whose_turns_are_trained_can_be_said_by_role_and_by_message(tokenizer: Tokenizer) -> None:
    template = tokenizer.template()
    both = render(chat("ask", "say"), tokenizer, template, train_roles=("user", "assistant"))
    assert trained(tokenizer, both) == f"ask{END}say{END}"
    example = Example(
        id=0,
        messages=[
            {"role": "user", "content": "one", "train": True},
            {"role": "assistant", "content": "two", "train": False},
            {"role": "user", "content": "three"},
            {"role": "assistant", "content": "four"},
        ],
    )
    rendered = render(example, tokenizer, template)
    assert trained(tokenizer, rendered) == f"one{END}four{END}"
    assert "train" not in rendered.text
    everything = render(chat("ask", "say"), tokenizer, template, train_roles=None)
    assert everything.mask == [False] + [True] * (len(everything.ids) - 1)


@pytest.mark.parametrize(
    ("which", "expected"),
    [("turn", f"a{END}b{END}"), ("last", f"ab{END}"), ("none", "ab"), ("all", f"{END}a{END}{END}b{END}")],
)
def test_which_end_marks_are_trained(tokenizer: Tokenizer, which: Any, expected: str) -> None:
    rendered = render(chat("q", "a", "q", "b"), tokenizer, tokenizer.template(), train_on_eos=which)
    assert trained(tokenizer, rendered) == expected


def test_an_answer_without_an_end_mark_gets_the_eos_token(tokenizer: Tokenizer) -> None:
    bare = ChatTemplate("{% for m in messages %}{{ '### ' + m.role + '\n' + m.content + '\n\n' }}{% endfor %}")
    rendered = render(chat("q", "a"), tokenizer, bare)
    assert rendered.ids[-1] == tokenizer.eos_token_id
    assert rendered.mask[-1]
    assert trained(tokenizer, rendered).endswith("a\n\n<|im_end|>")
    question = render(chat("q", "a", "q2"), tokenizer, bare)
    assert not question.text.endswith("<|im_end|>")


def test_nothing_is_padded_or_recognised_by_the_pad_token(tokenizer: Tokenizer) -> None:
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    rendered = render(chat("q", "a"), tokenizer, tokenizer.template())
    ends = [flag for number, flag in zip(rendered.ids, rendered.mask, strict=True) if number == tokenizer.eos_token_id]
    assert ends == [False, True]


def test_a_prompt_in_plain_text_is_masked_and_its_completion_ends(tokenizer: Tokenizer) -> None:
    rendered = render(Example(id=0, prompt="Q: fox?\nA:", completion=" The fox."), tokenizer, None)
    assert rendered.text == "Q: fox?\nA: The fox.<|im_end|>"
    assert trained(tokenizer, rendered) == " The fox.<|im_end|>"
    again = render(Example(id=0, prompt="Q", completion="A<|im_end|>"), tokenizer, None)
    assert again.text == "QA<|im_end|>"


def test_a_completion_in_turns_is_trained_and_its_prompt_is_not(tokenizer: Tokenizer) -> None:
    example = Example(
        id=0,
        prompt=[
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
        completion=[{"role": "assistant", "content": "d"}],
    )
    assert trained(tokenizer, render(example, tokenizer, tokenizer.template())) == f"d{END}"


def test_text_in_segments_is_trained_where_they_say_so_and_nothing_is_added(tokenizer: Tokenizer) -> None:
    segments = [("<|im_start|>user\nWhat?", False), (END, False), ("A fox.", True), (END, True), ("more", False)]
    text = "".join(part for part, _ in segments)
    rendered = render(Example(id=0, text=text, segments=segments), tokenizer, None)
    assert (rendered.text, rendered.ids) == (text, tokenizer.encode(text))
    assert trained(tokenizer, rendered) == f"A fox.{END}" == shown(rendered)


def test_text_is_trained_whole_but_for_its_first_token(tokenizer: Tokenizer) -> None:
    rendered = render(Example(id=0, text="The quick brown fox"), tokenizer, None)
    assert rendered.mask == [False] + [True] * (len(rendered.ids) - 1)
    assert rendered.ids[-1] == tokenizer.eos_token_id


def test_plain_text_begins_with_bos_where_the_tokenizer_says_so_and_never_twice(
    tokenizer: Tokenizer, tmp_path: Path, tiny_model: Path
) -> None:
    import json
    import shutil

    shutil.copytree(tiny_model, tmp_path / "llama")
    file = tmp_path / "llama/tokenizer.json"
    value = json.loads(file.read_text())
    single = [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    token = {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}
    value["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": token}
    file.write_text(json.dumps(value))
    adds_bos = load_tokenizer(tmp_path / "llama")
    assert render(Example(id=0, text="fox"), adds_bos, None).ids[0] == 1
    assert render(Example(id=0, text="<|im_start|>fox"), adds_bos, None).text == "<|im_start|>fox<|im_end|>"
    # The template of a conversation writes its own.
    assert render(chat("q", "a"), adds_bos, adds_bos.template()).ids.count(1) == 2
    assert render(Example(id=0, text="fox"), tokenizer, None).ids[0] != 1


def test_what_is_too_long_is_cut_and_counted(tokenizer: Tokenizer) -> None:
    template = tokenizer.template()
    whole = render(chat("fox", "brown " * 30), tokenizer, template)
    cut = render(chat("fox", "brown " * 30), tokenizer, template, max_length=20)
    assert cut.ids == whole.ids[:20]
    assert cut.truncated == len(whole.ids) - 20
    assert cut.truncated_trained == whole.trained - cut.trained
    assert cut.text == whole.text
    assert tokenizer.decode(cut.ids) == whole.text[slice(*cut.kept)]
    assert max(s.end for s in cut.segments if s.trained) == cut.kept[1]
    end = render(chat("fox", "brown " * 30), tokenizer, template, max_length=20, truncation="keep_end")
    assert end.ids == whole.ids[-20:]
    assert tokenizer.decode(end.ids) == whole.text[slice(*end.kept)]


def test_tokens_that_came_as_tokens_keep_their_labels(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("The quick brown fox")
    labels = [-100] * (len(ids) - 2) + ids[-2:]
    rendered = render(Example(id=0, input_ids=ids, labels=labels), tokenizer, None)
    assert rendered.ids == ids
    assert rendered.mask == [False] * (len(ids) - 2) + [True] * 2
    assert rendered.text == "The quick brown fox"


def test_one_sentence_where_it_cannot_be_rendered(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputFault, match="no chat template; name one"):
        render(chat("q", "a"), tokenizer, None)
    strict = ChatTemplate("{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}x")
    with pytest.raises(InputFault, match="no system role"):
        render(Example(id=0, messages=[{"role": "system", "content": "s"}]), tokenizer, strict)
    with pytest.raises(InputFault, match="rows of the kind preference"):
        render(Example(id=0, chosen="a", rejected="b"), tokenizer, None)


@pytest.mark.parametrize("name", [name for name in TRAINING if name not in ("idefics3", "smolvlm", "llava_next")])
def test_marks_of_the_template_are_heeded(tokenizer: Tokenizer, name: str) -> None:
    source = (TRL / f"{name}_training.jinja").read_text()
    template = ChatTemplate(source, {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"})
    example = chat("What is 2+2?", "It is 4.", "Sure?", "Yes.")
    text, spans = template.render_with_spans(example.messages or [])
    layout = Renderer(tokenizer, template).layout(example)
    theirs, ours = characters(spans), characters(layout.trained)
    assert not theirs - ours
    # Only what a model needs to stop is added, where no known special token is inside the marks.
    assert set(pieces(layout.text, ours - theirs)) <= {"<|im_end|>"}
    assert layout.text in (text, text + "<|im_end|>")


def test_an_end_mark_outside_the_marks_is_trained_all_the_same(tokenizer: Tokenizer) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>{{ '\n' }}{% endfor %}"
    )
    rendered = render(chat("q", "a"), tokenizer, ChatTemplate(source))
    assert trained(tokenizer, rendered) == f"a{END}"


def test_of_plain_text_what_follows_the_last_marker_is_trained(tokenizer: Tokenizer) -> None:
    text = "### Instruction: say ### Response: as I do ### Response: Yes."
    rendered = render(Example(id=0, text=text), tokenizer, None, response_marker="### Response:")
    assert trained(tokenizer, rendered) == " Yes.<|im_end|>"
    assert tokenizer.decode(rendered.ids).startswith("### Instruction: say ### Response: as I do")
    assert all(render(Example(id=0, text=text), tokenizer, None).mask[1:]), "without a marker all of it"
    with pytest.raises(InputFault, match="holds no “### Response:”"):
        render(Example(id=0, text="no answer here"), tokenizer, None, response_marker="### Response:")
