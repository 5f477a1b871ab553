"""Conversations kept: private, found again, taken out; the verbs about them."""

import json
import stat

import pytest

from tuiwb import data
from tuiwb.base.errors import UsageFault
from tuiwb.chat import store
from tuiwb.chat.conversation import Conversation
from tuiwb.chat.protocol import Done, Sampling
from tuiwb.cli.main import main

DONE = Done(id=1, lane="base", reason="stop", text="Paris.", prompt_tokens=9, cached_tokens=3, completion_tokens=2,
            first_token_s=0.1, tokens_per_s=20.0, context_left=100)  # fmt: skip
TALK = Conversation(system="Be brief.").asked("What is the capital\nof France?").answered("Paris \u202e\x1b[2J.", DONE)


def test_a_conversation_comes_back_as_it_was() -> None:
    other = TALK.asked("And of Spain?")
    saved = store.save("one", "last", {"base": TALK, "tuned": other, "empty": Conversation()},
                       branches=({"base": TALK},), sampling=Sampling(seed=3, stop=("x",)))  # fmt: skip
    assert store.load("on") == saved
    assert saved.lanes == {"base": TALK, "tuned": other}
    assert saved.title == "What is the capital of France?"
    file = store.folder() / "one.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    again = store.save("one", "last", {"base": TALK})
    assert again.created == saved.created


def test_conversations_are_found_by_their_words() -> None:
    store.save("one", "m", {"base": TALK})
    store.save("two", "m", {"base": Conversation().asked("Straße?")})
    (store.folder() / "broken.json").write_text("{")
    assert [hit.saved.id for hit in store.scan()] == ["two", "one"]
    (hit,) = store.scan("FRANCE capital")
    assert hit.saved.id == "one"
    assert "capital of France" in hit.excerpt or "France" in hit.excerpt
    assert [hit.saved.id for hit in store.scan("STRASSE")] == ["two"]
    assert store.scan("nowhere") == []


def test_what_is_exported_can_be_trained_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    saved = store.save("one", "m", {"base": TALK.asked("Unanswered?"), "tuned": TALK})
    for form, name in (("messages", "messages"), ("sharegpt", "sharegpt")):
        path = tmp_path_factory.mktemp("out") / "rows.jsonl"
        path.write_text(store.export(saved, form))  # type: ignore[arg-type]
        with data.open(path) as view:
            assert view.format.name == name
            examples = list(view.examples())
        assert len(examples) == 2
        messages = examples[0].messages
        assert messages is not None
        assert [each["role"] for each in messages] == ["system", "user", "assistant"]
        assert messages[-1]["content"] == TALK.turns[-1].content
    text = store.export(saved, "markdown")
    assert "## System\n\nBe brief." in text
    assert text.count("## You") == 3


def test_the_verbs_list_show_export_and_delete(capsys: pytest.CaptureFixture[str]) -> None:
    store.save("20261122-one", "last", {"base": TALK})
    assert main(["chat", "history", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "20261122-one"
    assert main(["chat", "history", "show", "last"]) == 0
    shown = capsys.readouterr().out
    assert "Paris" in shown
    assert "\x1b" not in shown
    assert main(["chat", "history", "export", "2026", "--format", "messages"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"][0]["role"] == "system"
    assert main(["chat", "history", "delete", "2026"]) == 0
    assert main(["chat", "history", "show", "2026"]) == 2
    with pytest.raises(UsageFault):
        store.load("../one")
