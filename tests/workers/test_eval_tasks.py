"""The eval worker and lm-eval's tasks: the scores are lm-eval's own, to the last digit.

They run where the extra `eval` is installed. Tasks whose data lies beside their file are measured; of those on the hub,
what is said when it cannot be reached.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "chat"))
sys.path.insert(0, str(Path(__file__).parent.parent / "endpoints"))
pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'tuiwb[eval]'")

from adapter import make_adapter
from test_eval_more import write_rows
from test_eval_worker import result_of, run_of, subjects, work

from tuiwb import evaluate, rundir
from tuiwb.evaluate import Spec
from tuiwb.evaluate.report import records_file

pytestmark = pytest.mark.torch
CAPITALS = [("France", "Paris"), ("Japan", "Tokyo"), ("Peru", "Lima"), ("Kenya", "Nairobi"), ("Cuba", "Havana")]
CHOICE = (
    "task: capitals\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\n"
    "output_type: multiple_choice\ndoc_to_text: 'The capital of {{country}} is'\ndoc_to_choice: '{{names}}'\n"
    "doc_to_target: right\nmetric_list:\n  - metric: acc\n  - metric: acc_norm\n"
)
SAID = (
    "task: said\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\n"
    "output_type: generate_until\ndoc_to_text: 'Say a letter of {{country}}.'\ndoc_to_target: 'e'\n"
    "generation_kwargs: {until: ['.'], max_gen_toks: 6, do_sample: false}\n"
    "metric_list:\n  - metric: exact_match\n    aggregation: mean\n    higher_is_better: true\n"
    "filter_list:\n  - name: letter\n    filter:\n      - function: regex\n        regex_pattern: '(e)'\n"
    "      - function: take_first\n  - name: first\n    filter:\n      - function: take_first\n"
)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "tuned", tiny_model)


def task_file(folder: Path, text: str) -> Path:
    """A task in a file of one's own, with its data beside it."""
    folder.mkdir()
    names = [name for _, name in CAPITALS]
    rows = ({"country": country, "names": names, "right": number} for number, (country, _) in enumerate(CAPITALS))
    write_rows(folder / "rows.jsonl", *rows)
    file = folder / "task.yaml"
    file.write_text(text)
    return file


def theirs(file: Path, name: str, model_folder: Path, adapter: Path | None, *, template: bool) -> dict[str, Any]:
    """What lm-eval itself finds."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    found: dict[str, Any] = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(model_folder), batch_size=2),
        tasks=[name],
        task_manager=TaskManager(include_path=str(file.parent), include_defaults=False),
        apply_chat_template=template,
    )["results"][name]
    return found


@pytest.mark.parametrize(
    ("text", "template"), [(CHOICE, True), (CHOICE, False), (SAID, True)], ids=["choice", "plain", "answers"]
)
def test_tasks_have_the_scores_of_lm_eval(
    text: str, template: bool, tmp_path: Path, adapter: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = task_file(tmp_path / "own", text)
    name = text.partition("\n")[0].removeprefix("task: ")
    spec = Spec(subjects=subjects(adapter), tasks=(str(file),), task_template=template, dtype="float32", batch_size=2)
    run = run_of(tmp_path / "run", spec)
    assert work(run) == 0, result_of(run)
    report = evaluate.read_report(run)
    found = {each["metric"]: each for each in report["results"]}
    monkeypatch.chdir(file.parent)
    for subject, folder in (("base", None), ("tuned", adapter)):
        expected = theirs(file, name, tiny_model, folder, template=template)
        wanted = {key for key in expected if "," in key and "_stderr" not in key}
        assert set(found) == wanted
        assert {metric: each["values"][subject]["value"] for metric, each in found.items()} == {
            metric: expected[metric] for metric in wanted
        }
    assert all(each["values"]["tuned"]["rows"] == each["differences"]["tuned"]["rows"] == 5 for each in found.values())
    worst = evaluate.cases(spec, rundir.read_all(records_file(run)), next(iter(found)))
    assert len(worst) == 5
    assert ("The capital of" if name == "capitals" else "Say a letter") in worst[0]["question"]
    progress = rundir.read_all(run.part(1, "eval").metrics_file)
    assert result_of(run)["step"] == progress[-1]["total_steps"] == 2  # a task of a subject is a step
    assert all(line["current_steps"] <= line["total_steps"] for line in progress)
    assert work(run) == 0  # nothing is measured twice
    assert len(rundir.read_all(records_file(run))) == report["records"]


def test_a_task_ends_where_somebody_wants_it_to(tmp_path: Path, adapter: Path) -> None:
    file = task_file(tmp_path / "own", CHOICE)
    run = run_of(tmp_path / "run", Spec(subjects=subjects(adapter), tasks=(str(file),), dtype="float32"))
    asked = rundir.request(run, "stop")
    assert work(run) == 0
    assert rundir.acknowledgement(run, asked) is not None
    assert not rundir.read_all(records_file(run))  # it was in the middle of the first
    assert work(run) == 0
    assert (result_of(run)["outcome"], result_of(run)["step"]) == ("finished", 2)


def test_a_task_that_is_none_is_one_sentence(tmp_path: Path, adapter: Path) -> None:
    run = run_of(tmp_path / "run", Spec(subjects=subjects(adapter), tasks=("no_such_task",), dtype="float32"))
    assert work(run) == 5
    assert result_of(run)["message"] == "--task: lm-eval knows no task `no_such_task`"


def test_a_task_on_the_hub_that_cannot_be_reached_is_one_sentence(
    tmp_path: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    run = run_of(tmp_path / "run", Spec(subjects=subjects(adapter), tasks=("arc_easy",), dtype="float32"))
    assert work(run) == 5
    message = result_of(run)["message"]
    assert message.startswith("the data of arc_easy cannot be had: ")
    assert "\n" not in message
