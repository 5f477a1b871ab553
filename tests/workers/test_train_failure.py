"""A failure in one sentence."""

import errno

import pytest

from tuiwb.base.errors import InputFault
from tuiwb.workers import failure


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: 12"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_step_and_the_remedies(error: Exception) -> None:
    assert failure.cause_of(error) == "out_of_memory"
    assert failure.sentence(error, step=0).startswith("out of memory in step 1: use a smaller per_device_train_batch")


def test_out_of_memory_is_explained_with_what_the_plan_would_change() -> None:
    remedies = [
        {"change": "max_length=512", "saves_bytes": 2 << 30, "cost": "cuts what is longer than 512 tokens"},
        {"change": "gradient_checkpointing=true", "saves_bytes": 9 << 30, "cost": "computes each layer twice"},
    ]
    said = failure.sentence(MemoryError(), step=0, plan={"remedies": remedies})
    assert said == (
        "out of memory in step 1: gradient_checkpointing=true saves 9.0 GiB and computes each layer twice; "
        "max_length=512 saves 2.0 GiB and cuts what is longer than 512 tokens"
    )


def test_a_full_disk_is_found_behind_what_a_library_made_of_it() -> None:
    def save() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("PytorchStreamWriter failed") from error

    with pytest.raises(RuntimeError) as caught:
        save()
    assert failure.cause_of(caught.value) == "disk_full"
    assert "the disk is full" in failure.sentence(caught.value)


def test_other_errors_are_their_first_line() -> None:
    assert failure.sentence(ValueError("wrong shape\nand much more"), step=4) == "ValueError: wrong shape in step 5"
    assert failure.sentence(InputFault("no model is named", key="model_name_or_path")) == (
        "model_name_or_path: no model is named"
    )
    assert failure.cause_of(InputFault("x")) == "input"
    assert failure.sentence(PermissionError(errno.EACCES, "Permission denied", "/models/a")) == (
        "Permission denied (/models/a)"
    )
