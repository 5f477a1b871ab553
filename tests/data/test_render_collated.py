"""From a file to what the trainer's collator hands over, through every template that the installed TRL ships: the
tokens are those of `apply_chat_template`, what is trained is what the screen shows, and where a template marks what is
trained, it is what transformers marks."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from test_render_any import TEMPLATES
from test_render_spans import NEEDS_PARTS

from tuiwb import data, models
from tuiwb.base.errors import InputFault
from tuiwb.data.prepare import PrepareSettings, prepare
from tuiwb.data.render import render

# No answer ends in a character of several tokens: transformers leaves all but the first of them out of its mask.
TALKS: list[list[tuple[str, str]]] = [
    [("user", "What is 2+2?"), ("assistant", "It is 4.")],
    [("user", " Hello there "), ("assistant", "Hi! Ünï ✓."), ("user", "Bye"), ("assistant", "Bye bye")],
    [("system", "Be brief."), ("user", "x"), ("assistant", "x"), ("user", "x"), ("assistant", "x")],
]


@pytest.fixture(scope="module")
def theirs(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_batches_of_every_template(name: str, theirs: Any, tiny_model: Path, tmp_path: Path) -> None:
    from tuiwb.workers.batches import Collator

    talks = [[{"role": role, "content": text} for role, text in talk] for talk in TALKS]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    tokenizer = models.load_tokenizer(tiny_model)
    template = tokenizer.template(TEMPLATES[name])

    def expected(talk: Any, **more: Any) -> Any:
        return theirs.apply_chat_template(talk, chat_template=TEMPLATES[name], return_dict=True, **more)

    try:
        prepared = prepare([path], tokenizer, template, PrepareSettings(), root=tmp_path / "prepared")
    except InputFault:
        assert name.removesuffix("_training") in NEEDS_PARTS  # text in parts alone
        return
    made = Collator(prepared, 2)([{"row": number} for number in range(len(prepared))])
    batches = zip(made["input_ids"].tolist(), made["labels"].tolist(), prepared.lengths().tolist(), strict=True)
    seen: list[int] = []
    with data.open(path) as view:
        for (_, row), (ids, labels, length) in zip(prepared.rows.tolist(), batches, strict=True):
            ids, labels = ids[:length], labels[:length]
            wanted = expected(talks[row])["input_ids"]
            assert ids in (wanted, [*wanted, theirs.eos_token_id])
            shown = render(view.example(view.row(row)), tokenizer, template)
            assert (shown.ids, shown.mask) == (ids, [label != -100 for label in labels])
            assert [label for label in labels if label != -100] == [
                number for number, trained in zip(ids, shown.mask, strict=True) if trained
            ]
            if name.endswith("_training"):
                marks = expected(talks[row], return_assistant_tokens_mask=True)["assistant_masks"]
                marked = [number if mark else -100 for number, mark in zip(wanted, marks, strict=True)]
                # Only what a model needs to stop is added.
                pairs = itertools.zip_longest(labels, marked)
                assert {one for one, other in pairs if one != other} <= {theirs.eos_token_id}
            seen.append(row)
    refused = [row for row, talk in enumerate(talks) if row not in seen]
    for row in refused:
        with pytest.raises(Exception):  # noqa: B017 - theirs refuses it as well
            expected(talks[row])
    assert len(seen) >= 2
