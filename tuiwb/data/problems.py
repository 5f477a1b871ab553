"""What can be wrong with a dataset, how bad it is and what to do; and the tally that counts the cases.

`error`: the row cannot be trained on, or not as its author meant, and preparing leaves it out. `warning`: it can, but
probably should not. `note`: worth knowing.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]

EXAMPLES = 5
"""Cases of a problem that are kept to be shown."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`message` may hold `{detail}`, what is particular to a case."""

    severity: Severity
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    row: int | None
    line: int | None
    detail: str
    file: str | None = None
    """Name of the file, where a source has several."""

    def to_json(self) -> dict[str, Any]:
        file = {} if self.file is None else {"file": self.file}
        return {"row": self.row, "line": self.line, "detail": self.detail, **file}


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of fault: how many rows have it, where the first is (row from 0, line from 1) and what to do."""

    code: str
    severity: Severity
    count: int
    row: int | None
    line: int | None
    message: str
    fix: str
    examples: tuple[Case, ...]

    @property
    def file(self) -> str | None:
        """Name of the file of the first case, where the source has several."""
        return self.examples[0].file if self.examples else None

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "row": self.row,
            "line": self.line,
            **({} if self.file is None else {"file": self.file}),
            "message": self.message,
            "fix": self.fix,
            "examples": [case.to_json() for case in self.examples],
        }


RULES: dict[str, Rule] = {
    # The file
    "no_rows": Rule("error", "the file has no rows", "check the path; every line or element is one row"),
    "array_not_closed": Rule("error", "{detail}", "bring the file again; its last element may be cut in half"),
    "after_array": Rule("error", "{detail}", "make it one array, or one object a line"),
    "unknown_format": Rule("error", "{detail}", "name the format and, if need be, the columns"),
    # A row that cannot be read
    "broken_json": Rule("error", "not valid JSON ({detail})", "correct or delete the line"),
    "half_written": Rule("error", "the last row was never finished ({detail})", "delete it, or write the file again"),
    "invalid_utf8": Rule("error", "not valid UTF-8 ({detail})", "convert the file, as in iconv -f cp1252 -t utf-8"),
    "not_an_object": Rule("error", "the row is {detail} where an object is needed", "write it as {{column: value}}"),
    "row_too_long": Rule("error", "the row has {detail}", "check that the file has one row a line"),
    "broken_csv": Rule("error", "not a valid CSV record ({detail})", "close the quote; double one inside a field"),
    "csv_columns": Rule("error", "{detail}", "quote fields that hold the delimiter"),
    "file_changed": Rule("error", "{detail}", "open the file again"),
    "unreadable_file": Rule("error", "{detail}", "correct the file, or take it out of the folder"),
    "stray_file": Rule("note", "{detail} is no data file and was not read", "take it out of the folder"),
    # What people did to rows
    "left_out": Rule("note", "left out: {detail}", "accept the row to train on it"),
    "stale_edit": Rule("warning", "{detail}", "look at the row, and edit it again"),
    "broken_journal": Rule("warning", "{detail}", "nothing but these changes is lost; make them again"),
    # A row that is no example of the format
    "other_format": Rule("error", "{detail}", "put these rows into a file of their own"),
    "missing_column": Rule("error", "the row has no {detail}", "fill the column, or delete the row"),
    "wrong_type": Rule("error", "{detail}", "correct the value, or delete the row"),
    "bad_label": Rule("error", "{detail}", "write true for a wanted and false for an unwanted answer"),
    "no_turns": Rule("error", "the conversation has no turns", "delete the row"),
    "no_answer_turn": Rule("error", "the last turn is {detail} and not the assistant's", "delete that turn"),
    "no_prompt": Rule("error", "nothing says what the two answers reply to", "name the column: {{prompt: COLUMN}}"),
    "different_prompts": Rule("error", "chosen and rejected begin with different prompts", "delete the row"),
    "cannot_convert": Rule("error", "{detail}", "choose another format"),
    # An example that should not be trained on
    "no_assistant": Rule("error", "no assistant turn, nothing would be trained", "delete the row"),
    "nothing_trained": Rule("error", "every turn is switched off, nothing would be trained", "delete the row"),
    "empty_answer": Rule("error", "the answer is empty", "write one, or delete the row"),
    "empty_turn": Rule("warning", "the {detail} turn is empty", "write it, or delete the row"),
    "empty_prompt": Rule("warning", "the prompt is empty", "write one, or delete the row"),
    "empty_text": Rule("error", "the text is empty", "delete the row"),
    "chosen_equals_rejected": Rule("error", "chosen equals rejected", "delete the row"),
    "role_order": Rule("warning", "{detail}", "merge the turns, or delete the row"),
    "unknown_role": Rule("warning", 'unknown role "{detail}"', "rename it: system, user, assistant or tool"),
    "parts_ignored": Rule("warning", "{detail} ignored, only text is trained", "use a text version of the data"),
    "broken_arguments": Rule("warning", "{detail} are not valid JSON", "correct them; templates expect an object"),
    "partial_weight": Rule("warning", "{detail} is taken as yes", "use 0 or 1, true or false"),
    # What `lint` finds suspicious
    "refusal": Rule("warning", 'the answer refuses ("{detail}")', "delete the row, unless the model is to refuse"),
    "truncated_answer": Rule("warning", 'the answer seems cut off ("{detail}")', "finish it, or delete the row"),
    "open_fence": Rule("warning", "a code block of the answer is not closed", "close it with ```, or delete the row"),
    "missing_value": Rule("warning", 'the answer is "{detail}"', "it stands for a missing value: delete the row"),
    "prompt_in_answer": Rule("warning", "the answer begins with its prompt", "cut the prompt off the answer"),
    "repeated_turn": Rule("warning", "the same {detail} turn is there twice", "delete one of them"),
    "template_artefact": Rule("warning", "{detail} stands in the text", "take it out: the chat template writes it"),
    "control_characters": Rule("warning", "the text holds the control character {detail}", "take it out"),
    "bidi_characters": Rule("warning", "{detail} changes the direction of the text", "take it out"),
    "hidden_characters": Rule("note", "the text holds the invisible character {detail}", "take it out"),
    "mojibake": Rule("warning", 'text was read in a wrong encoding ("{detail}")', "write the file again as UTF-8"),
    "over_long": Rule("note", "the example has {detail} characters", "split it, or see what max_length cuts off"),
    "unrenderable": Rule("error", "the chat template refuses the row: {detail}", "correct it, or use another template"),
    "cut_off": Rule("warning", "{detail} tokens are cut off at max_length", "raise max_length, or split the row"),
    # The whole
    "duplicate": Rule("warning", "{detail}", "tuiwb data dedup leaves one of each"),
    "few_examples": Rule("note", "{detail}", "bring more, or train few epochs with a small learning rate"),
    # Columns
    "mixed_types": Rule("warning", "{detail}", "make them one type"),
}


class Tally:
    """Counts cases by code and keeps the first few of each."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._cases: dict[str, list[Case]] = {}

    def add(self, code: str, detail: str = "", row: int | None = None, line: int | None = None, count: int = 1) -> None:
        self._counts[code] = self._counts.get(code, 0) + count
        cases = self._cases.setdefault(code, [])
        if len(cases) < EXAMPLES:
            cases.append(Case(row, line, detail))

    def merge(self, other: "Tally") -> None:
        """Add the cases of rows that follow."""
        for code, number in other._counts.items():
            self._counts[code] = self._counts.get(code, 0) + number
            self._cases[code] = [*self._cases.get(code, ()), *other._cases[code]][:EXAMPLES]

    def to_json(self) -> dict[str, Any]:
        return {code: [number, [case.to_json() for case in self._cases[code]]] for code, number in self._counts.items()}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Tally":
        found = cls()
        for code, (number, cases) in document.items():
            found._counts[code] = number
            found._cases[code] = [Case(**case) for case in cases]
        return found

    @staticmethod
    def is_error(code: str) -> bool:
        return RULES[code].severity == "error"

    def problems(self) -> tuple[Problem, ...]:
        """The worst first, then the most frequent."""
        order = ("error", "warning", "note")
        found = [self._problem(code) for code in self._counts]
        return tuple(sorted(found, key=lambda p: (order.index(p.severity), -p.count)))

    def _problem(self, code: str) -> Problem:
        rule, first = RULES[code], self._cases[code][0]
        return Problem(
            code=code,
            severity=rule.severity,
            count=self._counts[code],
            row=first.row,
            line=first.line,
            message=rule.message.format(detail=first.detail),
            fix=rule.fix.format(),
            examples=tuple(self._cases[code]),
        )


def nearest(word: str, names: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing."""
    close = difflib.get_close_matches(word, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
