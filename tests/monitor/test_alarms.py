"""The rules that wake somebody, each on what it must tell and on what it must not."""

import math
import random
from typing import Any

import pytest

from tuiwb.monitor import alarms, downgrades, machine_alarms
from tuiwb.monitor.alarms import MetricWatch

GIB = 1 << 30


def told(lines: list[dict[str, Any]], **how: Any) -> dict[str, int]:
    """The rules that some line broke, each with the first step at which it did."""
    watch, found = MetricWatch(**how), {}
    for line in lines:
        for alarm in watch.take(line):
            found.setdefault(alarm.rule, alarm.step)
    return found


def curve(losses: list[float], **more: Any) -> list[dict[str, Any]]:
    return [{"current_steps": step, "loss": loss, **more} for step, loss in enumerate(losses, 1)]


def learning(steps: int, noise: float = 0.2, floor: float = 1.5) -> list[float]:
    """A loss that goes down as losses do, with its noise."""
    at = random.Random(7)
    return [floor + 2 * math.exp(-step / 40) + at.gauss(0, noise) for step in range(steps)]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_a_run_that_learns_is_left_alone(noise: float) -> None:
    lines = [line | {"grad_norm": 1.0 + line["loss"], "step_s": 0.5} for line in curve(learning(400, noise))]
    assert told(lines) == {}


@pytest.mark.parametrize("seed", range(4))
def test_noise_without_a_trend_is_no_alarm(seed: int) -> None:
    at = random.Random(seed)
    assert told(curve([at.random() for _ in range(3000)])) == {}
    assert told(curve([abs(at.gauss(1.0, 0.4)) for _ in range(3000)])) == {}  # single rows, of which each is another


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["loss", "eval_loss", "grad_norm"])
def test_what_is_no_number_is_told_at_once(name: str, value: float) -> None:
    lines = curve(learning(10))
    lines[6][name] = value
    assert told(lines) == {"not_finite": 7}


def test_with_fp16_a_gradient_may_overflow_now_and_then() -> None:
    lines = [
        line | {"grad_norm": math.inf if step in (0, 1, 30) else 1.0} for step, line in enumerate(curve([2.0] * 40))
    ]
    assert told(lines, fp16=True) == {}
    assert told(lines) == {"not_finite": 1}
    assert told([line | {"grad_norm": math.inf} for line in lines], fp16=True) == {"not_finite": alarms.OVERFLOWS}


def test_a_loss_of_zero_is_told_when_it_is_no_chance() -> None:
    assert told(curve([2.0] * 5 + [0.0] * (alarms.ZEROS - 1) + [2.0])) == {}
    assert told(curve([2.0] * 5 + [0.0] * alarms.ZEROS))["zero_loss"] == 5 + alarms.ZEROS


def test_a_spike_and_no_other_point() -> None:
    losses = learning(200)
    losses[150] = 9.0
    assert told(curve(losses)) == {"spike": 151}
    lines = [line | {"grad_norm": 500.0 if step == 90 else 2.0} for step, line in enumerate(curve(learning(200)))]
    assert told(lines) == {"spike": 91}


def test_a_loss_that_goes_up_and_stays_up() -> None:
    found = told(curve(learning(150) + [1.6 + step / 10 for step in range(100)]))
    assert 150 < found["divergence"] < 200


def test_a_stage_that_learns_from_rewards_may_begin_at_zero() -> None:
    losses = [0.0] * 50 + [step / 100 for step in range(100)]
    assert told(curve(losses), rewarded=True) == {}
    assert told(curve([*losses, math.nan]), rewarded=True) == {"not_finite": 151}


def test_training_that_becomes_slow() -> None:
    steady = [{"current_steps": step, "tokens_per_s": 1000.0 + step % 7} for step in range(1, 101)]
    assert told(steady) == {}
    slow = [{"current_steps": step, "tokens_per_s": 400.0} for step in range(101, 121)]
    assert told(steady + slow)["slower"] in range(103, 112)


def test_silence_is_measured_by_what_a_step_takes() -> None:
    assert alarms.silent("train", 100, 60.0) is None
    assert alarms.silent("train", 601, 60.0) is not None
    assert alarms.silent("train", 30, 0.1) is None  # least_s
    assert alarms.silent("train", 30, 0.1, least_s=20) is not None
    assert alarms.silent("train", 600, None) is None  # the first step may compile
    assert alarms.silent("load", 901, 0.1) is not None
    assert alarms.silent("wait", 1e6, 0.1) is None


def looks(count: int, every_s: float = 5.0, **gpu: Any) -> list[dict[str, Any]]:
    one = {"uuid": "GPU-1", "index": 1, "utilisation": 90, "run_memory": 8 * GIB, "throttle": [], "ecc_uncorrected": 0}
    return [
        {"time": at * every_s, "memory_used": GIB, "memory_total": 16 * GIB, "gpus": [one | gpu]} for at in range(count)
    ]


def rules(samples: list[dict[str, Any]], phase: str = "train") -> list[str]:
    return [alarm.rule for alarm in machine_alarms.of_samples(samples, phase)]


def test_a_healthy_machine_is_left_alone() -> None:
    assert rules(looks(60)) == []
    assert rules(looks(60, throttle=["power_cap"])) == []  # what a GPU at work does


def test_a_gpu_that_computes_nothing_and_holds_memory() -> None:
    assert rules(looks(20, utilisation=0)) == []  # not for long enough
    assert rules(looks(30, utilisation=0)) == ["gpu_idle"]
    assert rules(looks(30, utilisation=0), "eval") == []
    assert rules(looks(30, utilisation=0, run_memory=1 << 20)) == []
    assert rules(looks(30, utilisation=0)[:-1] + looks(30)[-1:]) == []


def test_a_gpu_that_is_slowed_down() -> None:
    assert rules(looks(3, throttle=["thermal"])) == []
    (alarm,) = machine_alarms.of_samples(looks(10, throttle=["thermal", "hardware"], temperature_c=91), "train")[:1]
    assert alarm.rule == "throttled"
    assert "91 °C" in alarm.message
    assert rules(looks(9) + looks(10, throttle=["power_brake"])[-1:]) == []


def test_errors_of_the_hardware() -> None:
    assert rules(looks(5, ecc_uncorrected=3)) == []  # from before this attempt
    assert rules(looks(5) + looks(6, ecc_uncorrected=2)[-1:]) == ["ecc"]
    assert rules(looks(3, xids=[79])) == ["xid"]
    assert rules([looks(1)[0] | {"gpu_problem": "GPU 1: the GPU has fallen off the bus"}]) == ["gpu"]
    silent = [look | {"gpus": []} for look in looks(12)[2:]]
    assert rules(looks(2) + silent) == ["gpu"]
    assert rules(looks(2) + silent[:4]) == []


def test_the_hosts_memory_and_stopped_processes() -> None:
    full = looks(1)[0] | {"memory_used": int(15.5 * GIB)}
    assert rules([full]) == ["host_memory"]
    stopped = {"stopped": [{"pid": 42, "rank": 1}]}
    assert rules([looks(1)[0] | stopped]) == []  # a debugger, for a moment
    (alarm,) = machine_alarms.of_samples([look | stopped for look in looks(2)], "train")
    assert (alarm.rule, "rank 1" in alarm.message, alarm.fix) == ("rank_silent", True, "kill -CONT 42 lets it go on")


def test_the_next_checkpoint_must_fit() -> None:
    assert machine_alarms.disk(3 * GIB, GIB) is None
    assert machine_alarms.disk(0, 0) is None  # nothing is known yet
    alarm = machine_alarms.disk(GIB, GIB)
    assert alarm is not None
    assert "1.0 GiB are free" in alarm.message


def test_what_was_asked_for_is_compared_with_what_runs() -> None:
    job = {
        "processes": 2,
        "gpus": None,
        "input": {"bf16": True, "dtype": "float32", "attn_implementation": "sdpa", "launch": {"sharding": "fsdp"}},
    }
    runs = {
        "world_size": 2,
        "device": "cuda",
        "precision": "bf16",
        "dtype": "float32",
        "attn_implementation": "sdpa",
        "sharding": "fsdp",
    }
    wanted = downgrades.asked(job)
    assert downgrades.downgrades(wanted, runs) == []
    assert downgrades.downgrades(wanted, runs | {"sharding": "fsdp2"}) == []
    unsplit = downgrades.downgrades(wanted, runs | {"sharding": "fsdp without a split weight"})
    assert [alarm.message for alarm in unsplit] == [
        "launch.sharding: fsdp was asked for, and fsdp without a split weight runs"
    ]
    zero = wanted | {"sharding": "zero3"}
    assert downgrades.downgrades(zero, runs | {"sharding": "zero3"}) == []
    assert len(downgrades.downgrades(zero, runs | {"sharding": "zero2"})) == 1
    worse = {
        "world_size": 1,
        "sharding": "multi_gpu",
        "precision": "no",
        "dtype": "bfloat16",
        "attn_implementation": "eager",
    }
    for name, value in worse.items():
        (alarm,) = downgrades.downgrades(wanted, runs | {name: value})
        assert (alarm.rule, alarm.subject) == ("downgrade", name)
    assert downgrades.downgrades(wanted, {}) == []


def test_a_processor_where_a_gpu_was_asked_for() -> None:
    on_gpu = downgrades.asked({"processes": 1, "gpus": [0], "input": {}})
    assert [alarm.message for alarm in downgrades.downgrades(on_gpu, {"device": "cpu", "sharding": "no"})] == [
        "device: gpu was asked for, and cpu runs"
    ]
    on_cpu = downgrades.asked({"processes": 1, "gpus": [], "input": {"attn_implementation": "flash_attention_2"}})
    assert (
        downgrades.downgrades(on_cpu, {"device": "cpu", "attn_implementation": "kernels-community/flash-attn2"}) == []
    )
