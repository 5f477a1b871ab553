"""The eval worker: what lm-eval's tasks need, code in the sandbox, questions in turns with a judge's marks."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "chat"))
sys.path.insert(0, str(Path(__file__).parent.parent / "endpoints"))
from adapter import make_adapter
from fake_server import DONE, Request, event, serving
from test_eval_worker import result_of, run_of, subjects, work

from tuiwb import evaluate, rundir
from tuiwb.base.errors import InputFault
from tuiwb.evaluate import Dataset, Spec, Subject
from tuiwb.evaluate.report import records_file

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "tuned", tiny_model)


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_tasks_need_the_package_and_a_model(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    whole = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "lm_eval" else whole(name, *rest)
    )
    with pytest.raises(InputFault, match=r"needs the package lm-eval: pip install 'tuiwb\[eval\]'"):
        Spec(subjects=subjects(adapter), tasks=("arc_easy",)).check()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: True)
    with pytest.raises(InputFault, match="an endpoint tells no likelihoods"):
        Spec(subjects=(Subject(name="far"),), tasks=("arc_easy",)).check()


def test_code_counts_where_its_tests_pass(tmp_path: Path) -> None:
    right = "Here you are:\n```python\ndef double(x):\n    return 2 * x\n```"
    answers = [right, "```python\ndef double(x):\n    return x\n```", "while True: pass", right]
    data = write_rows(
        tmp_path / "code.jsonl",
        *({"prompt": [{"role": "user", "content": f"{n} double"}], "tests": "assert double(4) == 8"} for n in range(3)),
        {"prompt": [{"role": "user", "content": "3 double"}], "tests": "def check(f):\n    assert f(4) == 8",
         "entry_point": "double"},
        {"prompt": [{"role": "user", "content": "0 without tests"}]},
    )  # fmt: skip

    def script(request: Request) -> None:
        number = int(request.body["messages"][-1]["content"].split()[0])
        request.stream(event(answers[number]), event(finish="stop"), DONE)

    with serving(script) as server:
        far = (Subject(name=f"{server.url}#m"),)
        spec = Spec(subjects=far, datasets=(Dataset(path=str(data), name="code"),), metrics=("code",))
        run = run_of(tmp_path / "run", spec)
        assert work(run) == 0, result_of(run)
    (found,) = evaluate.read_report(run)["results"]
    assert (found["metric"], found["values"][far[0].name]["value"]) == ("code", 0.5)
    how = {r["row"]: r["how"] for r in rundir.read_all(records_file(run)) if r["kind"] == "code"}
    assert how == {0: "", 1: "AssertionError", 2: "not done after 10 s", 3: ""}
    progress = rundir.read_all(run.part(1, "eval").metrics_file)
    assert result_of(run)["step"] == progress[-1]["total_steps"] == 5 + 4  # answers, and code that has tests


def test_turns_are_asked_one_after_the_other_and_marked(tmp_path: Path) -> None:
    turns = [{"question_id": n, "turns": [f"Say {n}.", "Again."], "reference": ["yes"]} for n in range(3)]
    data = write_rows(tmp_path / "bench.jsonl", *turns)
    judged: list[str] = []

    def script(request: Request) -> None:
        messages = request.body["messages"]
        said = f"answer {len(messages)} to {messages[0]['content']}"
        if request.body["model"] == "judge":
            judged.append(messages[1]["content"])
            said = (
                "bananas" if "Say 2." in judged[-1] else "no [[11]] fine [[8]]" if "Again." in judged[-1] else "[[4]]"
            )
        request.stream(event(said), event(finish="stop"), DONE)

    with serving(script) as server:
        far = Subject(name=f"{server.url}#m")
        spec = Spec(
            subjects=(far,), datasets=(Dataset(path=str(data), name="bench", turns=True),),
            metrics=("mt_bench",), judge=f"{server.url}#judge",
        )  # fmt: skip
        spec.check()
        run = run_of(tmp_path / "run", spec)
        assert work(run) == 0, result_of(run)
    found = {each["metric"]: each["values"][far.name] for each in evaluate.read_report(run)["results"]}
    assert {name: (each["value"], each["rows"]) for name, each in found.items()} == {
        "mt_bench": (6.0, 2), "mt_bench_turn_1": (4.0, 2), "mt_bench_turn_2": (8.0, 2),
    }  # fmt: skip
    second = next(each for each in judged if "Say 0." in each and "Again." in each)
    assert "answer 1 to Say 0." in second
    assert "answer 3 to Say 0." in second  # it was asked with the turn before
    assert "<right_answer>" not in second
    assert sum("<right_answer>\nyes" in each for each in judged) == 2 + 2  # row 2 is asked twice
    assert result_of(run)["step"] == len(rundir.read_all(records_file(run))) == 3 * 2 * 2


def test_turns_need_a_judge(adapter: Path) -> None:
    rows = (Dataset(path="/d", name="d", turns=True),)
    with pytest.raises(InputFault, match="mt_bench needs --judge"):
        Spec(subjects=subjects(adapter), datasets=rows, metrics=("mt_bench",)).check()
    with pytest.raises(InputFault, match="are measured with the metric mt_bench"):
        Spec(subjects=subjects(adapter), datasets=rows, metrics=("loss",)).check()
