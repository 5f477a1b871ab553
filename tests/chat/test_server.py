"""`tuiwb chat serve` as other programs meet it: the official client, unchanged. The engine is one without torch."""

import functools
import http.client
import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiwb.base.errors import EnvironmentFault
from tuiwb.chat import broker as brokers
from tuiwb.chat import server as servers
from tuiwb.chat.broker import Broker
from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import Lane

openai = pytest.importorskip("openai")
TOKEN = "a-token"
ECHO = Path(__file__).parent.parent / "tui"


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    monkeypatch.setattr(brokers, "Engine", functools.partial(Engine, module="echo_engine"))
    monkeypatch.setenv("PYTHONPATH", str(ECHO))
    lanes = tuple(Lane(name=name, model="/nowhere", template="", stop_ids=(0,)) for name in ("base", "tuned"))
    broker = Broker(lanes)
    yield broker
    broker.close()


@pytest.fixture
def server(broker: Broker) -> Iterator[servers.Server]:
    server = servers.open_server(broker, TOKEN)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def client_of(server: servers.Server, token: str = TOKEN) -> Any:
    return openai.OpenAI(base_url=servers.address_of(server), api_key=token, max_retries=0, timeout=60)


def ask(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(
        model=more.pop("model", "tuned"), messages=[{"role": "user", "content": text}], **more
    )


def test_the_official_client_asks_and_gets_usage(server: servers.Server) -> None:
    client = client_of(server)
    assert [model.id for model in client.models.list()] == ["base", "tuned"]
    answer = ask(client, "hello", temperature=0, max_tokens=5, stop=["x"], seed=1)
    assert answer.choices[0].message.content == "tuned says HELLO"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 3)
    parts = [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]
    said = client.chat.completions.create(
        model="base", messages=[{"role": "developer", "content": "x"}, {"role": "user", "content": parts}]
    )
    assert said.choices[0].message.content == "base says IN PARTS"


def test_the_official_client_streams(server: servers.Server) -> None:
    chunks = list(ask(client_of(server), "hello there", stream=True, stream_options={"include_usage": True}))
    text = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(text) == "tuned says HELLO THERE"
    assert len([piece for piece in text if piece]) == 4
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 14
    assert len({chunk.id for chunk in chunks}) == 1


def test_errors_are_those_of_the_api(server: servers.Server) -> None:
    with pytest.raises(openai.AuthenticationError):
        ask(client_of(server, "wrong"), "hello")
    client = client_of(server)
    with pytest.raises(openai.NotFoundError, match="there are base, tuned"):
        ask(client, "hello", model="gpt-5")
    for wrong in (
        {"n": 2},
        {"temperature": 9},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"stop": ["x"] * 17},
        {"max_tokens": 0},
    ):
        with pytest.raises(openai.BadRequestError):
            ask(client, "hello", **wrong)
    with pytest.raises(openai.BadRequestError, match="no messages"):
        client.chat.completions.create(model="base", messages=[])


def test_an_engine_that_died_is_told_and_started_again(server: servers.Server) -> None:
    client = client_of(server)
    with pytest.raises(openai.InternalServerError, match="ended with 7"):
        ask(client, "die")
    assert ask(client, "hello").choices[0].message.content == "tuned says HELLO"
    with pytest.raises(openai.InternalServerError):
        list(ask(client, "die", stream=True))


def test_a_client_that_leaves_ends_its_answer(server: servers.Server, broker: Broker) -> None:
    stream = ask(client_of(server), "slow one", stream=True)
    next(iter(stream))
    assert broker._asked
    stream.close()
    deadline = time.monotonic() + 30
    while broker._asked:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # The echo engine answers one after the other, so this comes only when the slow answer was cancelled.
    assert ask(client_of(server), "hello").choices[0].message.content == "tuned says HELLO"


def test_pages_of_other_names_and_broken_requests_are_refused(server: servers.Server) -> None:
    port = server.server_address[1]

    def request(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    assert request("GET", "/v1/models", Host="evil.example")[0] == 403
    assert request("GET", "/health", Authorization="")[0] == 200
    assert request("POST", "/v1/chat/completions", b"{half")[0] == 400
    assert request("POST", "/v1/chat/completions", b'{"model": "base", "messages": "x"}')[0] == 400
    assert request("POST", "/v1/nothing")[0] == 404
    assert request("POST", "/v1/chat/completions", **{"Content-Length": "99999999999"})[0] == 413
    assert request("GET", "/v1/models", Authorization="Basic x")[0] == 401


def test_a_unix_socket_is_private_and_serves(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = servers.open_server(broker, TOKEN, path=path)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        from tuiwb import endpoints

        endpoints.save(endpoints.Endpoint(name="ours", url=servers.address_of(server), model="base"))
        endpoints.save_key("ours", TOKEN)
        end = endpoints.complete(endpoints.find("ours"), [{"role": "user", "content": "hello"}], {"temperature": 0})
        assert (end.text, end.completion_tokens) == ("base says HELLO", 3)
        with pytest.raises(EnvironmentFault, match="somebody listens there"):
            servers.open_server(broker, TOKEN, path=path)
    finally:
        server.shutdown()
        server.server_close()
    with servers.open_server(broker, TOKEN, path=path):
        pass  # what a killed server left is taken away
    (tmp_path / "file").write_text("precious")
    with pytest.raises(EnvironmentFault, match="no socket"):
        servers.open_server(broker, TOKEN, path=tmp_path / "file")


def test_a_port_that_is_taken_is_one_sentence(broker: Broker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EnvironmentFault, match="cannot listen on port"):
            servers.open_server(broker, TOKEN, port=taken.getsockname()[1])
