"""One question to several at once: who fails takes nothing from the others."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "endpoints"))
from fake_server import DONE, Request, event, serving
from test_remote import echo

from tuiwb.base.errors import InputFault, RunFault
from tuiwb.chat import once
from tuiwb.chat.once import Broken, answer_once
from tuiwb.chat.protocol import Died, Done, EndpointLane, Event, Failed, Lane, Token
from tuiwb.chat.target import Target
from tuiwb.cli.main import main
from tuiwb.endpoints import Endpoint


def half(request: Request) -> None:
    request.stream(event("Half an \x1b[2Jans"))


def test_the_others_answers_are_printed_where_one_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(echo) as good, serving(half) as bad, serving(lambda r: r.send_json({}, "401 No")) as closed:
        words = ["chat", f"{good.url}#m", "--side-by-side", "--prompt", "hello"]
        words += ["--beside", f"{bad.url}#m", "--beside", f"{closed.url}#m"]
        assert main(words) == 4
        told = capsys.readouterr()
        assert main([*words, "--json"]) == 4
        document = json.loads(capsys.readouterr().out)
        names = [url.url.removeprefix("http://").removesuffix("/v1") for url in (good, bad, closed)]
    assert f"── {names[0]}\nYou said hello\n" in told.out
    assert f"── {names[1]}\nHalf an ␛[2Jans\n" in told.out
    faults = [line for line in told.err.splitlines() if line.startswith("tuiwb: ")]
    assert faults[0] == f"tuiwb: {names[1]} broke off in the middle of the answer"
    assert faults[1].startswith(f"tuiwb: {names[2]} refuses the key (401)")
    first, second, third = document["answers"]
    assert (first["lane"], first["answer"], first["finish_reason"]) == (names[0], "You said hello", "stop")
    assert (second["answer"], second["exit_code"]) == ("Half an \x1b[2Jans", 4)
    assert (third["answer"], third["exit_code"]) == ("", 3)
    assert "refuses the key" in third["error"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([Failed(lane="b", message="gone", exit_code=3), Failed(id=1, lane="b", message="again")], ("gone", 3)),
        ([Failed(id=1, lane="b", message="too long", exit_code=3)], ("too long", 3)),
        ([Died(message="killed by signal 9")], ("killed by signal 9", RunFault.exit_code)),
    ],
    ids=["not loaded", "not answered", "died"],
)
def test_lanes_of_one_engine_fail_by_themselves(
    events: list[Event], expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engine:
        """Answers in `a` and gives what is said of `b`."""

        def __init__(self, lanes: object, *, on_event: object, draft: object) -> None:
            self._on_event = on_event

        def __enter__(self) -> "Engine":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, *_: object, **__: object) -> None:
            done = Done(id=1, lane="a", reason="stop", text="yes", prompt_tokens=1, cached_tokens=0,
                        completion_tokens=1, first_token_s=0.1, tokens_per_s=None, context_left=9)  # fmt: skip
            for each in (Token(id=1, lane="b", text="So f"), done, *events):
                self._on_event(each)  # type: ignore[operator]

    monkeypatch.setattr(once, "Engine", Engine)
    lanes = tuple(Lane(name=name, model="m", template="", stop_ids=()) for name in "ab")
    with serving(echo) as server:
        far = EndpointLane(name="far", endpoint=Endpoint(name="far", url=server.url, model="m"))
        found = answer_once(Target("t", (*lanes, far)), "hi", names=("a", "b", "far"))
    assert [found["a"].text, found["far"].text] == ["yes", "You said hi"]
    assert found["b"] == Broken("So f", *expected)


def test_the_verb_tells_a_fault_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(half) as server:
        assert main(["chat", f"{server.url}#m", "--prompt", "hello"]) == 4
    told = capsys.readouterr()
    assert told.out == "Half an ␛[2Jans\n"
    assert told.err.endswith("broke off in the middle of the answer\n")


def test_a_server_that_serves_several_wants_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda request: request.send_json({"data": [{"id": "one"}, {"id": "two"}]})) as server:
        assert main(["chat", server.url, "--prompt", "hello"]) == InputFault.exit_code
    assert "serves 2 models" in capsys.readouterr().err


def test_who_thought_and_did_not_answer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    thought = b'data: {"choices": [{"delta": {"reasoning": "Hm."}, "finish_reason": "length"}]}\n\n'
    with serving(lambda request: request.stream(thought, DONE)) as server:
        assert main(["chat", f"{server.url}#m", "--prompt", "hello", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["reasoning"] == "Hm."
    assert "did not come to an answer" in told.err
