"""Endpoints: profiles and keys, the stream, and everything that a server can do wrong, in one sentence each."""

import asyncio
import json
import stat
import threading
from pathlib import Path

import pytest
from fake_server import DONE, USAGE, Request, event, serving

from tuiwb import endpoints
from tuiwb.base import paths
from tuiwb.base.errors import EnvironmentFault, InputFault, TuiwbError, UsageFault
from tuiwb.cli.main import main
from tuiwb.endpoints import End, Endpoint, Piece
from tuiwb.endpoints.sse import Events

HELLO = [{"role": "user", "content": "Hello?"}]
KEY = "sk-very-secret-0123456789"


def endpoint(url: str, **more: object) -> Endpoint:
    return Endpoint(name="there", url=url, **{"model": "m", "timeout_s": 30.0, **more})  # type: ignore[arg-type]


def collect(to: Endpoint, parameters: dict[str, object] | None = None) -> tuple[list[str], End | TuiwbError]:
    """The pieces that came, and the end or the fault."""
    pieces: list[str] = []

    async def read() -> End:
        end: End | None = None
        async for each in endpoints.stream(to, HELLO, parameters or {}):
            assert end is None
            if isinstance(each, Piece):
                pieces.append(each.text)
            elif isinstance(each, End):
                end = each
        assert end is not None
        return end

    try:
        return pieces, asyncio.run(read())
    except TuiwbError as error:
        return pieces, error


def test_an_answer_streams_and_is_counted() -> None:
    def script(request: Request) -> None:
        request.stream(event("Hel"), event("lo."), event(finish="stop"), USAGE, DONE)

    with serving(script) as server:
        pieces, end = collect(endpoint(server.url), {"temperature": 0.5, "stop": ["x"]})
    assert pieces == ["Hel", "lo."]
    assert isinstance(end, End)
    assert (end.text, end.reason, end.prompt_tokens, end.completion_tokens) == ("Hello.", "stop", 7, 2)
    asked = server.requests[0].body
    assert asked["messages"] == HELLO
    assert (asked["stream"], asked["temperature"], asked["stop"]) == (True, 0.5, ["x"])
    assert server.requests[0].path == "/v1/chat/completions"


def test_the_network_may_cut_anywhere() -> None:
    whole = event("Zoë ") + b": a comment\r\n\r\n" + event("東京") + event(finish="length") + DONE
    for size in (1, 2, 3, 7, 64):
        events = Events()
        found = [data for at in range(0, len(whole), size) for data in events.feed(whole[at : at + size])]
        assert [json.loads(each)["choices"][0]["delta"].get("content") for each in found[:-1]] == ["Zoë ", "東京", None]
        assert found[-1] == "[DONE]"
        assert not events.unfinished


def test_carriage_returns_end_lines_too() -> None:
    events = Events()
    assert list(events.feed(b"data: a\r")) == []
    assert list(events.feed(b"\ndata: b\r\n\r")) == ["a\nb"]
    assert list(events.feed(b"\ndata: c\r\r")) == ["c"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda r: r.stream(event("Half"), b'data: {"choices": [{"del'), "broke off in the middle"),
        (lambda r: r.stream(event("Half")), "broke off in the middle"),
        (lambda r: r.stream(event("Half"), b"data: {nonsense}\n\n"), "an event that is no JSON"),
        (lambda r: r.stream(event("Half"), b"data: [1]\n\n"), "an event that is no answer"),
        (lambda r: r.stream(event("Half"), b'data: {"error": {"message": "out of\\nmemory"}}\n\n'), "out of memory"),
    ],
)
def test_what_breaks_off_keeps_what_came(script: object, words: str) -> None:
    with serving(script) as server:  # type: ignore[arg-type]
        pieces, fault = collect(endpoint(server.url))
    assert pieces == ["Half"]
    assert words in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda r: r.send_json({"error": {"message": f"bad key {KEY}"}}, "401 Unauthorized"), "refuses the key (401)"),
        (lambda r: r.send_json({"error": {"message": "slow"}}, "429 Too Many", "Retry-After: 7"), "7 s of rest"),
        (
            lambda r: r.send_json({"error": {"message": f"say {KEY} again"}}, "400 Bad"),
            "could not answer (400): say … ",
        ),
        (lambda r: r.send_json({"detail": "boom"}, "500 Oops"), "could not answer (500): boom"),
        (lambda r: r.send_json({}, "404 Not Found"), "no such model or address (404)"),
        (lambda r: r.send("200 OK", "text/html", b"<html><body>Log in</body></html>"), "sent an HTML page"),
        (lambda r: r.send("502 Bad Gateway", "text/html", b"<html>" + b"x" * 200_000), "could not answer (502)"),
        (lambda r: r.send("307 Elsewhere", "text/plain", b"", "Location: http://example.com/"), "points elsewhere"),
        (lambda r: r.send("200 OK", "application/json", b"{half"), "broken JSON"),
        (lambda r: r.connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "there"),
    ],
)
def test_refusals_are_one_sentence_without_the_key(script: object, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", KEY)
    with serving(script) as server:  # type: ignore[arg-type]
        pieces, fault = collect(endpoint(server.url, key_env="THEIR_KEY"))
    assert not pieces
    assert isinstance(fault, TuiwbError)
    assert words in str(fault)
    assert KEY not in str(fault)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_who_needs_a_key_is_told_where_it_goes() -> None:
    with serving(lambda request: request.send_json({}, "401 Unauthorized")) as server:
        _, fault = collect(endpoint(server.url))
        assert "keys belong to profiles: `tuiwb endpoints add NAME URL`" in str(fault)
        endpoints.save(endpoint(server.url))
        _, fault = collect(endpoint(server.url))
    assert "set it with `tuiwb endpoints key there`" in str(fault)


def test_silence_is_given_up() -> None:
    until = threading.Event()

    def script(request: Request) -> None:
        request.stream(event("Half"))
        until.wait(60)

    with serving(script) as server:
        pieces, fault = collect(endpoint(server.url, timeout_s=0.3))
        until.set()
    assert pieces == ["Half"]
    assert "has said nothing for 0.3 s" in str(fault)


def test_nobody_there_is_one_sentence() -> None:
    with serving(lambda request: None) as server:
        url = server.url
    _, fault = collect(endpoint(url))
    assert "cannot be reached at 127.0.0.1" in str(fault)


def test_a_line_without_end_is_given_up() -> None:
    def script(request: Request) -> None:
        request.stream(*[b"data: " + b"x" * (1 << 20)] * 10)

    with serving(script) as server:
        _, fault = collect(endpoint(server.url))
    assert "a line that does not end" in str(fault)


def test_a_server_that_does_not_stream_is_understood() -> None:
    document = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    with serving(lambda request: request.send_json(document)) as server:
        pieces, end = collect(endpoint(server.url))
    assert pieces == ["Hi."]
    assert isinstance(end, End)
    assert (end.text, end.prompt_tokens) == ("Hi.", 3)


def test_the_limit_is_renamed_for_models_that_want_it_so() -> None:
    def script(request: Request) -> None:
        if "max_tokens" in request.body:
            request.send_json({"error": {"message": "use 'max_completion_tokens' instead"}}, "400 Bad Request")
        else:
            request.stream(event(str(request.body["max_completion_tokens"])), event(finish="stop"), DONE)

    with serving(script) as server:
        pieces, _ = collect(endpoint(server.url), {"max_tokens": 12})
    assert pieces == ["12"]


def test_the_only_model_is_taken_and_several_are_named() -> None:
    names = ["one"]

    def script(request: Request) -> None:
        if request.path == "/v1/models":
            request.send_json({"data": [{"id": name} for name in names]})
        else:
            request.stream(event(request.body["model"]), event(finish="stop"), DONE)

    with serving(script) as server:
        assert collect(endpoint(server.url, model=""))[0] == ["one"]
        names.append("two")
        _, fault = collect(endpoint(server.url, model=""))
    assert "serves 2 models, such as one, two" in str(fault)


def test_a_busy_server_is_asked_again() -> None:
    asked: list[int] = []

    def script(request: Request) -> None:
        asked.append(1)
        if len(asked) == 1:
            request.send_json({}, "429 Too Many Requests", "Retry-After: 0")
        else:
            request.stream(event("Now."), event(finish="stop"), DONE)

    with serving(script) as server:
        assert endpoints.complete(endpoint(server.url), HELLO, {}).text == "Now."


def test_profiles_are_kept_and_keys_are_kept_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    endpoints.save(Endpoint(name="vllm", url="https://box:8000/v1", model="tuned"))
    endpoints.save_key("vllm", f"{KEY}\n")
    assert endpoints.find("vllm").model == "tuned"
    assert endpoints.key_of(endpoints.find("vllm")) == KEY
    file = paths.config_home() / "keys.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in (paths.config_home() / "endpoints.toml").read_text()
    assert main(["endpoints", "list", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)[0]["key"] == "kept"
    assert KEY not in told.out + told.err
    file.chmod(0o644)
    with pytest.raises(EnvironmentFault, match="others may read"):
        endpoints.key_of(endpoints.find("vllm"))
    file.chmod(0o600)
    assert main(["endpoints", "delete", "vllm"]) == 0
    assert KEY not in file.read_text()
    with pytest.raises(UsageFault, match="no endpoint"):
        endpoints.find("vllm")


def test_a_key_does_not_travel_unencrypted_to_another_machine() -> None:
    far = Endpoint(name="far", url="http://gpu-box:8000/v1")
    endpoints.save(far)
    endpoints.save_key("far", KEY)
    with pytest.raises(InputFault, match="unencrypted") as caught:
        endpoints.key_of(far)
    assert KEY not in str(caught.value)
    assert endpoints.key_of(Endpoint(name="far", url="http://gpu-box:8000/v1", insecure=True)) == KEY


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "http://", "https://me:secret@host/v1", "http://host:99999/v1", "unix:x"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InputFault):
        endpoints.save(Endpoint(name="x", url=url))


def test_a_key_in_the_profile_is_refused() -> None:
    paths.private_folder(paths.config_home())
    (paths.config_home() / "endpoints.toml").write_text(f'[x]\nurl = "https://x/v1"\napi_key = "{KEY}"\n')
    with pytest.raises(InputFault, match="keys do not belong here") as caught:
        endpoints.profiles()
    assert KEY not in str(caught.value)
