"""Judgements become rows that the Data screen opens and the trainers take."""

import json
import stat
from pathlib import Path

import pytest

from tuiwb import data
from tuiwb.base.errors import UsageFault
from tuiwb.chat import feedback
from tuiwb.chat.conversation import Conversation
from tuiwb.cli.main import main

ASKED = Conversation(system="Be brief.").asked("What is the capital of France?")
RIGHT, WRONG = ASKED.answered("Paris.", None), ASKED.answered("Lyon \x1b[2J.", None)


def examples(path: Path) -> list[data.Example]:
    with data.open(path) as view:
        found = list(view.examples())
        assert not [problem for problem in view.problems if problem.severity == "error"]
        assert len(found) == len(view)
    return found


def test_good_and_bad_are_rows_for_kto() -> None:
    path = feedback.judge(RIGHT, True, whom="tuned")
    feedback.judge(WRONG, False, whom="base")
    good, bad = examples(path)
    assert (good.label, bad.label) == (True, False)
    assert good.prompt == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": ASKED.turns[0].content},
    ]
    assert bad.completion == [{"role": "assistant", "content": "Lyon \x1b[2J."}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_better_and_worse_are_rows_for_dpo() -> None:
    for _ in range(3):
        path = feedback.prefer(
            RIGHT, [WRONG, ASKED.answered("Nice.", None)], whom="tuned", instead_of=["base", "x"], blind=True
        )
    assert path is not None
    rows = examples(path)
    assert len(rows) == 6
    assert rows[0].kind == "preference"
    assert rows[0].chosen == [{"role": "assistant", "content": "Paris."}]
    feedback.tie(RIGHT, names=["tuned", "base"], blind=True)
    feedback.prefer(WRONG, [RIGHT], whom="base", instead_of=["tuned"])  # with the names in sight: counted apart
    found = feedback.wins(blind=True)[("base", "tuned")]
    assert (found["first"], found["second"], found["tie"]) == (0, 3, 1)
    assert found["low"] < found["win_rate"] == 0.125 < found["high"]
    assert feedback.wins(blind=False)[("base", "tuned")]["win_rate"] == 1
    assert feedback.prefer(RIGHT, [RIGHT], whom="a", instead_of=["b"]) is None


def test_answers_to_other_questions_are_not_compared() -> None:
    later = RIGHT.asked("And of Spain?").answered("Madrid.", None)
    other = WRONG.asked("And of Spain?").answered("Seville.", None)
    with pytest.raises(UsageFault, match="no common past"):
        feedback.prefer(later, [other], whom="a", instead_of=["b"])
    with pytest.raises(UsageFault, match="questions differ"):
        feedback.prefer(later, [RIGHT], whom="a", instead_of=["b"])
    with pytest.raises(UsageFault, match="no answer"):
        feedback.judge(ASKED, True, whom="a")
    with pytest.raises(UsageFault, match="empty answer"):
        feedback.prefer(RIGHT, [ASKED.answered(" \n", None)], whom="a", instead_of=["b"])


def test_a_correction_is_a_row_to_learn_and_one_to_prefer() -> None:
    path = feedback.correct(WRONG, "Paris.", whom="base")
    (learned,) = examples(path)
    assert learned.messages is not None
    assert learned.messages[-1] == {"role": "assistant", "content": "Paris."}
    (preferred,) = examples(feedback.file_of("preference"))
    assert preferred.rejected == [{"role": "assistant", "content": "Lyon \x1b[2J."}]
    assert feedback.wins(blind=False) == feedback.wins(blind=True) == {}
    with pytest.raises(UsageFault, match="nothing was corrected"):
        feedback.correct(WRONG, WRONG.turns[-1].content, whom="base")


def test_a_dpo_recipe_takes_the_judgements_as_they_are(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        asked = Conversation().asked(f"What is {number}?")
        feedback.prefer(asked.answered("A number.", None), [asked.answered("?", None)], whom="a", instead_of=["b"])
    assert main(["data", "inspect", str(feedback.file_of("preference")), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["format"]) == (20, "preference")
    assert main(["chat", "history", "judgements", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"]["preference"]["rows"] == 20
    assert [(each["names"], each["blind"], each["first"]) for each in told["comparisons"]] == [(["a", "b"], False, 20)]
    from tuiwb import models
    from tuiwb.data.prepare import PrepareSettings, prepare

    tokenizer = models.load_tokenizer(tiny_model)
    path = feedback.file_of("preference")
    prepared = prepare([path], tokenizer, tokenizer.template(), PrepareSettings(shape="pair"))
    assert prepared.sides == ("chosen", "rejected")
    assert len(prepared) == 20
