"""The eval worker: losses against a plain loop, answers against transformers, going on, stopping, judges, bad input."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "chat"))
sys.path.insert(0, str(Path(__file__).parent.parent / "endpoints"))
from adapter import make_adapter
from fake_server import DONE, Request, event, serving

from tuiwb import chat, evaluate, models, rundir, runs
from tuiwb.base.errors import InputFault
from tuiwb.data.example import Example
from tuiwb.data.render import render
from tuiwb.evaluate import Dataset, Spec, Subject
from tuiwb.evaluate.report import records_file
from tuiwb.evaluate.spec import plain
from tuiwb.rundir import RunDir

pytestmark = pytest.mark.torch

QUESTIONS = ["What is the capital of France?", "Who jumps over the lazy dog?", "The quick brown fox?", "Which capital?"]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "tuned", tiny_model)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    messages = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": f"Paris is the capital {number}."}]
        for number, question in enumerate(QUESTIONS)
    ]
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in messages))
    return path


def subjects(adapter: Path) -> tuple[Subject, ...]:
    return tuple(
        Subject(name=lane.name, model=lane.model, adapter=lane.adapter, template=lane.template, stop_ids=lane.stop_ids,
                context=lane.context)
        for lane in chat.target_of(str(adapter)).lanes
        if isinstance(lane, chat.Lane)
    )  # fmt: skip


def spec_of(adapter: Path, data: Path, *metrics: str, **more: Any) -> Spec:
    return Spec(
        subjects=subjects(adapter), datasets=(Dataset(path=str(data), name="test"),), metrics=metrics,
        dtype="float32", **({"max_new_tokens": 6, "batch_size": 3} | more),
    )  # fmt: skip


def run_of(folder: Path, spec: Spec) -> RunDir:
    run = RunDir(folder)
    for each in (run.path, run.control, run.parts_folder):
        each.mkdir(parents=True)
    rundir.write_job(run, {"kind": "eval", "input": plain(spec), "parts": ["eval"]})
    rundir.write_state(run, "running")
    return run


def work(run: RunDir) -> int:
    from tuiwb.workers import eval as worker

    return worker.main([str(run.path)])


def result_of(run: RunDir) -> dict[str, Any]:
    return rundir.read_result(run.part(1, "eval")) or {}


def reference(folder: Path, adapter: Path | None) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    return (model if adapter is None else PeftModel.from_pretrained(model, adapter)).eval()


def test_losses_are_those_of_a_plain_loop(tmp_path: Path, adapter: Path, rows: Path, tiny_model: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    run = run_of(tmp_path / "run", spec_of(adapter, rows, "loss", "perplexity", window=24, stride=8))
    assert work(run) == 0
    results = {each["metric"]: each["values"] for each in evaluate.read_report(run)["results"]}
    tokenizer, ours = AutoTokenizer.from_pretrained(tiny_model), models.load_tokenizer(tiny_model)
    for name, tuned in (("base", None), ("tuned", adapter)):
        model = reference(tiny_model, tuned)
        total = counted = size = 0.0
        trained = trained_tokens = 0.0
        for line in rows.read_text().splitlines():
            messages = json.loads(line)["messages"]
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            if ids[0, 0] != tokenizer.bos_token_id:
                ids = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), ids], dim=1)
            size += len(text.encode())
            # https://huggingface.co/docs/transformers/perplexity, with sums in the place of means
            before = 0
            for begin in range(0, ids.shape[1], 8):
                end = min(begin + 24, ids.shape[1])
                targets = ids[:, begin:end].clone()
                targets[:, : -(end - before)] = -100
                with torch.no_grad():
                    loss = model(ids[:, begin:end], labels=targets, use_cache=False).loss
                tokens = int((targets[:, 1:] != -100).sum())
                total, counted = total + float(loss) * tokens, counted + tokens
                before = end
                if end == ids.shape[1]:
                    break
            # What is trained is measured: the mask of the training.
            rendered = render(Example(id=0, messages=messages), ours, ours.template())
            with torch.no_grad():
                logits = model(torch.tensor([rendered.ids])).logits[0]
            at = [number for number, wanted in enumerate(rendered.mask) if wanted]
            trained -= sum(float(logits[each - 1].log_softmax(-1)[rendered.ids[each]]) for each in at)
            trained_tokens += len(at)
        assert results["perplexity"][name]["value"] == pytest.approx(math.exp(total / counted), rel=1e-4)
        assert results["byte_perplexity"][name]["value"] == pytest.approx(math.exp(total / size), rel=1e-4)
        assert results["loss"][name]["value"] == pytest.approx(trained / trained_tokens, rel=1e-4)


def test_long_texts_are_read_in_pieces(tmp_path: Path, adapter: Path) -> None:
    from tuiwb.workers import eval_model

    voice = eval_model.Models("float32", lambda doing: None).voice(subjects(adapter)[1])
    assert isinstance(voice, eval_model.Local)
    ids = voice.base.tokenizer.encode("The quick brown fox jumps over the lazy dog. " * 12)
    targets = list(range(1, len(ids)))
    whole = voice.nll(ids, targets)
    before, eval_model._CHUNK = eval_model._CHUNK, 7
    try:
        assert voice.nll(ids, targets) == pytest.approx(whole, rel=1e-6)
    finally:
        eval_model._CHUNK = before


def test_answers_are_those_of_transformers(tmp_path: Path, adapter: Path, rows: Path, tiny_model: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    run = run_of(tmp_path / "run", spec_of(adapter, rows, "exact", "contains"))
    assert work(run) == 0
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    said = {(r["subject"], r["row"]): r["answer"] for r in rundir.read_all(records_file(run))}
    assert len(said) == 8
    for name, tuned in (("base", None), ("tuned", adapter)):
        model = reference(tiny_model, tuned)
        for row, question in enumerate(QUESTIONS):
            asked = [{"role": "user", "content": question}]
            inputs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")
            with torch.inference_mode():
                made = model.generate(**inputs, do_sample=False, max_new_tokens=6)
            expected = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            assert said[name, row] == expected
    assert result_of(run)["outcome"] == "finished"


def test_a_run_goes_on_where_it_was(tmp_path: Path, adapter: Path, rows: Path) -> None:
    run = run_of(tmp_path / "run", spec_of(adapter, rows, "tokens"))
    part = run.part(1, "eval")
    part.path.mkdir()
    kept = {"kind": "answer", "dataset": "test", "subject": "base", "row": 1, "question": "?", "answer": "kept",
            "reference": None, "calls": [], "answer_tokens": 1234}  # fmt: skip
    records_file(run).write_text(json.dumps(kept) + "\n" + '{"kind": "answer", "torn')
    assert work(run) == 0
    records = rundir.read_all(records_file(run))
    assert len(records) == 8
    assert [r["answer"] for r in records if (r["subject"], r["row"]) == ("base", 1)] == ["kept"]


def test_stopping_keeps_what_was_measured(tmp_path: Path, adapter: Path, rows: Path) -> None:
    run = run_of(tmp_path / "run", spec_of(adapter, rows, "loss"))
    asked = rundir.request(run, "stop")
    assert work(run) == 0
    assert result_of(run)["outcome"] == "stopped"
    assert result_of(run)["message"] == "1 of 8 are measured and kept; resume goes on there"
    assert rundir.acknowledgement(run, asked) is not None
    assert len(rundir.read_all(records_file(run))) == 1
    assert evaluate.read_report(run)["records"] == 1
    assert work(run) == 0
    assert result_of(run)["outcome"] == "finished"
    assert len(rundir.read_all(records_file(run))) == 8


def test_a_judge_that_talks_nonsense_ends_nothing(tmp_path: Path, adapter: Path, rows: Path) -> None:
    said: list[str] = []

    def script(request: Request) -> None:
        said.append("[[A]]" if len(said) % 2 else "bananas \x1b[2J")
        request.stream(event(said[-1]), event(finish="stop"), DONE)

    with serving(script) as server:
        spec = spec_of(adapter, rows, "judge", "tokens", judge=f"{server.url}#m")
        run = run_of(tmp_path / "run", spec)
        assert work(run) == 0
    report = evaluate.read_report(run)
    (found,) = report["judge"]
    assert found["win"] + found["tie"] + found["loss"] + found["unclear"] == 4
    assert "judge" in [each["metric"] for each in report["results"]]


def test_a_judge_that_is_gone_leaves_the_answers(
    tmp_path: Path, adapter: Path, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda request: request.send_json({}, "401 Unauthorized")) as server:
        run = run_of(tmp_path / "run", spec_of(adapter, rows, "judge", judge=f"{server.url}#m"))
        assert work(run) == 5
    assert "refuses the key" in result_of(run)["message"]
    assert len(rundir.read_all(records_file(run))) == 8


def test_an_endpoint_is_measured_by_its_answers(tmp_path: Path, rows: Path) -> None:
    def script(request: Request) -> None:
        assert request.body["temperature"] == 0
        number = QUESTIONS.index(request.body["messages"][-1]["content"])
        said = f"Paris is the capital {number}." if number else "No."
        request.stream(event(said), event(finish="stop"), DONE)

    with serving(script) as server:
        far = (Subject(name=f"{server.url}#m"),)
        datasets = (Dataset(path=str(rows), name="test"),)
        run = run_of(tmp_path / "run", Spec(subjects=far, datasets=datasets, metrics=("exact",)))
        assert work(run) == 0
        (result,) = evaluate.read_report(run)["results"]
        assert result["values"][far[0].name]["value"] == 0.75
        losses = run_of(tmp_path / "losses", Spec(subjects=far, datasets=datasets, metrics=("loss",)))
        assert work(losses) == 5
    assert "tells no losses" in result_of(losses)["message"]


def test_rows_without_references_are_one_sentence(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": question}) + "\n" for question in QUESTIONS))
    run = run_of(tmp_path / "run", spec_of(adapter, data, "exact"))
    assert work(run) == 5
    assert "no row has the right answer" in result_of(run)["message"]


def test_a_run_of_its_own_is_launched_and_shown(adapter: Path, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tuiwb.cli.main import main

    assert main(["eval", str(adapter), "--data", str(rows), "--metric", "loss", "--follow", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (result,) = report["results"]
    assert set(result["values"]) == {"base", "tuned"}
    view = runs.show("last")
    assert (view.kind, view.state) == ("eval", "finished")
    assert main(["eval", "show", "last", "--worst", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["cases"]
    assert len(found) == 2
    assert found[0]["scores"]["tuned"] >= found[1]["scores"]["tuned"]
    assert main(["eval", "show", "last"]) == 0
    assert "tuned - base" in capsys.readouterr().out


def test_what_cannot_be_measured_makes_no_run(adapter: Path, rows: Path) -> None:
    with pytest.raises(InputFault, match="no metric `bleuu`"):
        evaluate.launch(spec_of(adapter, rows, "bleuu"))
    assert not runs.run_dirs()


def test_a_text_beside_questions_is_measured_as_text(tmp_path: Path, adapter: Path, rows: Path) -> None:
    general = tmp_path / "general.jsonl"
    general.write_text("".join(json.dumps({"text": f"Paris is the capital {number}."}) + "\n" for number in range(2)))
    spec = spec_of(adapter, rows, "loss", "tokens")
    both = Dataset(path=str(general), name="general", general=True)
    run = run_of(tmp_path / "run", msgspec.structs.replace(spec, datasets=(*spec.datasets, both)))
    assert work(run) == 0, result_of(run)
    found = {(each["dataset"], each["metric"]) for each in evaluate.read_report(run)["results"]}
    assert found == {("test", "loss"), ("test", "tokens"), ("general", "loss")}
    assert result_of(run)["step"] == 2 * (4 + 4 + 2)
    assert any("only its text is measured" in str(event.get("message")) for event in rundir.read_events(run))
    alone = run_of(tmp_path / "alone", msgspec.structs.replace(spec, datasets=(both,)))
    assert work(alone) == 5
    assert "no row asks anything" in result_of(alone)["message"]
