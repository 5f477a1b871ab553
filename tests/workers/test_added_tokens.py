"""A template whose tokens the tokenizer lacks: they are added, learned, saved, and there again in the chat."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import make_tiny_model
from training import losses, make_run, train, write_rows

from tuiwb import chat, export, models, resolve, rundir
from tuiwb.recipe import DatasetEntry, Recipe
from tuiwb.rundir import RunDir

pytestmark = pytest.mark.torch
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


def test_a_tokenizer_gets_tokens_without_changing_its_own(tiny_model: Path) -> None:
    plain = models.load_tokenizer(tiny_model)
    more = plain.with_tokens([*HEADERS, "<|im_end|>", HEADERS[0]])
    assert more.added == HEADERS, "what it has already is not added again"
    assert [more.token_id(token) for token in HEADERS] == [plain.vocab_size + n for n in range(3)]
    assert plain.token_id(HEADERS[0]) is None
    assert more.fingerprint != plain.fingerprint
    assert set(more.encode("".join(HEADERS))) <= more.special_ids
    assert plain.with_tokens(["<|im_end|>"]) is plain


def test_they_are_chosen_for_a_named_template_and_refused_where_nothing_would_learn_them(
    tmp_path: Path, tiny_model: Path
) -> None:
    recipe = Recipe(model_name_or_path=str(tiny_model), chat_template="llama-3",
                    datasets=(DatasetEntry(path=str(write_rows(tmp_path / "rows.jsonl"))),))  # fmt: skip
    found = resolve.assess(recipe)
    assert found.resolved.recipe.added_tokens == HEADERS
    assert "the tokenizer lacks them" in found.resolved.reasons["added_tokens"]
    assert any(check.key == "added_tokens" and check.level == "note" for check in found.checks)
    own = resolve.assess(Recipe(model_name_or_path=str(tiny_model), chat_template="chatml", datasets=recipe.datasets))
    assert own.resolved.recipe.added_tokens is None
    frozen = resolve.assess(Recipe(model_name_or_path=str(tiny_model), method="ia3", added_tokens=("<x>",),
                                   datasets=recipe.datasets))  # fmt: skip
    assert any("would never be learned" in check.message for check in frozen.checks)


@pytest.mark.parametrize(("method", "tie"), [("lora", True), ("lora", False), ("full", True)])
def test_they_are_learned_saved_and_loaded(tmp_path: Path, method: Any, tie: bool) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuiwb.workers.chat_model import Base, put_adapter
    from tuiwb.workers.merge import merge

    base = make_tiny_model(tmp_path / "base", tie=tie, chat_template=None)
    recipe = Recipe(
        stage="sft", method=method, model_name_or_path=str(base), chat_template="llama-3", learning_rate=1e-2,
        datasets=(DatasetEntry(path=str(write_rows(tmp_path / "rows.jsonl"))),), max_length=128, num_train_epochs=2.0,
        per_device_train_batch_size=4, gradient_accumulation_steps=1, use_cpu=True, bf16=False, dtype="float32",
    )  # fmt: skip
    resolved = resolve.assess(recipe).resolved.recipe
    assert resolved.added_tokens == HEADERS
    run = make_run(tmp_path / "run", resolved)
    assert train(run) == 0, run.output_file.read_text()[-2000:]
    found = losses(run)
    assert found[max(found)] < found[1]
    folder = Path(rundir.checkpoints(run.part(1, "sft"))[-1])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.convert_tokens_to_ids(list(HEADERS))
    assert ids == [320, 321, 322] or len(set(ids)) == 3
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"][-1] == ids[2]
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert "<|start_header_id|>user<|end_header_id|>" in text
    if method == "full":
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
    else:
        loaded = Base(AutoModelForCausalLM.from_pretrained(base), tokenizer)
        put_adapter(loaded, str(folder), "tuned")
        model = loaded.peft
    rows = model.get_input_embeddings()(torch.tensor(ids))
    assert not torch.allclose(rows[0], rows[1]), "each has become something else"
    prompt = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    logits = model(input_ids=prompt).logits
    assert logits.shape[-1] >= max(ids) + 1
    if method == "lora":  # and in a model that other programs open
        merge(export.spec_of(chat.target_of(str(folder)).best, tmp_path / "whole"), RunDir(tmp_path / "run"))
        whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
        torch.testing.assert_close(whole(input_ids=prompt).logits, logits, rtol=1e-4, atol=1e-4)
        assert models.load_tokenizer(tmp_path / "whole").token_id(HEADERS[0]) == ids[0]
