"""The hub through the command line, against a hub on this machine: search, show, get, offline, cut off, refused."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_hub import COMMIT, Hub, serving
from safetensors.numpy import save

from tuiwb import models

CARD = b"---\nlicense: mit\n---\n# Tiny\n"


@pytest.fixture
def hub(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {file.name: file.read_bytes() for file in tiny_model.iterdir()}
    more = {
        "README.md": CARD,
        "pytorch_model.bin": b"\x80pickle",
        "onnx/model.onnx": b"x",
        "consolidated.safetensors": b"a second copy",
        "modeling_tiny.py": b"raise SystemExit",
    }
    with serving(Hub(files={"org/Tiny-Chat": files | more})) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        yield served


def tuiwb(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tuiwb", "models", *words]
    return subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def documents(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_search(hub: Hub) -> None:
    done = tuiwb("search", "tiny", "--json")
    (found,) = documents(done)
    assert found["hub_error"] is None
    assert found["hub"] == [
        {
            "hub_id": "org/Tiny-Chat",
            "parameters": 12345,
            "architecture": "LlamaForCausalLM",
            "license": "apache-2.0",
            "downloads": 1234,
            "likes": 5,
            "gated": False,
            "chat": True,
        }
    ]
    shown = tuiwb("search", "tiny")
    assert "org/Tiny-Chat" in shown.stdout
    assert "12.3K" in shown.stdout


def test_show_reads_the_configuration_alone(hub: Hub) -> None:
    (info,) = documents(tuiwb("show", "org/Tiny-Chat", "--json"))
    assert (info["kind"], info["path"], info["architecture"]) == ("hub", None, "LlamaForCausalLM")
    assert info["context_length"] == 512
    assert not any(".safetensors" in path for _, path, _ in hub.asked)


def test_get_brings_what_a_model_needs_and_nothing_that_runs(hub: Hub) -> None:
    done = tuiwb("get", "org/Tiny-Chat", "--json")
    assert done.returncode == 0, done.stderr
    *steps, last = documents(done)
    snapshot = Path(last["path"])
    assert snapshot.is_relative_to(Path(os.environ["HF_HOME"]))
    assert sorted(file.name for file in snapshot.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert all(step["unit"] in ("bytes", "", "files") for step in steps)
    info = models.open_model("org/Tiny-Chat")
    assert (info.path, info.license, info.has_tokenizer) == (snapshot, "mit", True)
    listed = tuiwb("list", "--json")
    assert [model["hub_id"] for model in documents(listed)[0]["models"]] == ["org/Tiny-Chat"]

    before = len(hub.asked)
    assert tuiwb("get", "org/Tiny-Chat").returncode == 0
    assert len(hub.asked) == before  # it is here: nobody is asked

    assert tuiwb("delete", "org/Tiny-Chat", "--yes").returncode == 0
    assert models.installed() == []


def test_a_killed_download_is_continued(hub: Hub) -> None:
    # huggingface_hub writes pieces of 10 MiB, so the file has to be larger than one.
    large = save({"model.embed_tokens.weight": np.zeros(30 << 20, np.int8)})
    hub.files["org/Tiny-Chat"]["model.safetensors"] = large
    hub.cut_after = 16 << 20
    argv = [sys.executable, "-m", "tuiwb", "models", "get", "org/Tiny-Chat"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    blobs = Path(os.environ["HF_HOME"]) / "hub" / "models--org--Tiny-Chat" / "blobs"
    deadline = time.monotonic() + 30
    while not _arrived(blobs) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    arrived = _arrived(blobs)  # only now: it may have grown until the kill
    assert arrived
    assert models.installed() == []
    hub.cut_after = None
    done = tuiwb("get", "org/Tiny-Chat")
    assert done.returncode == 0, done.stderr
    (resumed,) = [wanted for _, path, wanted in hub.asked if path.endswith("model.safetensors") and wanted]
    assert resumed == f"bytes={arrived}-"
    assert models.open_model("org/Tiny-Chat").bytes_on_disk == len(large)


def _arrived(blobs: Path) -> int:
    return sum(file.stat().st_size for file in blobs.glob("*.part"))


def test_a_spliced_file_that_is_wrong_is_deleted(hub: Hub) -> None:
    large = save({"model.embed_tokens.weight": np.zeros(9 << 20, np.int8)})
    hub.files["org/Tiny-Chat"]["model.safetensors"] = large
    blobs = Path(os.environ["HF_HOME"]) / "hub" / "models--org--Tiny-Chat" / "blobs"
    blobs.mkdir(parents=True)
    part = blobs / f"{hashlib.sha256(large).hexdigest()}.part"
    part.write_bytes(b"not the same file")
    done = tuiwb("get", "org/Tiny-Chat")
    assert done.returncode == 4
    assert "came out wrong and was deleted" in done.stderr
    assert not part.exists()
    assert tuiwb("get", "org/Tiny-Chat").returncode == 0


def test_a_hub_that_does_not_answer_is_left_in_time(hub: Hub) -> None:
    hub.silent = True
    started = time.monotonic()
    done = tuiwb("get", "org/Tiny-Chat", TUIWB_HUB_TIMEOUT_S="0.5")
    took = time.monotonic() - started
    hub.silent = False
    assert done.returncode == 4
    assert "did not answer within 0.5 s" in done.stderr
    assert took < 5


def test_a_hub_that_is_not_there() -> None:
    done = tuiwb("get", "org/Tiny-Chat", HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("tuiwb: org/Tiny-Chat: cannot be brought: the hub cannot be reached")
    assert "Retrying" not in done.stderr


def test_offline_is_offline(hub: Hub) -> None:
    for said in ({"HF_HUB_OFFLINE": "1"}, {"TUIWB_HUB_OFFLINE": "true"}):
        done = tuiwb("search", "nothing-of-this-name", **said)
        assert done.returncode == 4
        assert "switched off" in done.stderr
    assert hub.asked == []


def test_the_catalogue_is_searched_without_a_hub() -> None:
    done = tuiwb("search", "smollm2 135m", "--json")
    assert done.returncode == 0
    (found,) = documents(done)
    assert "smollm2-135m-instruct" in [entry["name"] for entry in found["catalogue"]]
    assert "switched off" in found["hub_error"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "only as pickles, which can run code"),
        ({"model-Q4_K_M.gguf": b"x"}, "only GGUF files"),
        ({"README.md": b"x"}, "holds no weights"),
    ],
)
def test_repositories_without_safetensors(hub: Hub, files: dict[str, bytes], words: str) -> None:
    hub.files["org/other"] = files
    done = tuiwb("get", "org/other")
    assert done.returncode == 3
    assert words in done.stderr
    assert not any("resolve" in path for _, path, _ in hub.asked)


def test_what_the_hub_refuses(hub: Hub) -> None:
    assert "there is no such model on the hub" in tuiwb("get", "org/none").stderr
    assert "neither a name in the catalogue nor a hub id" in tuiwb("get", "none").stderr
    hub.gated.add("org/Tiny-Chat")
    done = tuiwb("get", "org/Tiny-Chat")
    assert done.returncode == 3
    assert "accept its licence" in done.stderr


def test_the_commit_is_the_one_that_was_described(hub: Hub) -> None:
    tuiwb("get", "org/Tiny-Chat")
    fetched = {path.split("/")[4] for _, path, _ in hub.asked if "/resolve/" in path}
    assert fetched == {COMMIT}


def test_a_dataset_is_brought_and_read(hub: Hub) -> None:
    rows = [json.dumps({"prompt": f"p{n}", "completion": "c"}).encode() + b"\n" for n in range(5)]
    hub.files["org/things"] = {"train.jsonl": b"".join(rows), "README.md": CARD, "picture.png": b"x", "load.py": b"x"}
    argv = [sys.executable, "-m", "tuiwb", "data", "inspect", "org/things", "--json"]
    for offline in ("0", "1"):  # the second time from the cache
        environment = {**os.environ, "HF_HUB_OFFLINE": offline}
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
        found = json.loads(done.stdout)
        assert (found["rows"], found["format"]) == (5, "prompt_completion"), done.stderr
    brought = {path for command, path, _ in hub.asked if command == "GET" and "resolve" in path}
    assert {path.rsplit("/", 1)[1] for path in brought} == {"train.jsonl", "README.md"}
    argv[5] = "org/nothing"
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ}, check=False)
    assert (done.returncode, "no such dataset on the hub" in done.stderr) == (3, True)
