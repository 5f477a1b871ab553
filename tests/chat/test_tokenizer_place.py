"""An adapter from elsewhere brings no tokenizer: its base's is used."""

from pathlib import Path

from adapter import make_adapter

from tuiwb.chat.conversation import Conversation
from tuiwb.chat.prompt import prompt_tokens
from tuiwb.chat.protocol import Lane, tokenizer_place
from tuiwb.chat.target import target_of


def test_the_prompt_of_a_bare_adapter_is_shown_with_its_bases_tokens(tmp_path: Path, tiny_model: Path) -> None:
    adapter = make_adapter(tmp_path / "bare", tiny_model)
    (adapter / "tokenizer.json").unlink(missing_ok=True)
    lane = target_of(str(tiny_model)).best
    assert isinstance(lane, Lane)
    bare = Lane(name="bare", model=lane.model, adapter=str(adapter), template=lane.template, stop_ids=lane.stop_ids)
    asked = Conversation().asked("hello")
    assert prompt_tokens(bare, asked).tokens == prompt_tokens(lane, asked).tokens
    (adapter / "tokenizer.json").write_text("{}")
    assert tokenizer_place(lane.model, str(adapter)) == adapter
    assert tokenizer_place(lane.model, None) == Path(lane.model)
