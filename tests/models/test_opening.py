"""Opening models: what is found where, and one clear sentence for each thing that is none."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import write_llama
from safetensors.numpy import load_file, save_file

from tuiwb import models
from tuiwb.base import settings
from tuiwb.base.errors import EnvironmentFault, InputFault, TuiwbError, UsageFault
from tuiwb.base.tasks import Cancelled, Task
from tuiwb.models import store


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def split(folder: Path, parts: int) -> None:
    """The folder's weights as shards with an index, as transformers saves large models."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    mapping = {}
    for part in range(parts):
        name = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        names = sorted(tensors)[part::parts]
        save_file({key: tensors[key] for key in names}, folder / name)
        mapping |= dict.fromkeys(names, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))


def put_in_cache(hub_id: str, folder: Path) -> Path:
    """The folder as a snapshot in the hub's cache."""
    repository = store.hub_cache() / f"models--{hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(folder, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    return snapshot


def test_a_folder(tiny_model: Path) -> None:
    info = models.open_model(str(tiny_model))
    count = sum(value.size for value in load_file(tiny_model / "model.safetensors").values())
    assert (info.kind, info.architecture, info.dtype) == ("folder", "LlamaForCausalLM", "float32")
    assert info.parameters == count
    assert info.bytes_on_disk == (tiny_model / "model.safetensors").stat().st_size
    config = json.loads((tiny_model / "config.json").read_text())
    assert (info.context_length, info.vocab_size) == (512, config["vocab_size"])
    assert info.has_tokenizer
    assert info.chat_template is not None
    assert "im_start" in info.chat_template
    assert info.path == tiny_model


def test_shards_are_one_model(copy: Path, tiny_model: Path) -> None:
    split(copy, 3)
    assert models.open_model(str(copy)).parameters == models.open_model(str(tiny_model)).parameters
    (copy / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputFault, match=r"1 of 3 files of weights are missing.*model-00002"):
        models.open_model(str(copy))


def test_tied_weights_that_are_stored_twice_count_once(copy: Path, tiny_model: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    save_file(tensors, copy / "model.safetensors")
    assert models.open_model(str(copy)).parameters == models.open_model(str(tiny_model)).parameters
    change(copy / "config.json", tie_word_embeddings=False)
    extra = tensors["lm_head.weight"].size
    assert models.open_model(str(copy)).parameters == models.open_model(str(tiny_model)).parameters + extra


def test_a_gguf_file(tmp_path: Path) -> None:
    info = models.open_model(str(write_llama(tmp_path / "a.gguf", chat_template="{{ messages }}")))
    assert (info.kind, info.architecture, info.dtype) == ("gguf", "LlamaForCausalLM", "F16")
    assert info.parameters == 16 * 8 + 8
    assert info.chat_template == "{{ messages }}"
    assert not info.has_tokenizer
    expected = {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 2,
        "vocab_size": 16,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    assert {key: info.config[key] for key in expected} == expected


def test_a_gguf_file_without_its_suffix(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "a.gguf").rename(tmp_path / "sha256-0123")
    assert models.open_model(str(path)).kind == "gguf"


def test_an_adapter(tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8, "lora_alpha": 16}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["v_proj", "q_proj"]}))
    weights = {"a.lora_A.weight": np.zeros((8, 32), np.float32), "a.lora_B.weight": np.zeros((32, 8), np.float32)}
    save_file(weights, tmp_path / "adapter_model.safetensors")
    info = models.open_model(str(tmp_path))
    assert info.adapter is not None
    assert (info.adapter.base_model, info.adapter.r, info.adapter.parameters) == ("org/base", 8, 512)
    assert info.adapter.target_modules == ("q_proj", "v_proj")
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(InputFault, match=r"no adapter_model\.safetensors"):
        models.open_model(str(tmp_path))


def test_a_config_by_its_own_name_is_enough_to_plan(copy: Path, tmp_path: Path) -> None:
    """Whatever stands beside it, and whatever it is called."""
    file = tmp_path / "of-a-friend.json"
    file.write_bytes((copy / "config.json").read_bytes())
    info = models.open_model(str(file), config_only=True)
    assert (info.name, info.path, info.architecture) == ("of-a-friend", None, "LlamaForCausalLM")
    assert models.open_model(str(copy / "config.json"), config_only=True).config == info.config
    with pytest.raises(InputFault, match="name the folder"):
        models.open_model(str(copy / "config.json"))


def test_a_bare_config_is_enough_to_plan(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    info = models.open_model(str(copy), config_only=True)
    assert (info.parameters, info.dtype, info.bytes_on_disk) == (None, "float32", 0)
    with pytest.raises(InputFault, match="no weights"):
        models.open_model(str(copy))


def test_a_quantized_folder_says_so(copy: Path) -> None:
    change(copy / "config.json", quantization_config={"quant_method": "gptq", "bits": 4}, dtype="float16")
    info = models.open_model(str(copy))
    assert (info.quantization, info.dtype) == ("gptq 4-bit", "float16")


def test_names_of_what_was_brought_here(tiny_model: Path) -> None:
    root = settings.models_root()
    root.mkdir(parents=True)
    shutil.copytree(tiny_model, root / "mine")
    shutil.copytree(tiny_model, root / ".incoming-half")
    (root / "broken").mkdir()
    write_llama(root / "small.gguf")
    assert [info.name for info in models.installed()] == ["mine", "small.gguf"]
    assert models.open_model("mine").path == root / "mine"
    with pytest.raises(InputFault, match="is empty"):
        models.open_model("broken")


def test_the_cache_of_the_hub(tiny_model: Path) -> None:
    snapshot = put_in_cache("org/some-model", tiny_model)
    info = models.open_model("org/some-model")
    assert (info.kind, info.name, info.path, info.hub_id) == ("hub", "some-model", snapshot, "org/some-model")
    assert [found.hub_id for found in models.installed()] == ["org/some-model"]
    # A catalogue name finds the snapshot of its hub id.
    put_in_cache("HuggingFaceTB/SmolLM2-135M-Instruct", tiny_model)
    assert models.open_model("smollm2-135m-instruct").path is not None


def test_a_half_downloaded_snapshot_is_no_model(tiny_model: Path) -> None:
    snapshot = put_in_cache("org/some-model", tiny_model)
    weights = (snapshot / "model.safetensors").read_bytes()
    (snapshot / "model.safetensors").write_bytes(weights[:-1])
    assert models.installed() == []
    with pytest.raises(EnvironmentFault, match=r"not on this machine.*switched off"):
        models.open_model("org/some-model")


def test_the_catalogue_needs_no_network_and_no_files() -> None:
    info = models.open_model("smollm2-135m-instruct")
    assert (info.path, info.parameters, info.context_length) == (None, 134_515_008, 8192)
    assert models.open_model("huggingfacetb/smollm2-135m-instruct").parameters == info.parameters
    with pytest.raises(InputFault, match="run `tuiwb models get smollm2-135m-instruct`"):
        models.load_tokenizer(info)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("", "no model is named"),
        ("/no/such/folder", "no such file or folder"),
        ("./missing.gguf", "no such file or folder"),
        ("smolm2-135m-instruct", "did you mean `smollm2-135m-instruct`"),
        ("not a model", "neither a path"),
    ],
)
def test_references_that_lead_nowhere(ref: str, words: str) -> None:
    with pytest.raises(InputFault, match=words):
        models.open_model(ref)


def test_folders_that_are_no_model(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFault, match="is empty"):
        models.open_model(str(tmp_path / "empty"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputFault, match=r"no config\.json"):
        models.open_model(str(tmp_path))
    with pytest.raises(InputFault, match=r"neither a model's folder nor a \.gguf file"):
        models.open_model(str(tmp_path / "notes.txt"))
    shutil.copytree(tiny_model, tmp_path / "inside")
    with pytest.raises(InputFault, match=r"name one of them, such as .*inside"):
        models.open_model(str(tmp_path))
    with pytest.raises(InputFault, match="name the folder"):
        models.open_model(str(tiny_model / "model.safetensors"))


def test_pickles_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InputFault, match=r"pickle .* can run code"):
        models.open_model(str(copy))


def test_a_truncated_file_of_weights(copy: Path) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputFault, match="is cut short") as fault:
        models.open_model(str(copy))
    assert fault.value.file == str(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not valid JSON"), ("[]", "not a JSON object"), ("{}", "this is no model"), ("\xff", "not valid JSON")],
)
def test_broken_configurations(copy: Path, content: str, words: str) -> None:
    (copy / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputFault, match=words):
        models.open_model(str(copy))


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root for a while, so that permissions count."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_paths_without_permission(tiny_model: Path) -> None:
    # Outside pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        folder = Path(shutil.copytree(tiny_model, Path(base) / "model"))
        folder.chmod(0o755)
        (folder / "model.safetensors").chmod(0)
        with as_nobody(), pytest.raises(EnvironmentFault, match="Permission denied"):
            models.open_model(str(folder))
        folder.chmod(0)
        with as_nobody(), pytest.raises(EnvironmentFault, match="Permission denied"):
            models.open_model(str(folder))
        with as_nobody(), pytest.raises(EnvironmentFault, match="Permission denied"):
            models.open_model(str(folder / "inside"))
        folder.chmod(0o755)


def test_deleting(tiny_model: Path, tmp_path: Path) -> None:
    root = settings.models_root()
    root.mkdir(parents=True)
    shutil.copytree(tiny_model, root / "mine")
    size = sum(file.stat().st_size for file in tiny_model.iterdir())
    assert models.delete("mine") == size
    assert list(root.iterdir()) == []
    snapshot = put_in_cache("org/some-model", tiny_model)
    models.delete("org/some-model")
    assert not snapshot.exists()
    with pytest.raises(InputFault, match="no model named"):
        models.delete("mine")
    with pytest.raises(UsageFault, match="delete it yourself"):
        models.delete(str(tiny_model))
    for trick in ("..", ".", "../home", "org/../.."):
        with pytest.raises(TuiwbError):
            models.delete(trick)
    assert tiny_model.exists()


def test_opening_can_be_cancelled(copy: Path) -> None:
    split(copy, 2)
    task = Task()
    task.cancel()
    with pytest.raises(Cancelled):
        models.open_model(str(copy), task=task)


def test_the_room_costs_little_to_import() -> None:
    code = (
        "import sys; from tuiwb import models; models.open_model('smollm2-135m-instruct'); print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "transformers", "textual", "tokenizers", "jinja2", "numpy", "gguf", "huggingface_hub", "rich"}
    assert not heavy & set(loaded)
