"""The Chat screen's second half: lanes, endpoints, judgements, blind comparison, edits, branches, history."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pilot import BenchPilot, bench

sys.path.insert(0, str(Path(__file__).parent.parent / "endpoints"))
from fake_server import DONE, USAGE, Request, event, serving
from test_chat_screen import adapter as adapter
from test_chat_screen import ready, remember

from tuiwb import data, endpoints
from tuiwb.chat import feedback, session, store
from tuiwb.chat.engine import Engine


@pytest.fixture(autouse=True)
def _echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Engine", functools.partial(Engine, module="echo_engine"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


async def say(pilot: BenchPilot, chat: session.Chat, text: str) -> None:
    """Ask, wait for the answers, and leave the text field."""
    before = len(chat.lanes[chat.asked[0]].conversation.turns)
    await pilot.press("i")
    await pilot.enter(text)
    await pilot.press("enter")
    await pilot.until(lambda: not chat.answering and len(chat.lanes[chat.asked[0]].conversation.turns) >= before + 2)
    await pilot.press("escape")


def rows(kind: Any) -> list[dict[str, Any]]:
    path = feedback.file_of(kind)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_judgements_are_one_key_each(adapter: Path) -> None:
    remember(whom=str(adapter), start=True)
    async with bench(screen="chat", size=(120, 40)) as pilot:
        chat = await ready(pilot)
        await pilot.press("escape", "plus")
        assert any("no answer to judge" in toast for toast in pilot.toasts())
        await say(pilot, chat, "hello")
        await pilot.press("plus", "l", "minus")
        assert [(row["label"], row["whom"]) for row in rows("kto")] == [(True, "tuned"), (False, "base")]
        await pilot.press("right_square_bracket")
        (row,) = rows("preference")
        assert row["chosen"][0]["content"] == "tuned says HELLO"
        assert row["rejected"][0]["content"] == "base says HELLO"
        # All go on from the better answer, so the next ones can be compared too.
        await say(pilot, chat, "more")
        await pilot.press("left_square_bracket")
        assert [row["chosen"][0]["content"] for row in rows("preference")] == ["tuned says HELLO", "base says MORE"]
        assert rows("preference")[1]["prompt"][1]["content"] == "tuned says HELLO"
        with data.open(feedback.file_of("preference")) as view:
            assert view.format.name == "preference"


async def test_a_correction_replaces_the_answer_and_is_kept(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat", size=(80, 24)) as pilot:
        chat = await ready(pilot)
        await pilot.press("escape")
        await say(pilot, chat, "hello")
        await pilot.press("c")
        await pilot.enter(" indeed")
        await pilot.press("enter")
        (lane,) = chat.lanes.values()
        await pilot.until(lambda: lane.conversation.turns[-1].content == "tiny says HELLO indeed")
        await pilot.until_text("HELLO indeed")
        assert rows("sft")[0]["messages"][-1]["content"] == "tiny says HELLO indeed"
        assert rows("preference")[0]["rejected"][0]["content"] == "tiny says HELLO"
        assert "written by hand" in pilot.text()
        await pilot.press("plus")  # the field was left: the keys are the screen's
        await pilot.until(lambda: rows("kto"))


async def test_blind_hides_who_is_who_until_it_is_judged(adapter: Path) -> None:
    remember(whom=str(adapter), start=True)
    async with bench(screen="chat", size=(120, 40)) as pilot:
        chat = await ready(pilot)
        await pilot.press("escape", "v")
        await pilot.until_text("answer A")
        assert "answer B" in pilot.text()
        left, right = (name for name, _ in pilot.room._columns)
        await say(pilot, chat, "hello")
        await pilot.press("left_square_bracket")
        assert rows("preference")[0]["chosen"][0]["content"] == f"{left} says HELLO"
        assert rows("preference")[0]["blind"]
        assert any(f"A was {left}, B was {right}" in toast for toast in pilot.toasts())
        await pilot.until(lambda: "answer A" not in pilot.text())


async def test_an_endpoint_answers_beside(tiny_model: Path) -> None:
    def script(request: Request) -> None:
        if request.body["messages"][-1]["content"] == "break":
            request.stream(event("Half \x1b[31m"))
        else:
            request.stream(event("far "), event("away"), event(finish="stop"), USAGE, DONE)

    with serving(script) as server:
        endpoints.save(endpoints.Endpoint(name="far", url=server.url, model="m"))
        remember(whom=str(tiny_model), start=True)
        async with bench(screen="chat", size=(120, 40)) as pilot:
            chat = await ready(pilot)
            await pilot.press("escape", "a")
            await pilot.until_text("endpoint at")
            await pilot.enter("far")
            await pilot.press("enter")
            await pilot.until(lambda: chat.asked == ("tiny", "far"))
            await say(pilot, chat, "hello")
            await pilot.until_text("far away")
            assert "tiny says HELLO" in pilot.text()
            await say(pilot, chat, "break")
            await pilot.until_text("broke off in the middle")
            assert "␛[31m" in pilot.text()
            assert chat.lanes["far"].conversation.turns[-1].content == "Half \x1b[31m"
            await pilot.press("v")  # a fault would say whose answer it is
            await pilot.until_text("could not answer   v: who, and why")
            assert "broke off" not in pilot.text()
            await pilot.press("v")
            await pilot.until_text("far broke off in the middle")
            await pilot.press("d")
            await pilot.until(lambda: len(chat.asked) == 1)


async def test_an_edited_question_is_asked_again_and_the_past_is_a_branch(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat", size=(80, 24)) as pilot:
        chat = await ready(pilot)
        await pilot.press("escape")
        await say(pilot, chat, "one")
        (lane,) = chat.lanes.values()
        await pilot.press("E", "enter")
        await pilot.enter(" more")
        await pilot.press("enter")
        await pilot.until(lambda: not chat.answering and lane.conversation.turns[-1].content == "tiny says ONE MORE")
        await pilot.press("escape", "u", "enter")
        await pilot.until(lambda: lane.conversation.turns[-1].content == "tiny says ONE")
        await pilot.until_text("tiny says ONE")


async def test_conversations_are_kept_and_opened_again(tiny_model: Path, tmp_path: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat", size=(80, 24)) as pilot:
        chat = await ready(pilot)
        await pilot.press("escape")
        await say(pilot, chat, "first talk")
        await pilot.press("n")
        await pilot.press("escape")
        await say(pilot, chat, "second talk")
        assert len(store.scan()) == 2
        await pilot.press("h")
        await pilot.until_text("first talk")
        await pilot.enter("says first")  # what was answered is searched too
        await pilot.until(lambda: pilot.text().count(" turns · ") == 1)
        await pilot.press("enter")
        (lane,) = chat.lanes.values()
        await pilot.until(lambda: lane.conversation.turns[0].content == "first talk")
        await pilot.press("w")
        await pilot.press(*["backspace"] * 40)
        await pilot.enter(str(tmp_path / "out.md"))
        await pilot.press("enter")
        await pilot.until(lambda: (tmp_path / "out.md").exists())
        assert "FIRST TALK" in (tmp_path / "out.md").read_text()


async def test_the_prompt_is_shown_as_tokens(tiny_model: Path) -> None:
    remember(whom=str(tiny_model), start=True)
    async with bench(screen="chat", size=(80, 24)) as pilot:
        chat = await ready(pilot)
        await pilot.press("escape")
        await say(pilot, chat, "hello")
        await pilot.press("p")
        await pilot.until_text("tokens, template of the model")
        assert "<|im_start|>user" in pilot.text()


BOMBS = {
    "one line": "x" * 100_000,
    "stars": "*a" * 50_000,
    "rules": "---\n" * 5_000,
    "invisible": "\u200b\u202e" * 20_000,
}


async def test_answers_that_are_bombs_are_shown_and_do_not_hold_the_screen(tiny_model: Path) -> None:
    remember(whom=str(tiny_model))
    async with bench(screen="chat", size=(80, 24)) as pilot:
        chat = await ready(pilot)
        (lane,) = chat.lanes.values()
        for name, bomb in BOMBS.items():
            chat.clear()
            lane.conversation = lane.conversation.asked(name)
            for length in (10, len(bomb) // 2, len(bomb)):  # it grows
                lane.partial = bomb[:length]
                pilot.room._draw()
                await pilot.pilot.pause()
            lane.conversation, lane.partial = lane.conversation.answered(bomb, None), None
            pilot.room._draw()
            await pilot.until(lambda: not pilot.room._drawing)
            assert len(pilot.room.query("*")) < 60  # no widget for each block
        lane.conversation = lane.conversation.asked("still there?").answered("Yes, here.", None)
        pilot.room._draw()
        await pilot.until_text("Yes, here.")
        assert "\u202e" not in pilot.text()
