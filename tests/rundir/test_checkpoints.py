"""A checkpoint is believed only after a look at every file."""

import json
import shutil
import struct
import zipfile

import pytest

from tuiwb import rundir
from tuiwb.rundir import RunDir, verify_checkpoint


@pytest.fixture
def run(tmp_path):
    found = RunDir(tmp_path / "run")
    found.parts_folder.mkdir(parents=True)
    return found


@pytest.fixture
def part(run):
    return run.part(1, "sft")


def safetensors(path, size=256):
    header = json.dumps(
        {"__metadata__": {"format": "pt"}, "w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


def pt(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"not a pickle: nobody may load this")


def make(part, step, *, full=True):
    folder = part.path / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    safetensors(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth") if full else ():
        pt(folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


def cut(path, count=10):
    path.write_bytes(path.read_bytes()[:-count])


def test_a_whole_one(part):
    folder = make(part, 60)
    verdict = verify_checkpoint(folder)
    assert (verdict.valid, verdict.resumable, verdict.step, verdict.problem) == (True, True, 60, None)
    assert verdict.bytes == sum(file.stat().st_size for file in folder.iterdir())


def test_without_optimizer_it_is_a_model_but_nothing_to_resume_from(part):
    verdict = verify_checkpoint(make(part, 60, full=False))
    assert (verdict.valid, verdict.resumable) == (True, False)


BREAKS = {
    "cut weights": (lambda f: cut(f / "adapter_model.safetensors"), "has 352 bytes where its header says 362"),
    "cut header": (lambda f: cut(f / "adapter_model.safetensors", 300), "is cut off within its header"),
    "empty weights": (lambda f: (f / "adapter_model.safetensors").write_bytes(b""), "is cut off: 0 bytes"),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "there are no weights in it"),
    "nonsense weights": (
        lambda f: (f / "adapter_model.safetensors").write_bytes(b"\xff" * 99),
        "no safetensors header",
    ),
    "cut optimizer": (lambda f: cut(f / "optimizer.pt"), "optimizer.pt is cut off"),
    "empty optimizer": (lambda f: (f / "optimizer.pt").write_bytes(b""), "optimizer.pt is cut off"),
    "no optimizer": (lambda f: (f / "optimizer.pt").unlink(), "optimizer missing"),
    "no scheduler": (lambda f: (f / "scheduler.pt").unlink(), "scheduler.pt missing"),
    "no random state": (lambda f: (f / "rng_state.pth").unlink(), "rng_state missing"),
    "cut random state": (lambda f: cut(f / "rng_state.pth"), "rng_state.pth is cut off"),
    "cut scaler": (lambda f: (f / "scaler.pt").write_bytes(b"PK\x03\x04 and no more"), "scaler.pt is cut off"),
    "no trainer state": (lambda f: (f / "trainer_state.json").unlink(), "which is written last, is missing"),
    "torn trainer state": (lambda f: cut(f / "trainer_state.json"), "trainer_state.json is not valid JSON"),
    "another step": (lambda f: (f / "trainer_state.json").write_text('{"global_step": 40}'), "says step 40"),
    "no step": (lambda f: (f / "trainer_state.json").write_text("{}"), "does not say its step"),
    "sentinel": (lambda f: (f / "checkpoint-is-incomplete.txt").touch(), "was still being written"),
    "gone": (shutil.rmtree, "there is no such folder"),
}


@pytest.mark.parametrize("break_it", BREAKS)
def test_each_way_to_be_broken_is_found(part, break_it):
    folder = make(part, 60)
    act, words = BREAKS[break_it]
    act(folder)
    verdict = verify_checkpoint(folder)
    assert not verdict.valid
    assert not verdict.resumable
    assert words in verdict.problem


def test_sharded_weights_are_all_needed(part):
    folder = make(part, 60)
    (folder / "adapter_model.safetensors").unlink()
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in shards:
        safetensors(folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1]}}))
    assert verify_checkpoint(folder).valid
    (folder / shards[1]).unlink()
    assert verify_checkpoint(folder).problem == f"{shards[1]} is missing"


def test_each_rank_has_its_random_state(part):
    folder = make(part, 60)
    (folder / "rng_state.pth").unlink()
    for rank in range(3):
        pt(folder / f"rng_state_{rank}.pth")
    assert verify_checkpoint(folder).resumable
    (folder / "rng_state_1.pth").unlink()
    assert verify_checkpoint(folder).problem == "the random state of a rank is missing"


def test_a_folder_of_torch_distributed_needs_its_metadata(part):
    folder = make(part, 60)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "optimizer.pt").unlink()
    for name in ("pytorch_model_fsdp_0", "optimizer_0"):
        (folder / name).mkdir()
        (folder / name / ".metadata").write_bytes(b"x")
    assert verify_checkpoint(folder).resumable
    (folder / "optimizer_0" / ".metadata").unlink()
    assert "optimizer_0/.metadata" in verify_checkpoint(folder).problem


def test_states_that_fsdp_put_together_are_all_needed(part):
    folder = make(part, 60)
    (folder / "optimizer.pt").unlink()
    pt(folder / "optimizer.bin")
    assert verify_checkpoint(folder).problem == "optimizer missing", "its weights are read back from another file"
    pt(folder / "pytorch_model_fsdp.bin")
    assert verify_checkpoint(folder).resumable
    cut(folder / "optimizer.bin")
    assert verify_checkpoint(folder).problem == "optimizer.bin is cut off"


def test_states_of_deepspeed_need_every_rank(part):
    folder = make(part, 60)
    (folder / "optimizer.pt").unlink()
    states = folder / "global_step60"
    states.mkdir()
    pt(states / "mp_rank_00_model_states.pt")
    for rank in range(3):
        pt(states / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    assert verify_checkpoint(folder).problem == "latest, which DeepSpeed writes last, is missing"
    (folder / "latest").write_text("global_step60")
    assert verify_checkpoint(folder).resumable
    (states / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    assert verify_checkpoint(folder).problem == "the optimizer states of a rank are missing"


def test_a_final_model_needs_no_trainer_state(part):
    part.path.mkdir(parents=True)
    safetensors(part.path / "model.safetensors")
    verdict = verify_checkpoint(part.path)
    assert (verdict.valid, verdict.resumable, verdict.step) == (True, False, None)


def test_steps_sort_as_numbers(part):
    for step in (100, 20, 3):
        make(part, step)
    (part.path / "checkpoint-final").mkdir()
    assert [path.name for path in rundir.checkpoints(part)] == ["checkpoint-3", "checkpoint-20", "checkpoint-100"]


def test_the_newest_whole_one_wins(run, part):
    make(part, 20)
    cut(make(part, 40) / "adapter_model.safetensors")
    assert rundir.newest_valid_checkpoint(run).step == 20
    assert rundir.resume_point(run) == (part, verify_checkpoint(part.path / "checkpoint-20"))


def test_a_finished_part_is_not_gone_on_with(run, part):
    make(part, 20)
    rundir.write_result(run, part, "finished", checkpoint=part.path / "checkpoint-20", step=20)
    assert rundir.resume_point(run) is None
    assert rundir.newest_valid_checkpoint(run).step == 20
    second = run.part(2, "dpo")
    make(second, 5)
    assert rundir.resume_point(run)[0] == second


def test_a_checkpoint_without_its_optimizer_is_not_gone_on_from(run, part):
    make(part, 20)
    make(part, 40, full=False)
    assert rundir.newest_valid_checkpoint(run).step == 40
    assert rundir.resume_point(run)[1].step == 20


def test_quarantine_hides_from_transformers(run, part):
    make(part, 20)
    broken = make(part, 40)
    cut(broken / "optimizer.pt")
    assert [(path.name, problem) for path, problem in rundir.quarantine_broken(run)] == [
        ("broken-checkpoint-40", "optimizer.pt is cut off")
    ]
    assert not list(part.path.glob("checkpoint-40*"))
    assert rundir.quarantine_broken(run) == []
    cut(make(part, 40) / "optimizer.pt")
    assert rundir.quarantine_broken(run)[0][0].name == "broken-checkpoint-40.2"


@pytest.mark.torch
def test_what_transformers_and_torch_write(part):
    import torch
    from safetensors.torch import save_file

    folder = make(part, 60)
    save_file({"a": torch.zeros(3, 4), "b": torch.ones(5, dtype=torch.bfloat16)}, folder / "adapter_model.safetensors")
    torch.save({"state": {0: torch.zeros(10)}}, folder / "optimizer.pt")
    assert verify_checkpoint(folder).resumable
    cut(folder / "optimizer.pt", 1)
    assert verify_checkpoint(folder).problem == "optimizer.pt is cut off"
