"""What a server of adapters is told, and what it cannot serve."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "chat"))
from adapter import make_adapter

from tuiwb import export
from tuiwb.base.errors import InputFault
from tuiwb.cli.main import main


def with_settings(adapter: Path, **settings: Any) -> Path:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return adapter


@pytest.mark.parametrize(
    ("settings", "rank"),
    [({"r": 16}, None), ({"r": 17}, "32"), ({"r": 64}, "64"), ({"r": 8, "rank_pattern": {"q_proj": 100}}, "128")],
)
def test_a_rank_above_its_default_is_stated(
    tmp_path: Path, tiny_model: Path, settings: dict[str, Any], rank: str | None
) -> None:
    adapter = with_settings(make_adapter(tmp_path / "my adapter", tiny_model), **settings)
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    found = export.vllm(adapter, str(tiny_model), "tuned")
    words = shlex.split(found.command)
    assert words[:6] == ["vllm", "serve", str(tiny_model), "--enable-lora", "--lora-modules", f"tuned={adapter}"]
    assert (words[words.index("--max-lora-rank") + 1] if "--max-lora-rank" in words else None) == rank
    assert words[-2:] == ["--chat-template", str(adapter / "chat_template.jinja")]
    assert not found.problems


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "vLLM serves no DoRA"),
        ({"modules_to_save": ["lm_head"]}, r"trained whole \(lm_head\)"),
        ({"trainable_token_indices": {"embed_tokens": [320]}}, "no added tokens"),
        ({"peft_type": "IA3"}, "serves LoRA adapters alone, and this is IA3"),
        ({"r": 1024}, "ranks up to 512, and this one has 1024"),
    ],
)
def test_what_it_would_leave_out_is_said(
    tmp_path: Path, tiny_model: Path, settings: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = with_settings(make_adapter(tmp_path / "adapter", tiny_model), **settings)
    (problem,) = export.vllm(adapter, str(tiny_model), "tuned").problems
    import re

    assert re.search(words, problem)
    assert main(["export", str(adapter), "--vllm"]) == InputFault.exit_code
    told = capsys.readouterr()
    assert not told.out
    assert "merge it with --output" in told.err


def test_a_folder_that_is_no_adapter(tiny_model: Path) -> None:
    with pytest.raises(InputFault, match="no adapter's settings"):
        export.vllm(tiny_model, str(tiny_model), "tuned")
