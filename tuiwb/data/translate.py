"""From a row to the canonical `Example`, one function a format."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tuiwb.data.example import Example, Message, Turns
from tuiwb.data.formats import FORMATS, FormatName, is_ranked
from tuiwb.data.rows import Row
from tuiwb.data.turns import BadRow, Notes, from_json, messages, tools, type_name, with_system

# What alpaca files write for "no input".
_NO_INPUT = re.compile(r"^[\[(<]?(no ?input|n/?a|none)[\])>.]?$", re.IGNORECASE)
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")


class _Cells:
    """The cells of a row by part."""

    def __init__(self, row: Row, name: FormatName, columns: Mapping[str, str]) -> None:
        self.id = row.id
        self.notes: Notes = []
        self._value = row.value
        self._columns = columns
        if len(row.value) > len(columns):
            self._columns = self._with_late_columns(name)

    def _with_late_columns(self, name: FormatName) -> Mapping[str, str]:
        """A column that no sampled row had, such as `tools`, plays its part all the same."""
        found: dict[str, str] = {}
        used = set(self._columns.values())
        for part, aliases in FORMATS[name].optional.items():
            if part not in self._columns:
                column = next((alias for alias in aliases if alias in self._value and alias not in used), None)
                if column is not None:
                    found[part] = column
                    used.add(column)
        return {**self._columns, **found} if found else self._columns

    def has(self, part: str) -> bool:
        return self.get(part) is not None

    def get(self, part: str) -> Any:
        column = self._columns.get(part)
        return None if column is None else self._value.get(column)

    def name(self, part: str) -> str:
        return self._columns.get(part, part)

    def text(self, part: str) -> str:
        """The cell's text; nothing there is the empty text.

        Raises:
            BadRow: the column is missing, or holds something else.
        """
        column = self._columns.get(part)
        if column is None or column not in self._value:
            raise BadRow("missing_column", column or part)
        value = self._value[column]
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadRow("wrong_type", f"{column} is {type_name(value)} where text is needed")
        return value

    def optional_text(self, part: str) -> str:
        return self.text(part) if self.has(part) else ""

    def turns(self, part: str) -> list[Message]:
        column = self._columns.get(part)
        if column is None or self._value.get(column) is None:
            raise BadRow("missing_column", column or part)
        return messages(self._value[column], self.notes, column)

    def text_or_turns(self, part: str) -> Turns:
        """Text as it stands, unless it is JSON of turns."""
        value = self.get(part)
        if isinstance(value, str) and re.match(r'\s*\[\s*\{\s*"(role|from|content|value)"', value):
            return self.turns(part)
        return self.turns(part) if isinstance(value, (list, dict)) else self.text(part)

    def tools(self) -> list[dict[str, Any]] | None:
        return tools(self.get("tools"), self.notes)

    def rest(self) -> dict[str, Any]:
        used = set(self._columns.values())
        return {name: value for name, value in self._value.items() if name not in used}

    def example(self, **fields: Any) -> Example:
        return Example(id=self.id, extra=self.rest(), notes=tuple(self.notes), **fields)


def to_example(row: Row, name: FormatName, columns: Mapping[str, str]) -> Example:
    """Translate a row.

    Args:
        name: the format.
        columns: part to column, as `Detection.columns` has it.

    Raises:
        BadRow: the row cannot be read, or is no example of this format.
    """
    if row.fault:
        raise BadRow(row.fault.code, row.fault.message)
    return _TRANSLATORS[name](_Cells(row, name, columns))


def _alpaca(cells: _Cells) -> Example:
    turns: list[Message] = []
    for pair in cells.get("history") or ():
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(side, str) for side in pair)):
            raise BadRow("wrong_type", f"{cells.name('history')} holds something else than pairs of texts")
        turns += _exchange(pair[0], pair[1])
    turns += _exchange(_instruction(cells, "instruction"), cells.text("output"))
    return cells.example(messages=with_system(turns, cells.get("system")))


def _conversation(cells: _Cells) -> Example:
    turns = cells.turns("messages")
    if not turns:
        raise BadRow("no_turns")
    # Some tools hang the functions on the system turn.
    hung = turns[0].pop("tools", None) if turns[0]["role"] == "system" else None
    schemas = cells.tools() or tools(hung, cells.notes)
    return cells.example(messages=with_system(turns, cells.get("system")), tools=schemas)


def _prompt_completion(cells: _Cells) -> Example:
    prompt, completion = cells.text_or_turns("prompt"), cells.text_or_turns("completion")
    return cells.example(**_pair(prompt, "completion", completion, cells), tools=cells.tools())


def _preference(cells: _Cells) -> Example:
    if is_ranked(cells.get("chosen")):
        return _ranked(cells)
    chosen, rejected = cells.text_or_turns("chosen"), cells.text_or_turns("rejected")
    schemas = cells.tools()
    if isinstance(chosen, list) and isinstance(rejected, str) and len(chosen) > 1 and chosen[-1]["role"] == "assistant":
        rejected = [*chosen[:-1], _answer(rejected)]  # the other end of the same dialogue
    if isinstance(chosen, list) and isinstance(rejected, list):
        prompt = _prompt_turns(cells)
        if not prompt or (len(chosen) > 1 and chosen[0]["role"] in ("system", "user")):
            # Both are whole dialogues: what they share is the prompt.
            prompt, chosen, rejected = _split_shared(chosen, rejected)
        return cells.example(prompt=prompt, chosen=chosen, rejected=rejected, tools=schemas)
    if isinstance(chosen, list) or isinstance(rejected, list):
        raise BadRow("wrong_type", f"of {cells.name('chosen')} and {cells.name('rejected')} one is text, one is turns")
    if not cells.has("prompt"):
        raise BadRow("no_prompt")
    prompt_cell = cells.text_or_turns("prompt")
    turns = isinstance(prompt_cell, list) or cells.has("input") or cells.name("prompt").lower() == "instruction"
    if not turns and not cells.has("system"):
        return cells.example(prompt=prompt_cell, chosen=chosen, rejected=rejected, tools=schemas)
    return cells.example(
        prompt=_prompt_turns(cells), chosen=[_answer(chosen)], rejected=[_answer(rejected)], tools=schemas
    )


def _ranked(cells: _Cells) -> Example:
    """The best and the last of ranked answers."""
    ordered = sorted(cells.get("chosen"), key=lambda one: _rank(one["rank"], cells.name("chosen")))
    prompt = cells.text_or_turns("prompt")
    if isinstance(prompt, str) and _HH_TURN.search(prompt):
        turns = _hh_turns(prompt)
        prompt = turns[:-1] if turns[-1] == _answer("") else turns
    elif isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    best, last = (_answer(one["answer"]) for one in (ordered[0], ordered[-1]))
    return cells.example(prompt=with_system(prompt, cells.get("system")), chosen=[best], rejected=[last])


def _rank(value: object, column: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise BadRow("wrong_type", f"{column} holds a rank that is no number")


def _hh_rlhf(cells: _Cells) -> Example:
    chosen, rejected = (_hh_turns(cells.text(side)) for side in ("chosen", "rejected"))
    prompt, chosen, rejected = _split_shared(chosen, rejected)
    return cells.example(prompt=prompt, chosen=chosen, rejected=rejected)


def _kto(cells: _Cells) -> Example:
    label = _label(cells.get("label"), cells.name("label"))
    schemas = cells.tools()
    if cells.has("messages"):
        turns = with_system(cells.turns("messages"), cells.get("system"))
        if not turns:
            raise BadRow("no_turns")
        if turns[-1]["role"] != "assistant":
            raise BadRow("no_answer_turn", turns[-1]["role"])
        return cells.example(prompt=turns[:-1], completion=turns[-1:], label=label, tools=schemas)
    prompt: Turns = cells.text_or_turns("prompt")
    if cells.has("input") or cells.name("prompt").lower() == "instruction":
        prompt = _prompt_turns(cells)
    pair = _pair(prompt, "completion", cells.text_or_turns("completion"), cells)
    return cells.example(**pair, label=label, tools=schemas)


def _stepwise(cells: _Cells) -> Example:
    texts, right = _list(cells, "completions"), _list(cells, "labels")
    if len(texts) != len(right):
        raise BadRow("wrong_type", f"{len(texts)} steps and {len(right)} labels")
    labels = [_label(label, cells.name("labels")) for label in right]
    if not all(isinstance(text, str) for text in texts):
        raise BadRow("wrong_type", f"{cells.name('completions')} holds something else than texts")
    return cells.example(prompt=cells.text("prompt"), steps=list(zip(texts, labels, strict=True)))


def _qa(cells: _Cells) -> Example:
    question = cells.text("question")
    if context := cells.optional_text("context"):
        question = f"{context}\n\n{question}"
    return cells.example(messages=with_system(_exchange(question, cells.text("answer")), cells.get("system")))


def _prompt_only(cells: _Cells) -> Example:
    prompt = cells.text_or_turns("prompt")
    if cells.has("system") and isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    return cells.example(
        prompt=prompt if isinstance(prompt, str) else with_system(prompt, cells.get("system")), tools=cells.tools()
    )


def _text(cells: _Cells) -> Example:
    pieces = cells.get("text")
    if not isinstance(pieces, list):
        return cells.example(text=cells.text("text"))
    segments: list[tuple[str, bool]] = []
    for piece in pieces:
        text, label = (piece.get("text"), piece.get("label")) if isinstance(piece, dict) else (None, None)
        if not isinstance(text, str):
            raise BadRow("wrong_type", f"{cells.name('text')} holds something else than pieces with text and label")
        segments.append((text, _label(label, "label")))
    return cells.example(text="".join(text for text, _ in segments), segments=segments)


def _tokenized(cells: _Cells) -> Example:
    ids = _list(cells, "input_ids")
    labels = _list(cells, "labels") if cells.has("labels") else None
    if not all(type(number) is int for number in (*ids, *(labels or ()))):
        raise BadRow("wrong_type", "input_ids and labels hold something else than whole numbers")
    if labels is not None and len(labels) != len(ids):
        raise BadRow("wrong_type", f"{len(ids)} input_ids and {len(labels)} labels")
    return cells.example(input_ids=ids, labels=labels)


_TRANSLATORS: dict[FormatName, Callable[[_Cells], Example]] = {
    "alpaca": _alpaca,
    "sharegpt": _conversation,
    "messages": _conversation,
    "prompt_completion": _prompt_completion,
    "preference": _preference,
    "hh_rlhf": _hh_rlhf,
    "kto": _kto,
    "stepwise": _stepwise,
    "qa": _qa,
    "prompt_only": _prompt_only,
    "text": _text,
    "tokenized": _tokenized,
}


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _exchange(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, _answer(answer)]


def _instruction(cells: _Cells, part: str) -> str:
    """Instruction and input as one text, a line break between them."""
    instruction, given = cells.text(part), cells.optional_text("input")
    if not given or _NO_INPUT.match(given.strip()):
        return instruction
    return f"{instruction}\n{given}" if instruction else given


def _prompt_turns(cells: _Cells) -> list[Message]:
    """The prompt as turns; empty where the row has none."""
    if not cells.has("prompt"):
        return []
    prompt = cells.text_or_turns("prompt")
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": _instruction(cells, "prompt")}]
    return with_system(prompt, cells.get("system"))


def _pair(prompt: Turns, part: str, answer: Turns, cells: _Cells) -> dict[str, Turns]:
    """Prompt and answer, both text or both turns."""
    if isinstance(prompt, str) and isinstance(answer, str) and not cells.has("system"):
        return {"prompt": prompt, part: answer}
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return {
        "prompt": with_system(turns, cells.get("system")),
        part: [_answer(answer)] if isinstance(answer, str) else answer,
    }


def _split_shared(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Two dialogues as the turns that they share and what each goes on with, at least one turn each."""
    for turns in (chosen, rejected):
        if not turns:
            raise BadRow("no_turns")
        if turns[-1]["role"] != "assistant":
            raise BadRow("no_answer_turn", turns[-1]["role"])
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    if not shared:
        raise BadRow("no_prompt" if chosen[0]["role"] == "assistant" else "different_prompts")
    # The answer begins with the assistant: two different last questions are two prompts.
    if chosen[shared]["role"] != "assistant" or rejected[shared]["role"] != "assistant":
        raise BadRow("different_prompts")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _hh_turns(text: str) -> list[Message]:
    """`\\n\\nHuman: …\\n\\nAssistant: …` as turns."""
    start, *pieces = _HH_TURN.split(text)
    if start.strip() or not pieces:
        raise BadRow("wrong_type", "the dialogue does not begin with Human: or Assistant:")
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[speaker], "content": said.strip()}
        for speaker, said in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def _label(value: object, column: str) -> bool:
    words = {"true": True, "false": False, "1": True, "0": False, "desirable": True, "undesirable": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    shown = f'"{value[:30]}"' if isinstance(value, str) else type_name(value) if value is None else str(value)[:30]
    raise BadRow("bad_label", f"{column} must be true or false, and is {shown}")


def _list(cells: _Cells, part: str) -> list[Any]:
    value = cells.get(part)
    if isinstance(value, str):
        value = from_json(value, cells.name(part), "a list")
    if not isinstance(value, list):
        raise BadRow(
            "missing_column" if value is None else "wrong_type",
            cells.name(part) if value is None else f"{cells.name(part)} is {type_name(value)} where a list is needed",
        )
    return value
