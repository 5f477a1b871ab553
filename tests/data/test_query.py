"""Looking for rows finds what a person means, forwards, backwards and around the end."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuiwb import data
from tuiwb.base.errors import UsageFault
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.data.query import Condition, Query, find, matching, parse


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
        ("score>2e0", {1, 3}),
        ("score<1.0E+1 & score>=25e-1", {1, 3}),
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
            spy = Query("x", (Condition(lambda row, seen=seen: bool(seen.append(row.id))),))
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
        "/gamma|needle/",
        "/\\bgamma\\b/",
        "/(?i)GAMMA/",
        "/.*amma|é/",
        "/al/",
        "a",
    ],
)
def test_looking_through_bytes_finds_what_reading_rows_finds(view: data.View, text: str) -> None:
    query = parse(text, view.columns)
    assert matching(view, query).tolist() == matching(view, slow(query)).tolist()


EXPRESSIONS = (
    r"^a", r"b$", r"\ba", r"a\s", r"[\s,]b", r"\d\d", r"(?i)AB", r"a.b", r"[^a]b", r"a{2,3}", r"(?:a|1)+$", r"\w+\.",
    "é", r"a{,2}b", r"(?=a)b", r"\Sb", r"a\Z", r"-?0$", r"1e5|100000", r"^1\.50?$", r"\x1f", r"[^\w ]", "$", "^$",
    r"(a)\1", r"\b\d+\b", "[]a]",
)  # fmt: skip
"""Some that RE2 reads as Python does, and some that it reads otherwise or not at all."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.text('ab1.\n\x1f\x0b é\u212aK-"\\', max_size=6) | st.sampled_from([5, -0.0, 1.5, 1e5, True]),
        min_size=1,
    ),
    expression=st.sampled_from(EXPRESSIONS),
)
def test_expressions_find_what_python_finds(tmp_path: Path, texts: list[Any], expression: str) -> None:
    many = [{"a": text} for text in texts] * 300
    path = tmp_path / "rows.jsonl"
    odd = ['{"a": 1.50}', '{"a": -0}', '{"a":1E5}', '{"a": "\\u0061b"}']
    path.write_text("".join(json.dumps(row) + "\n" for row in many[:400]) + "\n".join(odd) + "\n")
    for typed, long in itertools.product((f"/{expression}/", f"a:/{expression}/"), (0, 600)):
        with data.open(path) as view, pytest.MonkeyPatch.context() as patch:
            patch.setattr("tuiwb.data.query._LONG_ROWS", long)
            query = parse(typed, ("a",))
            assert matching(view, query).tolist() == matching(view, slow(query)).tolist()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("ab1.\n\x1f é\u212aK-", max_size=6) | st.none(), min_size=1),
    numbers=st.lists(st.integers(-200, 200_000), min_size=1),
    expression=st.sampled_from([*EXPRESSIONS, r"a|b$", r"[$]", r"(a$|b)", "^a.*b$", "ab[1.]$"]),
)
def test_expressions_find_what_python_finds_in_tables(
    tmp_path: Path, texts: list[str | None], numbers: list[int], expression: str
) -> None:
    """Of ASCII texts no row is tested a second time there: what RE2 finds is what is found."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": texts * len(numbers), "n": numbers * len(texts)}), path, row_group_size=5)
    with data.open(path, name="text", columns={"text": "a"}) as view:
        query = parse(f"/{expression}/", ("a", "n"))
        assert matching(view, query).tolist() == matching(view, slow(query)).tolist()


def slow(query: Query) -> Query:
    """The same, without what lets rows be passed over."""
    return Query(query.text, tuple(Condition(one.test) for one in query.conditions))


WORDS = ("word", "e9", "nnew", "new", "12", "key", "Say", "true", "a, b", ":", "5", "3w", "- w")
TEXTS = st.lists(
    st.sampled_from(["word ", "Word", 'é"', "\\", "\n", "new\n", "e9", '": ', "12", "key", ", ", "\\u00e9", "5"])
).map("".join)
SCALARS = st.one_of(TEXTS, st.integers(-99, 1299), st.booleans(), st.none(), st.just(5.0))
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from(["key", "word 12", 'q"12']), SCALARS)
)
ANY_ROWS = st.lists(st.dictionaries(st.sampled_from(["key", "a", "12", "word"]), VALUES, max_size=3), min_size=1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ANY_ROWS, kind=st.sampled_from(["jsonl", "ascii.jsonl", "json", "csv", "txt", "parquet"]), data=st.data())
def test_any_rows_in_any_file(tmp_path: Path, rows: list[dict[str, Any]], kind: str, data: st.DataObject) -> None:
    view = data_of(tmp_path / f"rows.{kind}", rows * data.draw(st.sampled_from([1, 40])))
    columns = ("key", "a", "12", "word", "text")
    typed = ["a:word", "key>4", "12:12", "word & 12", "key>4 & word", "/word \\w/", "/wo[a-r]+d?/"]
    typed += [
        "/word|new/",
        "/\\bword\\b/",
        "/key|[a|b]9/",
        "/^word/",
        "/(?i)word/",
        "/(word|Say) /",
        "/5|e9|true/",
        "a:/or|e9/",
        "/[0-9]{2}/",
        "/[.]3+$/",
        "/^fals./",
        "/^$/",
        "/\\d\\d & word/",
        "/wor.*9/ & /[^a-z]/",
        "/[a-z]{4}/",
        "/^[a-z]+/",
        "/[, ]w/",
        "/[ -~]$/",
    ]
    wanted = data.draw(st.sampled_from([*WORDS, *typed]))
    query = parse(wanted, columns)
    assert matching(view, query).tolist() == matching(view, slow(query)).tolist()


def data_of(path: Path, rows: list[dict[str, Any]]) -> data.View:
    if path.suffix == ".jsonl":
        plain = "ascii" in path.name
        path.write_text("".join(json.dumps(row, ensure_ascii=plain) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    elif path.suffix == ".txt":
        path.write_text("start\n" + "\n".join(json.dumps(row) for row in rows))
    else:
        flat = [{name: str(row.get(name, "")) for name in ("key", "a", "12", "word")} for row in rows]
        if path.suffix == ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(flat[0]))
                writer.writeheader()
                writer.writerows(flat)
        else:
            nested = [
                {**one, "more": [{"deep": one["a"], "n": n}], "f": n / 3, "t": n % 2 == 0, "maybe": one["a"] or None}
                for n, one in enumerate(flat)
            ]
            pq.write_table(pa.Table.from_pylist(nested), path, row_group_size=7)
    return (
        data.open(path, name="text", columns={"text": "a"}) if path.suffix in (".parquet", ".csv") else data.open(path)
    )


def test_an_unreadable_row_is_looked_through_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two", broken\n{"text": "three"}\n' * 30)
    view = data.open(path)
    for rows in (30, 90):
        with path.open("a") as file:
            file.write('{"text": "none"}\n' * rows)
        assert len(matching(data.open(path), parse("two", ("text",)))) == 30
    assert matching(view, parse("text", ("text",))).tolist() == []


def test_what_cannot_be_looked_for(view: data.View) -> None:
    for text in ("", "  ", "/(/"):
        with pytest.raises(UsageFault):
            parse(text, view.columns)
    task = Task()
    task.cancel()
    with pytest.raises(Cancelled):
        find(view, parse("gamma", view.columns), 0, task=task)


@pytest.mark.parametrize("number", ["1E5", "1e-7", "0.00001", "1e16", "1.50", "-0", "12345678901234567890123", "12"])
@pytest.mark.parametrize("array", [False, True])
def test_a_number_is_found_as_it_is_shown(tmp_path: Path, number: str, array: bool) -> None:
    """However the file writes it, and not as the file writes it."""
    rows = [f'{{"a": {number}, "b": [{number}], "c": "x"}}', '{"a": "none", "b": [], "c": "y"}'] * 60
    path = tmp_path / ("rows.json" if array else "rows.jsonl")
    path.write_text(f"[{', '.join(rows)}]" if array else "".join(row + "\n" for row in rows))
    with data.open(path, name="text", columns={"text": "c"}) as view:
        shown = str(view.row(0).value["a"])
        for text in (shown, number, shown[:4], f"a:{shown}", f"a:{number}"):
            query = parse(text, ("a", "b", "c"))
            assert matching(view, query).tolist() == matching(view, slow(query)).tolist()
        assert len(matching(view, parse(shown, ("a", "b", "c")))) == 60


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("two", True), ("Two", False), ("/t[a-z]o/", True), ("/tw./", True), ("/(?:t|x)wo/", True),
        ("/\\btwo\\b/", True), ("/^two$/", True), ("/zwei/", False), ("é", True), ("text", False), ("/tex./", False),
        ("text:two", False), ("text:/two/", False), ("cut", False), ("/cut/", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("others", [0, 3, 300])
def test_one_rule_for_rows_that_cannot_be_parsed(tmp_path: Path, typed: str, found: bool, others: int) -> None:
    """Their texts that are whole are looked through, as they are written, by words and expressions alike; their keys
    are not, and they have no columns."""
    path = tmp_path / "rows.jsonl"
    broken = '{"text": "two", "more": "é", oops "cut\n'
    path.write_text((broken + '{"text": "none"}\n' * others) * 3)
    with data.open(path, name="text") as view:
        assert (len(matching(view, parse(typed, ("text",)))) == 3) is found
