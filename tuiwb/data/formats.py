"""The formats that training data comes in, and what one row looks like to each.

`guess` looks at one row and names the first format whose columns and types it has; the order matters (preference rows
carry a prompt too). `detect` lets many rows vote. A part is what a column is to a format (`instruction`, `chosen` …);
which column plays it is told by its name, or by the recipe's `columns`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuiwb.data.rows import Value

FormatName = Literal[
    "alpaca",
    "sharegpt",
    "messages",
    "prompt_completion",
    "preference",
    "hh_rlhf",
    "kto",
    "stepwise",
    "qa",
    "prompt_only",
    "text",
    "tokenized",
]

TURN_COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "texts", "turns")
_ANSWERS = ("completion", "response", "generation", "output")
_SYSTEM = ("system", "system_prompt")
_ASKED = ("prompt", "query", "question", "instruction")
_EXCHANGES = (("user", "assistant"), ("human", "assistant"), ("query", "response"), ("human", "bot"))


@dataclass(frozen=True, slots=True)
class Format:
    """`needed` and `optional` map a part to the names that its column usually has, the likeliest first."""

    name: FormatName
    summary: str
    needed: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]]

    @property
    def parts(self) -> list[str]:
        return [*self.needed, *self.optional]


def _format(
    name: FormatName, summary: str, needed: dict[str, tuple[str, ...]], **optional: tuple[str, ...]
) -> tuple[FormatName, Format]:
    return name, Format(name, summary, needed, optional)


FORMATS: dict[FormatName, Format] = dict(
    [
        _format(
            "alpaca",
            "instruction, perhaps input, and output",
            {"instruction": ("instruction",), "output": ("output", "response", "completion", "answer")},
            input=("input", "context"),
            system=_SYSTEM,
            history=("history",),
        ),
        _format(
            "sharegpt",
            "turns with from and value",
            {"messages": ("conversations", "conversation", *TURN_COLUMNS)},
            system=_SYSTEM,
            tools=("tools",),
        ),
        _format(
            "messages",
            "turns with role and content",
            {"messages": (*TURN_COLUMNS, "text")},
            system=_SYSTEM,
            tools=("tools",),
        ),
        _format(
            "prompt_completion",
            "a prompt and the completion to learn",
            {"prompt": ("prompt", "input"), "completion": (*_ANSWERS, "answer")},
            system=_SYSTEM,
            tools=("tools",),
        ),
        _format(
            "preference",
            "a chosen and a rejected answer",
            {"chosen": ("chosen", "chosen_response"), "rejected": ("rejected", "rejected_response")},
            prompt=("prompt", *TURN_COLUMNS, "instruction", "question", "query", "input"),
            input=("input",),
            system=_SYSTEM,
            tools=("tools",),
        ),
        _format(
            "hh_rlhf",
            "two dialogues written as Human: and Assistant:",
            {"chosen": ("chosen",), "rejected": ("rejected",)},
        ),
        _format(
            "kto",
            "an answer and whether it is wanted",
            {"label": ("label", "kto_tag")},
            prompt=("prompt", "instruction", "question"),
            completion=(*_ANSWERS, "answer"),
            messages=TURN_COLUMNS,
            input=("input",),
            system=_SYSTEM,
            tools=("tools",),
        ),
        _format(
            "stepwise",
            "a prompt and steps, each right or wrong",
            {"prompt": ("prompt", "question"), "completions": ("completions",), "labels": ("labels",)},
        ),
        _format(
            "qa",
            "a question and its answer",
            {
                "question": ("question", "query", "problem", "article", "document"),
                "answer": ("answer", "response", "solution", "summary"),
            },
            context=("context",),
            system=_SYSTEM,
        ),
        _format(
            "prompt_only",
            "prompts alone, answered while training",
            {"prompt": ("prompt", "messages", "question")},
            system=_SYSTEM,
            tools=("tools",),
        ),
        _format("text", "plain text, trained whole or by segments", {"text": ("text", "content", "segments")}),
        _format("tokenized", "token ids", {"input_ids": ("input_ids",)}, labels=("labels",)),
    ]
)


@dataclass(frozen=True, slots=True)
class Guess:
    """What one row looks like. `doubt` says in one sentence why this may not be taken for granted."""

    name: FormatName
    columns: tuple[tuple[str, str], ...]
    why: str
    doubt: str = ""


def guess(row: Value) -> Guess | None:
    """The format of a row, or None when it fits none."""
    if (pair := _otherwise_paired(row)) is not None:
        return pair
    for name, look in _LOOKS:
        columns = columns_of(FORMATS[name], row)
        if columns is None:
            continue
        verdict = look({part: row[column] for part, column in columns.items()}, row, columns)
        if verdict is not None:
            why, _, doubt = verdict.partition("\n")
            return Guess(name, tuple(columns.items()), why, doubt)
    return None


def columns_of(form: Format, row: Value) -> dict[str, str] | None:
    """Which column plays which part, by usual names in any case of letters; None when a needed one is missing."""
    names = {name.lower(): name for name in reversed(list(row))}
    columns: dict[str, str] = {}
    for part, aliases in (*form.needed.items(), *form.optional.items()):
        for alias in aliases:
            if (column := names.get(alias)) is not None and column not in columns.values():
                columns[part] = column
                break
        else:
            if part in form.needed:
                return None
    return columns


# What a look gets: the row's values by part, the row, and part to column. What it returns: the reason, perhaps a line
# break and a doubt; None when the row is not of this format.
_Look = Callable[[dict[str, Any], Value, dict[str, str]], str | None]


def _tokenized(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    ids = parts["input_ids"]
    return "input_ids is a list of whole numbers" if _all(ids, int) and ids else None


def _stepwise(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    if _all(parts["completions"], str) and _all(parts["labels"], bool):
        return "completions is a list of texts and labels a list of true and false"
    return None


def _hh_rlhf(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    if all(isinstance(side, str) and "\n\nHuman:" in side and "\n\nAssistant:" in side for side in parts.values()):
        return "chosen and rejected are dialogues with Human: and Assistant:"
    return None


def _preference(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    sides = [parts["chosen"], parts["rejected"]]
    if not all(side is None or isinstance(side, (str, dict, list)) for side in sides):
        return None
    what = "texts" if isinstance(sides[0], str) else "turns"
    start = f"{columns['chosen']} and {columns['rejected']} are {what}"
    if "prompt" in columns:
        return f"{start}, {columns['prompt']} is their prompt"
    if what == "turns":
        return f"{start} that begin alike"
    return f"{start} without a prompt"


def _otherwise_paired(row: Value) -> Guess | None:
    """A pair of answers that is written in another way than chosen and rejected: a list of ranked answers (Nectar), or
    an answer and a `rejected_response` or `rejected_messages` beside it (ms-swift)."""
    names = {name.lower(): name for name in reversed(list(row))}
    if {"chosen", "chosen_response"} & names.keys():
        return None
    prompt = next((names[name] for name in _ASKED if name in names), None)
    ranked = names.get("answers")
    if prompt is not None and ranked is not None and is_ranked(row[ranked]):
        why = f"{ranked} are ranked: the best is chosen, the last is rejected"
        return Guess("preference", (("chosen", ranked), ("rejected", ranked), ("prompt", prompt)), why)
    worse = next((names[name] for name in ("rejected_response", "rejected_messages") if name in names), None)
    if worse is None:
        return None
    turns = next((names[name] for name in TURN_COLUMNS if isinstance(row.get(names.get(name, "")), list)), None)
    answer = next((names[name] for name in (*_ANSWERS, "answer") if name in names), None)
    if turns is not None:
        return Guess(
            "preference", (("chosen", turns), ("rejected", worse)), f"{turns} end as chosen, {worse} as rejected"
        )
    if answer is not None and prompt is not None:
        columns = (("chosen", answer), ("rejected", worse), ("prompt", prompt))
        return Guess("preference", columns, f"{answer} is chosen, {worse} is rejected, {prompt} is their prompt")
    return None


def is_ranked(value: object) -> bool:
    """Whether this is a list of at least two answers with a rank each."""
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(one, dict) and isinstance(one.get("answer"), str) and "rank" in one for one in value)
    )


def _kto(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    label, answer = columns["label"], "messages" if "messages" in columns else "completion"
    if answer not in columns or (answer == "completion" and "prompt" not in columns):
        return None
    why = f"{columns[answer]} with {label}"
    if isinstance(parts["label"], bool) or parts["label"] is None:
        return f"{why}, true or false"
    return (
        f"{why}\n{label} is {_shown(parts['label'])} and not true or false: "
        "if it says whether the answer is wanted, name the format kto"
    )


def _turns(key: str, other: str) -> _Look:
    def look(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
        turns = parts["messages"]
        if isinstance(turns, str) and turns.lstrip().startswith("["):
            return (
                f"{columns['messages']} is JSON text of turns with {key} and {other}" if f'"{key}"' in turns else None
            )
        if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns) and key in turns[0]:
            return f"{columns['messages']} is a list of turns with {key} and {other}"
        return None

    return look


def _openai(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    turns, column = parts["messages"], columns["messages"]
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        if {"role", "from"}.isdisjoint(turns[0]) and (names := exchange_of(turns[0])):
            return f"{column} is a list of exchanges with {names[0]} and {names[1]}"
        if {"role", "from"}.isdisjoint(turns[0]) and is_chatml(turns[0].get("text")):
            return f"{column} is a list of turns written as ChatML, which are taken apart"
    # Text that may be turns is text, unless the user says otherwise.
    return (
        None if column.lower() == "text" and isinstance(turns, str) else _turns("role", "content")(parts, row, columns)
    )


def exchange_of(turn: Value) -> tuple[str, str] | None:
    """The keys of an object that is a question with its answer, as older conversations are written."""
    return next((pair for pair in _EXCHANGES if pair[0] in turn and pair[1] in turn), None)


def is_chatml(value: object) -> bool:
    """Whether this is text that a ChatML template has rendered."""
    return isinstance(value, str) and value.lstrip().startswith("<|im_start|>")


def _prompt_completion(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    prompt, completion = parts["prompt"], parts["completion"]
    if columns["prompt"].lower() == "input" and any(name.lower() == "instruction" for name in row):
        return None
    if not (_text_or_turns(prompt) and _text_or_turns(completion)):
        return None
    why = f"{columns['prompt']} and {columns['completion']}"
    if columns["completion"].lower() == "answer":
        return (
            f"{why}\n{columns['completion']} may be there to learn or to check against: name the format "
            "prompt_completion or prompt_only"
        )
    return why + _rivals(row, columns["completion"])


def _alpaca(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    if _text(parts["instruction"]) and _text(parts["output"]):
        return f"{columns['instruction']} and {columns['output']}" + _rivals(row, columns["output"])
    return None


def _qa(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    if _text(parts["question"]) and _text(parts["answer"]):
        return f"{columns['question']} and {columns['answer']}"
    return None


def _prompt_only(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    if columns["prompt"].lower() == "prompt" and _text_or_turns(parts["prompt"]):
        return "a prompt and no answer"
    return None


def _plain(parts: dict[str, Any], row: Value, columns: dict[str, str]) -> str | None:
    text = parts["text"]
    if _all(text, dict) and text and all({"text", "label"} <= piece.keys() for piece in text):
        return f"{columns['text']} is text in pieces, each with a label whether it is trained"
    if not _text(text):
        return None
    label = next((name for name in row if name.lower() in ("label", "labels", "class", "category")), None)
    if label is None:
        rendered = "; it holds rendered ChatML, which the format messages takes apart" if is_chatml(text) else ""
        return f"{columns['text']} is text{rendered}"
    return (
        f"{columns['text']} is text\n{label} makes this classification data: name the format text to train on the text"
    )


_LOOKS: tuple[tuple[FormatName, _Look], ...] = (
    ("tokenized", _tokenized),
    ("stepwise", _stepwise),
    ("hh_rlhf", _hh_rlhf),
    ("preference", _preference),
    ("kto", _kto),
    ("messages", _openai),
    ("sharegpt", _turns("from", "value")),
    ("alpaca", _alpaca),
    ("prompt_completion", _prompt_completion),
    ("qa", _qa),
    ("prompt_only", _prompt_only),
    ("text", _plain),
)


def _rivals(row: Value, answer: str) -> str:
    """A doubt when two columns could be the answer."""
    rival = next((name for name in row if name.lower() in _ANSWERS and name != answer and _text(row[name])), None)
    if rival is None or row[rival] is None:
        return ""
    return f"\n{answer} and {rival} could both be the answer: name the column, as in columns: {{output: {answer}}}"


def _text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _text_or_turns(value: object) -> bool:
    return _text(value) or _all(value, dict)


def _all(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= 30 else type(value).__name__
