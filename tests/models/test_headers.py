"""The lean readers of safetensors and GGUF headers: right on good files, one sentence on every broken one."""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import write_llama
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from tuiwb.base.errors import EnvironmentFault, InputFault, TuiwbError
from tuiwb.models.gguf_header import read_gguf
from tuiwb.models.info import TensorInfo
from tuiwb.models.parameters import count_parameters, dominant_dtype
from tuiwb.models.safetensors_header import parse_header, read_safetensors

DTYPES = st.sampled_from([np.float32, np.float16, np.float64, np.uint8, np.int8, np.int32, np.int64, np.bool_])
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@given(entries=st.dictionaries(st.text(min_size=1, max_size=20), st.tuples(DTYPES, SHAPES), max_size=6))
@settings(max_examples=60, deadline=None)
def test_safetensors_headers_are_read_as_they_were_written(
    entries: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    entries.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("st") / "model.safetensors"
    save_file({name: np.zeros(shape, dtype) for name, (dtype, shape) in entries.items()}, str(path))
    found = {tensor.name: tensor for tensor in read_safetensors(path).tensors}
    assert found.keys() == entries.keys()
    for name, (dtype, shape) in entries.items():
        assert found[name].shape == shape
        assert found[name].nbytes == np.zeros(shape, dtype).nbytes
        assert found[name].elements == int(np.prod(shape))


WHOLE = save({"a": np.ones((3, 4), np.float32), "b": np.zeros(5, np.float16)})


@given(length=st.integers(0, len(WHOLE) - 1))
@settings(max_examples=100, deadline=None)
def test_a_safetensors_file_cut_anywhere_is_a_sentence(length: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(InputFault) as fault:
        read_safetensors(path)
    assert "cut short" in fault.value.message or (length < 8 and "not a safetensors file" in fault.value.message)


@given(content=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_safetensors_file_or_an_input_fault(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "model.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(InputFault):
        read_safetensors(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.text(max_size=8), st.fixed_dictionaries({"dtype": JSON, "shape": JSON, "data_offsets": JSON}) | JSON
    )
)
@settings(max_examples=200, deadline=None)
def test_any_json_is_a_header_or_an_input_fault(value: object) -> None:
    with contextlib.suppress(InputFault):
        parse_header(json.dumps(value).encode(), data_bytes=16, path="x")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}, "hole"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, "not its shape times its type"),
        ({"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}, "does not know"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, "broken"),
    ],
)
def test_headers_that_contradict_themselves(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(InputFault, match=words):
        parse_header(json.dumps({"w": entry}).encode(), data_bytes=8, path="x")


def test_bytes_that_no_header_accounts_for(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(WHOLE + b"xx")
    with pytest.raises(InputFault, match="2 bytes more"):
        read_safetensors(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="Is a directory"):
        read_safetensors(tmp_path)
    with pytest.raises(EnvironmentFault, match="No such file"):
        read_gguf(tmp_path / "none.gguf")


def test_a_gguf_header_is_what_the_gguf_package_reads(tmp_path: Path) -> None:
    import gguf

    tokens = [f"token {number} é" for number in range(50)]
    path = write_llama(tmp_path / "a.gguf", tokenizer_model="gpt2", token_list=tokens, token_types=[1] * 50)
    header = read_gguf(path)
    reader = gguf.GGUFReader(str(path))
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert header.metadata.keys() | {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"} == fields.keys()
    for name, value in header.metadata.items():
        assert value == pytest.approx(fields[name]) if isinstance(value, float) else value == fields[name]
    assert header.array("tokenizer.ggml.tokens") == tokens
    assert header.length("tokenizer.ggml.token_type") == 50
    assert [
        (tensor.name, tensor.shape, tensor.dtype, tensor.nbytes, offset)
        for tensor, offset in zip(header.tensors, (0, 256, 288), strict=True)
    ] == [
        (
            tensor.name,
            tuple(int(side) for side in reversed(tensor.shape)),
            tensor.tensor_type.name,
            tensor.n_bytes,
            tensor.data_offset - header.data_start,
        )
        for tensor in reader.tensors
    ]


def test_a_gguf_float_is_the_decimal_that_was_meant(tmp_path: Path) -> None:
    header = read_gguf(write_llama(tmp_path / "a.gguf"))
    assert header.get("llama.attention.layer_norm_rms_epsilon") == 1e-5
    assert header.get("llama.rope.freq_base") == 10000.0


@pytest.fixture(scope="module")
def gguf_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "a.gguf"
    return write_llama(path, tokenizer_model="gpt2", token_list=["a", "b", "ab"]).read_bytes()


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_gguf_file_cut_anywhere_is_a_sentence(
    gguf_bytes: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    # The last tensor's padding is not needed to read it.
    length = data.draw(st.integers(0, len(gguf_bytes) - 32))
    path = tmp_path_factory.mktemp("cut") / "a.gguf"
    path.write_bytes(gguf_bytes[:length])
    with pytest.raises(InputFault) as fault:
        read_gguf(path)
    assert "cut short" in fault.value.message or (length < 4 and "not a GGUF file" in fault.value.message)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_gguf_file_with_wrong_bytes_is_read_or_is_an_input_fault(
    gguf_bytes: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    broken = bytearray(gguf_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(4, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("bits") / "a.gguf"
    path.write_bytes(broken)
    with contextlib.suppress(InputFault):
        header = read_gguf(path)
        if header.length("tokenizer.ggml.tokens"):
            header.array("tokenizer.ggml.tokens")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a GGUF"),
        (b"PK\x03\x04 a zip file", "not a GGUF"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(16), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "absurd"),
    ],
)
def test_what_is_no_gguf_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(TuiwbError, match=words) as fault:
        read_gguf(path)
    assert fault.value.exit_code == 3


def tensor(name: str, *shape: int, dtype: str = "BF16", nbytes: int = 0) -> TensorInfo:
    return TensorInfo(name, shape, dtype, nbytes)


def test_parameters_are_counted_once_and_without_buffers() -> None:
    tensors = [
        tensor("model.embed_tokens.weight", 100, 8),
        tensor("lm_head.weight", 100, 8),
        tensor("model.layers.0.self_attn.q_proj.weight", 8, 8),
        tensor("model.layers.0.self_attn.q_proj.bias", 8),
        tensor("model.layers.0.self_attn.rotary_emb.inv_freq", 4),
        tensor("transformer.h.0.attn.bias", 1, 1, 64, 64),
        tensor("transformer.h.0.attn.masked_bias"),
    ]
    assert count_parameters(tensors, {"tie_word_embeddings": False}) == 800 + 800 + 64 + 8
    assert count_parameters(tensors, {"tie_word_embeddings": True}) == 800 + 64 + 8


def test_packed_weights_are_counted_unpacked() -> None:
    nf4 = [
        tensor("a.weight", 32, 1, dtype="U8", nbytes=32),
        tensor("a.weight.absmax", 1, dtype="U8", nbytes=1),
        tensor("a.weight.quant_map", 16, dtype="F32", nbytes=64),
        tensor("a.weight.quant_state.bitsandbytes__nf4", 80, dtype="U8", nbytes=80),
        tensor("norm.weight", 8),
    ]
    assert count_parameters(nf4, {}) == 64 + 8
    gptq = [
        tensor("a.qweight", 8, 16, dtype="I32", nbytes=512),
        tensor("a.qzeros", 1, 2, dtype="I32", nbytes=8),
        tensor("a.scales", 1, 16, dtype="F16", nbytes=32),
        tensor("a.g_idx", 64, dtype="I32", nbytes=256),
    ]
    assert count_parameters(gptq, {"quantization_config": {"bits": 4}}) == 64 * 16
    assert count_parameters(gptq, {"quantization_config": {"bits": 8}}) == 32 * 16
    mxfp4 = [
        tensor("experts.down_proj_blocks", 2, 8, 1, 16, dtype="U8", nbytes=256),
        tensor("experts.down_proj_scales", 2, 8, 1, dtype="U8", nbytes=16),
    ]
    assert count_parameters(mxfp4, {}) == 2 * 8 * 32


def test_the_type_is_the_one_that_most_bytes_have() -> None:
    assert dominant_dtype([tensor("a", 4, nbytes=8), tensor("b", 1, dtype="F32", nbytes=4)]) == "bfloat16"
    assert dominant_dtype([tensor("a", 4, dtype="Q4_K", nbytes=8)]) == "Q4_K"
    assert dominant_dtype([]) is None
