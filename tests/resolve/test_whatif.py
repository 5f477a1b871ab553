"""What another value of a key costs in memory, and how long a training takes."""

import json
from pathlib import Path
from typing import Any

import pytest
from machines import a_gpu, a_host

from tuiwb import resolve
from tuiwb.base.errors import InputFault
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.resolve.duration import duration
from tuiwb.resolve.whatif import alternative, alternatives


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(200)))
    return path


def assessed(model: Path, rows: Path, *, gpu: bool = False, **keys: object) -> resolve.Assessment:
    recipe = Recipe(model_name_or_path=str(model), datasets=(DatasetEntry(path=str(rows)),), **keys)  # type: ignore[arg-type]
    return resolve.assess(recipe, host=a_host(), gpus=[a_gpu()] if gpu else [])


def test_numbers_are_halved_and_doubled(tiny_model: Path, rows: Path) -> None:
    known = assessed(tiny_model, rows, per_device_train_batch_size=4)
    found = alternatives(known, "per_device_train_batch_size", host=a_host(), gpus=[])
    assert [one.value for one in found] == ["1", "2", "4", "8", "16"]
    assert [one.now for one in found] == [False, False, True, False, False]
    assert known.plan is not None
    assert found[2].peak_bytes == known.plan.peak_bytes
    sizes = [one.peak_bytes for one in found]
    assert sizes == sorted(sizes)
    assert found[3].change_bytes == found[3].peak_bytes - known.plan.peak_bytes > 0
    eight = assessed(tiny_model, rows, per_device_train_batch_size=8)
    assert eight.plan is not None
    assert eight.plan.peak_bytes == found[3].peak_bytes, "the figure is that of the recipe with this value"


def test_switches_and_words_are_all_tried(tiny_model: Path, rows: Path) -> None:
    known = assessed(tiny_model, rows, gpu=True)
    switch = alternatives(known, "gradient_checkpointing", host=a_host(), gpus=[a_gpu()])
    assert [one.value for one in switch] == ["false", "true"]
    assert all(one.fits for one in switch)
    methods = {one.value: one for one in alternatives(known, "method", host=a_host(), gpus=[a_gpu()])}
    assert methods["lora"].now
    assert {"full", "qlora"} <= set(methods)


@pytest.mark.parametrize("key", ["name", "learning_rate", "seed", "datasets.0.path"])
def test_what_makes_no_difference_has_no_figures(tiny_model: Path, rows: Path, key: str) -> None:
    assert alternatives(assessed(tiny_model, rows), key, host=a_host(), gpus=[]) == ()


def test_duration_counts_steps_and_tokens(tiny_model: Path, rows: Path) -> None:
    known = assessed(tiny_model, rows, num_train_epochs=2.0, gradient_accumulation_steps=1)
    found = duration(known, host=a_host(), gpus=[])
    assert found is not None
    assert found.steps == 100
    assert 10 < found.tokens < 40
    assert found.seconds is not None
    low, high = found.seconds
    assert 0 < low < high
    twice = duration(
        assessed(tiny_model, rows, num_train_epochs=4.0, gradient_accumulation_steps=1), host=a_host(), gpus=[]
    )
    assert twice is not None
    assert twice.seconds == pytest.approx((2 * low, 2 * high))


def test_no_time_is_promised_where_none_is_known(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    unknown = resolve.assess(
        Recipe(model_name_or_path=str(tiny_model), datasets=(DatasetEntry(path=str(rows)),)),
        host=a_host(), gpus=[a_gpu(name="A card of tomorrow")],
    )  # fmt: skip
    found = duration(unknown, host=a_host(), gpus=[a_gpu(name="A card of tomorrow")])
    assert found is not None
    assert (found.seconds, found.unknown) == (None, "nothing says how fast this device is")
    assert duration(assessed(tiny_model, tmp_path / "none.jsonl"), host=a_host(), gpus=[]) is None


def test_answers_of_one_prompt_are_one_row(tiny_model: Path, rows: Path) -> None:
    """A batch of grpo is of answers: 200 rows are 50 steps of 32 answers, 8 to a prompt."""
    keys: dict[str, Any] = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "num_generations": 8}
    known = assessed(tiny_model, rows, stage="grpo", reward_funcs=("length:8",), num_train_epochs=1.0, **keys)
    found = duration(known, host=a_host(), gpus=[])
    assert found is not None
    assert (found.steps, found.examples, found.sampled) == (50, 4, True)
    assert any("about 50 optimizer steps of 4 examples" in check.message for check in known.checks)


def test_the_time_of_sampled_answers_goes_by_how_long_they_may_be(tiny_model: Path, rows: Path) -> None:
    usual: dict[str, Any] = {
        "stage": "ppo", "reward_funcs": ("length:8",), "max_steps": 4, "max_completion_length": 64,
    }  # fmt: skip

    def seconds(**keys: Any) -> tuple[float, float]:
        found = duration(assessed(tiny_model, rows, **(usual | keys)), host=a_host(), gpus=[])
        assert found is not None
        assert found.seconds is not None
        assert "answers of" in found.rests_on
        return found.seconds

    low, high = seconds()
    assert 0 < low < high
    longer, more = seconds(max_completion_length=128), seconds(num_ppo_epochs=8)
    assert longer[0] > 1.8 * low
    assert more[1] > high
    assert seconds(max_steps=8) == pytest.approx((2 * low, 2 * high))
    groups = {"per_device_train_batch_size": 8, "num_generations": 8, "gradient_accumulation_steps": 1}
    reference = seconds(stage="grpo", beta=0.1, **groups)
    assert reference[1] > seconds(stage="grpo", beta=0.0, **groups)[1]
    assert seconds(stage="rloo", **{**groups, "num_generations": 2})[0] > 0


def test_one_value_as_it_is_typed(tiny_model: Path, rows: Path) -> None:
    known = assessed(tiny_model, rows)
    more = alternative(known, "per_device_train_batch_size", "16", host=a_host(), gpus=[])
    assert more is not None
    assert more.change_bytes > 0
    now = alternative(known, "per_device_train_batch_size", "4", host=a_host(), gpus=[])
    assert now is not None
    assert (now.change_bytes, now.now) == (0, True)
    assert alternative(known, "model_name_or_path", "another", host=a_host(), gpus=[]) is None
    with pytest.raises(InputFault, match="must be a whole number"):
        alternative(known, "lora_r", "x", host=a_host(), gpus=[])
