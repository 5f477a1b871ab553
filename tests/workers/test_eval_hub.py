"""lm-eval's own tasks, whose data lies on a hub: brought once, then read from the cache, and scored as lm-eval does.

The hub is a stand-in on the loopback interface that speaks its HTTP; task definitions, `datasets` and lm-eval are real.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "chat"))
sys.path.insert(0, str(Path(__file__).parent.parent / "endpoints"))
sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'tuiwb[eval]'")

from adapter import make_adapter
from fake_hub import Hub, serving
from test_eval_worker import result_of, run_of, subjects

from tuiwb import evaluate
from tuiwb.evaluate import Spec

pytestmark = [pytest.mark.torch, pytest.mark.slow]
NOBODY = "http://127.0.0.1:9"
TASKS = ("sciq", "copa", "nq_open")
"""Choices by template, choices by the task's own functions, and answers that are generated after five examples."""
SCIQ = [
    ("Which gas do plants take in?", "carbon dioxide", ("oxygen", "helium", "argon")),
    ("Which organ pumps blood?", "heart", ("lung", "liver", "skin")),
    ("How many legs has a spider?", "eight", ("six", "four", "ten")),
]
COPA = [
    ("The man turned on the faucet.", "The toilet filled with water.", "Water flowed from the spout.", 1),
    ("The woman retired.", "She received her pension.", "She paid off her mortgage.", 0),
]
NQ = [(f"what comes after {number}", str(number + 1)) for number in range(6)]
THEIRS = """
import json, sys
import lm_eval
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, adapter, *tasks = sys.argv[1:]
found, tokenizer = {}, AutoTokenizer.from_pretrained(folder)
for name in ("base", "tuned"):
    model = AutoModelForCausalLM.from_pretrained(folder)
    if name == "tuned":
        model = PeftModel.from_pretrained(model, adapter)
    model = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2)
    found[name] = lm_eval.simple_evaluate(model=model, tasks=tasks, apply_chat_template=True)["results"]
print(json.dumps(found, default=str))
"""


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    written = io.BytesIO()
    write_table(pyarrow.Table.from_pylist(rows), written)
    return written.getvalue()


def files(folder: str, rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """A dataset as the hub's own converter lays it down, with a card that names its configuration."""
    splits = ("train", "validation", "test")
    card = "---\nconfigs:\n- config_name: " + folder + "\n  data_files:\n"
    card += "".join(f"  - split: {split}\n    path: {folder}/{split}-*\n" for split in splits) + "---\n"
    parts = {f"{folder}/{split}-00000-of-00001.parquet": parquet(rows) for split in splits}
    return {"README.md": card.encode(), **parts}


def hub() -> Hub:
    sciq = [
        {"question": question, "correct_answer": right, "support": "",
         **{f"distractor{number}": wrong for number, wrong in enumerate(others, 1)}}
        for question, right, others in SCIQ
    ]  # fmt: skip
    copa = [
        {"premise": premise, "choice1": one, "choice2": two, "question": "effect", "idx": number, "label": label}
        for number, (premise, one, two, label) in enumerate(COPA)
    ]
    nq = [{"question": question, "answer": [answer]} for question, answer in NQ]
    datasets = {
        "allenai/sciq": files("default", sciq),
        "aps/super_glue": files("copa", copa),
        "google-research-datasets/nq_open": files("nq_open", nq),
    }
    return Hub(files=datasets)


def python(*words: str, endpoint: str, offline: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """A process of its own: `datasets` and the hub's client read these variables when they are imported."""
    around = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": offline, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, *words], env={**os.environ, **around}, capture_output=True, text=True, check=False
    )


def test_tasks_of_a_hub_are_brought_and_scored(tmp_path: Path, tiny_model: Path) -> None:
    adapter = make_adapter(tmp_path / "tuned", tiny_model)
    spec = Spec(subjects=subjects(adapter), tasks=TASKS, dtype="float32", batch_size=2)
    home, found = tmp_path / "hf", list[dict[str, Any]]()
    with serving(hub()) as served:
        run = run_of(tmp_path / "brought", spec)
        done = python("-m", "tuiwb.workers.eval", str(run.path), endpoint=served.url, offline="0", home=home)
        assert done.returncode == 0, (result_of(run), done.stderr)
        found.append(evaluate.read_report(run))
        assert any(path.endswith("copa/validation-00000-of-00001.parquet") for _, path, _ in served.asked)
    run = run_of(tmp_path / "kept", spec)
    done = python("-m", "tuiwb.workers.eval", str(run.path), endpoint=NOBODY, offline="1", home=home)
    assert done.returncode == 0, (result_of(run), done.stderr)
    found.append(evaluate.read_report(run))
    done = python("-c", THEIRS, str(tiny_model), str(adapter), *TASKS, endpoint=NOBODY, offline="1", home=home)
    for name, theirs in json.loads(done.stdout.splitlines()[-1]).items():
        wanted = {
            (task, metric): value
            for task, values in theirs.items()
            for metric, value in values.items()
            if "," in metric and "_stderr" not in metric
        }
        assert {task for task, _ in wanted} == set(TASKS)
        for report in found:
            ours = {(each["dataset"], each["metric"]): each["values"][name]["value"] for each in report["results"]}
            assert ours == wanted


@pytest.mark.parametrize(
    ("offline", "words"), [("1", "the data of sciq cannot be had: "), ("0", "the data of sciq cannot be had: ")]
)
def test_a_hub_that_cannot_be_reached_is_one_sentence(
    offline: str, words: str, tmp_path: Path, tiny_model: Path
) -> None:
    adapter = make_adapter(tmp_path / "tuned", tiny_model)
    run = run_of(tmp_path / "run", Spec(subjects=subjects(adapter), tasks=("sciq",), dtype="float32"))
    done = python("-m", "tuiwb.workers.eval", str(run.path), endpoint=NOBODY, offline=offline, home=tmp_path / "hf")
    assert done.returncode == 5
    message = result_of(run)["message"]
    assert message.startswith(words)
    assert "\n" not in message
    assert "sciq" in message
