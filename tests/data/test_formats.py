"""Rows of every format are told apart, translated into the canonical example, and doubted where they should be."""

from typing import Any

import pytest

from tuiwb.base.errors import InputFault
from tuiwb.data import BadRow, Example, Row, detect, to_example
from tuiwb.data.formats import FORMATS, guess

USER = {"role": "user", "content": "Capital of France?"}
PARIS = {"role": "assistant", "content": "Paris."}
LYON = {"role": "assistant", "content": "Lyon."}
ASK = {"from": "human", "value": "Capital of France?"}
SAY = {"from": "gpt", "value": "Paris."}


def rows(*values: dict[str, Any]) -> list[Row]:
    return [Row(number, number + 1, value) for number, value in enumerate(values)]


def example(value: dict[str, Any], **named: Any) -> Example:
    """The row as its detected format translates it."""
    found = detect(rows(value), **named)
    assert found.name is not None, found.reason
    return to_example(Row(0, 1, value), found.name, found.columns)


# A row, its format, and what its example must hold.
ROWS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"instruction": "Capital of?", "input": "France", "output": "Paris."},
        "alpaca",
        {"messages": [{"role": "user", "content": "Capital of?\nFrance"}, PARIS]},
    ),
    (
        {"instruction": "Capital of France?", "input": "<noinput>", "output": "Paris."},
        "alpaca",
        {"messages": [USER, PARIS]},
    ),
    (
        {
            "instruction": "And Italy?",
            "output": "Rome.",
            "system": "Be short.",
            "history": [["Capital of France?", "Paris."]],
        },
        "alpaca",
        {
            "messages": [
                {"role": "system", "content": "Be short."},
                USER,
                PARIS,
                {"role": "user", "content": "And Italy?"},
                {"role": "assistant", "content": "Rome."},
            ]
        },
    ),
    ({"INSTRUCTION": "Capital of France?", "RESPONSE": "Paris."}, "alpaca", {"messages": [USER, PARIS]}),
    ({"conversations": [ASK, SAY]}, "sharegpt", {"messages": [USER, PARIS]}),
    (
        {"conversations": '[{"from": "human", "value": "Capital of France?"}, {"from": "gpt", "value": "Paris."}]'},
        "sharegpt",
        {"messages": [USER, PARIS]},
    ),
    (
        {
            "conversations": [
                ASK,
                {"from": "function_call", "value": '{"name": "look", "arguments": {"country": "France"}}'},
                {"from": "observation", "value": '{"capital": "Paris"}'},
                SAY,
            ],
            "tools": '[{"name": "look", "parameters": {}}]',
        },
        "sharegpt",
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {"type": "function", "function": {"name": "look", "arguments": {"country": "France"}}}
                    ],
                },
                {"role": "tool", "content": '{"capital": "Paris"}'},
                PARIS,
            ],
            "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
        },
    ),
    ({"messages": [USER, PARIS]}, "messages", {"messages": [USER, PARIS]}),
    ({"messages": [USER, PARIS], "system": "Short."}, "messages",
     {"messages": [{"role": "system", "content": "Short."}, USER, PARIS]}),
    (
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "function": {"name": "look", "arguments": '{"country": "France"}'}}]}]},
        "messages",
        {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [
            {"type": "function", "id": "1", "function": {"name": "look", "arguments": {"country": "France"}}}]}]},
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Capital of France?"}]},
                      {"role": "assistant", "content": "Paris.", "weight": 0}]},
        "messages",
        {"messages": [USER, {**PARIS, "train": False}]},
    ),
    ({"prompt": "2+2=", "completion": "4"}, "prompt_completion", {"prompt": "2+2=", "completion": "4"}),
    ({"input": "2+2=", "output": "4"}, "prompt_completion", {"prompt": "2+2=", "completion": "4"}),
    ({"prompt": [USER], "completion": [PARIS]}, "prompt_completion", {"prompt": [USER], "completion": [PARIS]}),
    ({"prompt": "Capital of France?", "response": "Paris.", "system": "Short."}, "prompt_completion",
     {"prompt": [{"role": "system", "content": "Short."}, USER], "completion": [PARIS]}),
    ({"prompt": "p", "chosen": "a", "rejected": "b"}, "preference", {"prompt": "p", "chosen": "a", "rejected": "b"}),
    ({"conversations": [ASK], "chosen": SAY, "rejected": {"from": "gpt", "value": "Lyon."}}, "preference",
     {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"conversations": [{"user": "Capital of France?", "assistant": "Paris."}]}, "messages",
     {"messages": [USER, PARIS]}),
    ({"messages": [{"text": "<|im_start|>user\nCapital of France?<|im_end|>\n"},
                   {"text": "<|im_start|>assistant\nParis.<|im_end|>"}]}, "messages", {"messages": [USER, PARIS]}),
    ({"prompt": "Capital of France?", "answers": [{"answer": "Lyon.", "rank": 2.0}, {"answer": "Paris.", "rank": 1.0}]},
     "preference", {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"prompt": "\n\nHuman: Capital of France?\n\nAssistant: ",
      "answers": [{"answer": "Paris.", "rank": 1}, {"answer": "Lyon.", "rank": 7}]},
     "preference", {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"messages": [USER, PARIS], "rejected_response": "Lyon."}, "preference",
     {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"messages": [USER, PARIS], "rejected_messages": [USER, LYON]}, "preference",
     {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"query": "Capital of France?", "response": "Paris.", "rejected_response": "Lyon."}, "preference",
     {"prompt": "Capital of France?", "chosen": "Paris.", "rejected": "Lyon."}),
    ({"segments": [{"text": "<s>2+2=", "label": False}, {"text": "4</s>", "label": True}]}, "text",
     {"text": "<s>2+2=4</s>", "segments": [("<s>2+2=", False), ("4</s>", True)]}),
    ({"chosen": [USER, PARIS], "rejected": [USER, LYON]}, "preference",
     {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"prompt": "Capital of France?", "chosen": [USER, PARIS], "rejected": [USER, LYON]}, "preference",
     {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}, "preference",
     {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"instruction": "Capital of France?", "chosen": "Paris.", "rejected": "Lyon."}, "preference",
     {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"chosen": "\n\nHuman: Capital of France?\n\nAssistant: Paris.",
      "rejected": "\n\nHuman: Capital of France?\n\nAssistant: Lyon."}, "hh_rlhf",
     {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]}),
    ({"messages": [USER, PARIS], "label": True}, "kto", {"prompt": [USER], "completion": [PARIS], "label": True}),
    ({"prompt": "p", "completion": "c", "label": False}, "kto", {"prompt": "p", "completion": "c", "label": False}),
    ({"messages": [USER, PARIS], "kto_tag": False}, "kto", {"prompt": [USER], "completion": [PARIS], "label": False}),
    ({"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}, "stepwise",
     {"prompt": "p", "steps": [("a", True), ("b", False)]}),
    ({"question": "Capital of France?", "answer": "Paris."}, "qa", {"messages": [USER, PARIS]}),
    ({"system_prompt": "Short.", "question": "Capital of France?", "response": "Paris."}, "qa",
     {"messages": [{"role": "system", "content": "Short."}, USER, PARIS]}),
    ({"prompt": "p", "solution": "4"}, "prompt_only", {"prompt": "p", "extra": {"solution": "4"}}),
    ({"prompt": [USER]}, "prompt_only", {"prompt": [USER]}),
    ({"text": "Once upon a time."}, "text", {"text": "Once upon a time."}),
    ({"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}, "tokenized", {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "name", "fields"), ROWS, ids=[f"{n}-{row[1]}" for n, row in enumerate(ROWS)])
def test_a_row_of_each_format(value: dict[str, Any], name: str, fields: dict[str, Any]) -> None:
    found = detect(rows(value, value, value))
    assert (found.name, found.confidence) == (name, 1.0)
    translated = example(value)
    assert {field: getattr(translated, field) for field in fields} == fields
    # A name given by the user leads to the same example.
    assert example(value, name=name) == translated


def test_every_format_is_met() -> None:
    assert {name for _, name, _ in ROWS} == set(FORMATS)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"text": "nice", "label": 1}, "classification"),
        ({"messages": [USER, PARIS], "label": 1}, "name the format kto"),
        ({"prompt": "p", "completion": "c", "label": "good"}, "name the format kto"),
        ({"prompt": "2+2", "answer": "4"}, "prompt_completion or prompt_only"),
        ({"instruction": "i", "output": "a", "response": "b"}, "could both be the answer"),
        ({"a": "x", "b": "y"}, "no known format"),
        ({"messages": []}, "no known format"),
    ],
)
def test_doubt_is_said_and_not_resolved(value: dict[str, Any], says: str) -> None:
    found = detect(rows(value))
    assert found.name is None
    assert says in found.reason


def test_the_majority_decides_and_the_rest_is_counted() -> None:
    odd = {"messages": [USER, PARIS]}
    usual = {"instruction": "i", "output": "o"}
    found = detect(rows(odd, *[usual] * 19))
    assert (found.name, found.confidence) == ("alpaca", 0.95)
    assert "19 of 20 rows sampled" in found.reason
    assert "1 like messages" in found.reason
    split = detect(rows(*[odd] * 8, *[usual] * 12))
    assert split.name is None
    assert "12 of 20" in split.reason


def test_a_column_that_comes_late_is_found() -> None:
    first = {"messages": [USER, PARIS]}
    late = {"messages": [USER, PARIS], "tools": [{"name": "look"}]}
    assert detect(rows(first, first, late)).columns == {"messages": "messages", "tools": "tools"}


def test_null_is_of_every_type() -> None:
    assert detect(rows({"instruction": "i", "input": None, "output": None})).name == "alpaca"


def test_columns_that_the_user_names() -> None:
    value = {"q": "Capital of France?", "a": "Paris.", "prompt": "not this one"}
    assert example(value, columns={"question": "q", "answer": "a"}).messages == [USER, PARIS]
    assert example(value, name="qa", columns={"question": "q", "answer": "a"}).messages == [USER, PARIS]
    assert example(value, name="text", columns={"text": "a"}).text == "Paris."


@pytest.mark.parametrize(
    ("value", "named", "says"),
    [
        ({"messages": [USER, PARIS]}, {"name": "alpaca"}, "alpaca needs instruction and output"),
        ({"text": "t"}, {"name": "txet"}, "did you mean text"),
        ({"text": "t"}, {"name": "text", "columns": {"text": "tex"}}, "no column 'tex' (did you mean text?)"),
        ({"text": "t"}, {"name": "text", "columns": {"txt": "text"}}, "no part 'txt' (did you mean text?)"),
        ({"messages": "just words"}, {"name": "messages"}, "the rows are no messages"),
        ({"prompt": "p", "completion": "c", "label": "good"}, {"name": "kto"}, "must be true or false"),
        ({"instruction": "i", "output": "o"}, {"columns": {"chosen": "output"}}, "fit no format"),
        ({"text": "t", "a": "b"}, {"columns": {"text": "text", "chosen": "a"}}, "has no part 'chosen'"),
    ],
)
def test_what_is_named_may_not_contradict_the_rows(value: dict[str, Any], named: dict[str, Any], says: str) -> None:
    with pytest.raises(InputFault) as caught:
        detect(rows(value), **named)
    assert says in str(caught.value)


def test_a_doubt_is_settled_by_naming_the_format() -> None:
    value = {"messages": [USER, PARIS], "label": 1}
    assert detect(rows(value)).name is None
    assert example(value, name="kto").label is True


@pytest.mark.parametrize(
    ("name", "value", "code", "says"),
    [
        ("alpaca", {"instruction": "i"}, "missing_column", "output"),
        ("alpaca", {"instruction": "i", "output": 4}, "wrong_type", "output is a number where text is needed"),
        ("alpaca", {"instruction": "i", "output": "o", "history": ["a"]}, "wrong_type", "pairs"),
        ("messages", {"messages": []}, "no_turns", ""),
        ("messages", {"messages": None}, "missing_column", "messages"),
        ("messages", {"messages": ["hi"]}, "wrong_type", "holds text where turns are needed"),
        ("messages", {"messages": [{"content": "x"}]}, "wrong_type", "without a role"),
        ("messages", {"messages": [{"role": "user"}]}, "wrong_type", "without content"),
        ("messages", {"messages": "[{"}, "wrong_type", "no JSON of turns"),
        ("messages", {"messages": [{"role": "user", "content": 3}]}, "wrong_type", "a number"),
        ("preference", {"chosen": "a", "rejected": "b"}, "no_prompt", ""),
        ("preference", {"prompt": "p", "chosen": "a", "rejected": [LYON]}, "wrong_type", "one is text"),
        (
            "preference",
            {"chosen": [USER, PARIS], "rejected": [{**USER, "content": "?"}, LYON]},
            "different_prompts",
            "",
        ),
        ("preference", {"chosen": [USER, PARIS, USER], "rejected": [USER, LYON]}, "no_answer_turn", "user"),
        ("kto", {"messages": [USER], "label": True}, "no_answer_turn", "user"),
        ("kto", {"messages": [USER, PARIS], "label": None}, "bad_label", "nothing"),
        ("kto", {"messages": [USER, PARIS], "label": "good"}, "bad_label", '"good"'),
        ("hh_rlhf", {"chosen": "hello", "rejected": "hello"}, "wrong_type", "Human:"),
        ("stepwise", {"prompt": "p", "completions": ["a"], "labels": []}, "wrong_type", "1 steps and 0 labels"),
        ("tokenized", {"input_ids": [1, "2"]}, "wrong_type", "whole numbers"),
        ("tokenized", {"input_ids": [1, 2], "labels": [1]}, "wrong_type", "2 input_ids and 1 labels"),
    ],
)
def test_rows_that_are_no_examples(name: Any, value: dict[str, Any], code: str, says: str) -> None:
    columns = {part: part for part in FORMATS[name].parts if part in value or part in FORMATS[name].needed}
    with pytest.raises(BadRow) as caught:
        to_example(Row(0, 1, value), name, columns)
    assert caught.value.code == code
    assert says in str(caught.value)


def test_hh_rlhf_splits_at_turns_and_not_at_characters() -> None:
    value = {
        "chosen": "\n\nHuman: 2+2?\n\nAssistant: I think it is 4.",
        "rejected": "\n\nHuman: 2+2?\n\nAssistant: I think it is 5.",
    }
    found = example(value)
    assert found.prompt == [{"role": "user", "content": "2+2?"}]
    assert found.chosen == [{"role": "assistant", "content": "I think it is 4."}]


def test_a_chosen_that_is_the_beginning_of_rejected() -> None:
    more = [USER, PARIS, {"role": "user", "content": "Sure?"}, LYON]
    found = example({"chosen": [USER, PARIS], "rejected": more})
    assert (found.chosen, found.rejected) == ([PARIS], more[1:])


def test_what_is_left_out_is_noted() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image", "url": "x"}]},
        {"role": "narrator", "content": "He looks."},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{broken"}}]},
    ]
    found = example({"messages": turns})
    assert [code for code, _ in found.notes] == ["parts_ignored", "unknown_role", "broken_arguments"]
    assert found.messages is not None
    assert found.messages[0]["content"] == "Look:"


def test_a_row_is_not_changed_by_its_translation() -> None:
    import copy

    for value, _, _ in ROWS:
        before = copy.deepcopy(value)
        example(value)
        assert value == before


def test_rendered_text_is_text_and_turns_where_that_is_named() -> None:
    chatml = "<|im_start|>user\nCapital of France?<|im_end|>\n<|im_start|>assistant\nParis.<|im_end|>\n"
    found = detect(rows({"text": chatml}))
    assert found.name == "text"
    assert "ChatML" in found.reason
    assert example({"text": chatml}, name="messages").messages == [USER, PARIS]
    with pytest.raises(InputFault, match="between its ChatML turns"):
        detect(rows({"text": "<|im_start|>user\nhi<|im_end|>\nand more"}), name="messages")


def test_guess_is_none_for_an_empty_row() -> None:
    assert guess({}) is None
