"""Streams as servers write them: vLLM, Ollama, llama.cpp's server, hosted services. What is here is what their own
sources write (vLLM: entrypoints/openai; Ollama: openai.go and middleware; llama.cpp: tools/server)."""

import json
from typing import Any

import pytest
from fake_server import DONE, Request, serving
from test_endpoints import HELLO, collect, endpoint

from tuiwb import endpoints
from tuiwb.cli.main import main
from tuiwb.endpoints import End
from tuiwb.endpoints.sse import Events


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return line({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                 "choices": [choice], **more})  # fmt: skip


def line(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def usage(**more: Any) -> bytes:
    counted = {"prompt_tokens": 31, "total_tokens": 36, "completion_tokens": 5, **more}
    return line({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": counted})


ROLE = {"role": "assistant", "content": ""}
VLLM = [
    chunk(ROLE, prompt_token_ids=None),
    chunk({"content": "Par", "reasoning_content": None}, token_ids=None),
    chunk({"content": "is."}),
    chunk({"content": ""}, "stop", stop_reason=None),
    usage(prompt_tokens_details={"cached_tokens": 16}),
    DONE,
]
OLLAMA = [
    chunk({"role": "assistant", "content": "Par"}, system_fingerprint="fp_ollama"),
    chunk({"role": "assistant", "content": "is."}, system_fingerprint="fp_ollama"),
    chunk({"role": "assistant", "content": ""}, "stop", system_fingerprint="fp_ollama"),
]
LLAMA_CPP = [
    chunk({"role": "assistant", "content": None}),
    chunk({"content": "Par"}),
    b": keep-alive\n\n",
    chunk({"content": "is."}),
    chunk({}, "stop"),
    line({"choices": [], "model": "m", "object": "chat.completion.chunk", "timings": {"predicted_per_second": 9.1},
          "usage": {"prompt_tokens": 31, "completion_tokens": 5, "total_tokens": 36}}),
    DONE,
]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "counted"),
    [
        (VLLM, (31, 16, 5)),
        ([*OLLAMA, usage(), DONE], (31, None, 5)),
        ([*OLLAMA, DONE], (None, None, None)),  # before 0.5, which counted nothing
        (OLLAMA, (None, None, None)),
        (LLAMA_CPP, (31, None, 5)),
    ],
    ids=["vllm", "ollama", "ollama without usage", "nothing behind the end", "llama.cpp"],
)
def test_streams_of_servers_are_understood(stream: list[bytes], counted: tuple[int | None, ...]) -> None:
    with serving(lambda request: request.stream(*stream)) as server:
        pieces, end = collect(endpoint(server.url))
    assert isinstance(end, End), end
    assert ("".join(pieces), end.text, end.reason, end.thoughts) == ("Paris.", "Paris.", "stop", "")
    assert (end.prompt_tokens, end.cached_tokens, end.completion_tokens) == counted


@pytest.mark.parametrize("names", [("reasoning",), ("reasoning_content",), ("reasoning", "reasoning_content")])
def test_what_is_thought_is_told_apart(names: tuple[str, ...]) -> None:
    stream = [
        chunk(ROLE),
        *(chunk({"content": None, **dict.fromkeys(names, text)}) for text in ("Hm, ", "France.")),
        chunk({"content": "Paris."}),
        chunk({}, "stop"),
        usage(),
        DONE,
    ]
    with serving(lambda request: request.stream(*stream)) as server:
        pieces, end = collect(endpoint(server.url))
    assert isinstance(end, End)
    assert (pieces, end.text, end.thoughts) == (["Paris."], "Paris.", "Hm, France.")
    assert end.first_s <= end.last_s


@pytest.mark.parametrize("reason", ["length", "load", "unload", "abort", "content_filter"])
def test_other_reasons_to_end_are_kept(reason: str) -> None:
    with serving(lambda request: request.stream(chunk({**ROLE}, reason), DONE)) as server:
        _, end = collect(endpoint(server.url))
    assert isinstance(end, End)
    assert (end.text, end.reason) == ("", reason)


def test_a_refusal_of_a_hosted_model_is_its_answer() -> None:
    with serving(lambda request: request.stream(chunk({"refusal": "I will not."}), chunk({}, "stop"), DONE)) as server:
        assert collect(endpoint(server.url))[0] == ["I will not."]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (
            line({"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}),
            "EngineCore died",
        ),
        (line({"object": "error", "message": "EngineCore died", "type": "BadRequestError", "code": 400}), "EngineCore"),
        (
            line({"error": {"object": "error", "message": "EngineCore died", "code": 400}}),
            "there says: EngineCore died",
        ),
        (line({"error": "EngineCore died"}), "there says: EngineCore died"),
        (b'error: {"code":500,"message":"EngineCore died","type":"server_error"}\n\n', "there says: EngineCore died"),
    ],
    ids=["vllm", "vllm before 0.10", "nested", "text", "llama.cpp before 2026"],
)
def test_what_goes_wrong_in_a_stream_is_told(block: bytes, words: str) -> None:
    with serving(lambda request: request.stream(chunk({"content": "Half"}), block, DONE)) as server:
        pieces, fault = collect(endpoint(server.url))
    assert pieces == ["Half"]
    assert words in str(fault)


def test_an_ollama_whose_runner_ends_breaks_off() -> None:
    """It writes a chunk without text, and no end."""
    with serving(lambda request: request.stream(OLLAMA[0], chunk({"role": "", "content": ""}))) as server:
        pieces, fault = collect(endpoint(server.url))
    assert pieces == ["Par"]
    assert "broke off in the middle" in str(fault)


TOO_LONG = "This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens."
NOT_THERE = "The model `x` does not exist."


@pytest.mark.parametrize(
    ("status", "document", "words", "code"),
    [
        ("401 Unauthorized", {"error": "Unauthorized"}, "refuses the key (401)", 3),
        ("400 Bad Request", {"error": {"message": TOO_LONG, "type": "BadRequestError", "code": 400}}, TOO_LONG, 3),
        ("400 Bad Request", {"object": "error", "message": TOO_LONG, "type": "BadRequestError"}, TOO_LONG, 3),
        ("404 Not Found", {"object": "error", "message": NOT_THERE, "code": 404}, NOT_THERE, 3),
        (
            "404 Not Found",
            {"error": {"message": "model 'x' not found", "type": "not_found_error", "param": None, "code": None}},
            "(404): model 'x' not found",
            3,
        ),
        (
            "422 Unprocessable Entity",
            {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}]},
            "could not answer (422): messages: Field required",
            3,
        ),
        ("503 Unavailable", {"error": {"code": 503, "message": "Loading model"}}, "(503): Loading model", 4),
        ("500 Oops", {"error": {"message": "llama runner process has terminated"}}, "llama runner process", 4),
        ("429 Too Many", {"error": {"message": "slow down"}}, "asked too often (429): slow down", 4),
    ],
)
def test_refusals_in_either_shape(
    status: str, document: Any, words: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda request: request.send_json(document, status)) as server:
        assert main(["chat", f"{server.url}#m", "--prompt", "hello", "--json"]) == code
    told = capsys.readouterr()
    assert words in told.err
    assert json.loads(told.out)["exit_code"] == code
    assert "Traceback" not in told.err


def test_what_was_refused_by_name_is_left_out() -> None:
    def script(request: Request) -> None:
        if "stream_options" in request.body:
            message = "Extra inputs are not permitted"
            request.send_json({"detail": [{"loc": ["body", "stream_options"], "msg": message}]}, "422 Unprocessable")
        else:
            request.stream(*OLLAMA, DONE)

    with serving(script) as server:
        assert "".join(collect(endpoint(server.url))[0]) == "Paris."
    assert len(server.requests) == 2


def test_a_server_without_models_says_so() -> None:
    """Ollama writes null in the place of an empty list."""
    with serving(lambda request: request.send_json({"object": "list", "data": None})) as server:
        assert endpoints.models_of(endpoint(server.url)) == []
        assert "names no model" in str(collect(endpoint(server.url, model=""))[1])


def test_the_request_is_what_all_of_them_take() -> None:
    with serving(lambda request: request.stream(*VLLM)) as server:
        collect(endpoint(server.url), {"max_tokens": 5})
    assert server.requests[0].body == {
        "model": "m", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5,
    }  # fmt: skip


def test_events_with_names_are_events() -> None:
    assert list(Events().feed(b"event: message\nid: 7\nretry: 10\ndata: {}\n\n")) == ["{}"]
