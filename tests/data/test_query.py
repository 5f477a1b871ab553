"""Looking for rows finds what a person means, forwards, backwards and around the end."""

import json
from pathlib import Path

import pytest

from tuiwb import data
from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.data.query import find, matching, parse


@pytest.fixture
def view(tmp_path: Path) -> data.View:
    rows = [
        {"text": "Alpha beta", "score": 1, "tags": ["x"]},
        {"text": "gamma", "score": 2.5, "tags": [{"deep": "Needle"}]},
        {"text": "beta: 50 % [off]", "score": None, "tags": []},
        {"text": "delta", "score": "7", "tags": ["x", True]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(rows[n % 4]) for n in range(1500)) + "\n")
    return data.open(path)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("beta", {0, 2}),
        ("Beta", set()),
        ("Alpha", {0}),
        ("needle", {1}),
        ("[off]", {2}),
        ("/^[ab]/", {2}),
        ("/(?i)^alpha/", {0}),
        ("text:beta", {0, 2}),
        ("tags:beta", set()),
        ("text:/a$/", {0, 1, 3}),
        ("beta: 50", {2}),
        ("score>2", {1, 3}),
        ("score<=1", {0}),
        ("score=7", {3}),
        ("true", {3}),
        ("other>1", set()),
    ],
)
def test_what_is_typed(view: data.View, text: str, rows: set[int]) -> None:
    found = matching(view, parse(text, view.columns))
    assert set(found.tolist()) == {number for number in range(1500) if number % 4 in rows}


@pytest.mark.parametrize(
    ("start", "backwards", "found"),
    [(0, False, 1), (2, False, 5), (1498, False, 1), (1498, True, 1497), (0, True, 1497)],
)
def test_the_next_and_the_one_before(view: data.View, start: int, backwards: bool, found: int) -> None:
    assert find(view, parse("gamma", view.columns), start, backwards=backwards) == found


def test_every_row_is_looked_at_once(view: data.View) -> None:
    for start in (0, 1, 700, 1499):
        for backwards in (False, True):
            seen: list[int] = []
            query = parse("x", ())
            spy = type(query)("x", lambda row, seen=seen: bool(seen.append(row.id)))
            assert find(view, spy, start, backwards=backwards) is None
            assert sorted(seen) == list(range(1500))


@pytest.mark.parametrize(
    "text",
    [
        "gamma",
        "GAMMA",
        "Alpha beta",
        "beta: 50",
        "text:needle",
        "é",
        "/gamm?a/",
        "/Alpha b/",
        "/gamma*|x/",
        "/al/",
        "a",
    ],
)
def test_looking_through_bytes_finds_what_reading_rows_finds(view: data.View, text: str) -> None:
    query = parse(text, view.columns)
    slow = type(query)(query.text, query.test)
    assert matching(view, query).tolist() == matching(view, slow).tolist()


def test_what_cannot_be_looked_for(view: data.View) -> None:
    for text in ("", "  ", "/(/"):
        with pytest.raises(UsageFault):
            parse(text, view.columns)
    task = Task()
    task.cancel()
    with pytest.raises(Cancelled):
        find(view, parse("gamma", view.columns), 0, task=task)
