"""A chat engine without torch: it speaks the protocol and answers with what it was asked, in capitals, word by word.

`python -m echo_engine FOLDER`. A question with "slow" in it is answered until it is cancelled; "die" ends the process.
"""

import os
import queue
import socket
import sys
import threading
from pathlib import Path

import msgspec

from tuiwb.chat import protocol
from tuiwb.chat.protocol import Ask, Cancel, Done, Loading, Ready, Spec, Token


def main(folder: str) -> None:
    spec = msgspec.json.decode(Path(folder, "engine.json").read_bytes(), type=Spec)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(spec.socket)
    asked: queue.Queue[Ask] = queue.Queue()
    cancelled: dict[int, threading.Event] = {}

    def send(event: protocol.Event) -> None:
        connection.sendall(protocol.encode(event) + b"\n")

    def read() -> None:
        with connection.makefile("rb") as lines:
            for line in lines:
                request = protocol.decode_request(line)
                if isinstance(request, Cancel):
                    cancelled.setdefault(request.id, threading.Event()).set()
                elif isinstance(request, Ask):
                    asked.put(request)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    send(Loading(doing="loading echo"))
    send(Ready(lanes=tuple(lane.name for lane in spec.lanes), device="cpu", dtype="float32", seconds=0.0))
    while True:
        ask = asked.get()
        stop = cancelled.setdefault(ask.id, threading.Event())
        for lane in ask.lanes:
            question = str(lane.messages[-1]["content"])
            if "die" in question:
                os._exit(7)
            words = f"{lane.lane} says {question.upper()}".split()
            said = ""
            for number, word in enumerate(words):
                if "slow" in question and number == 2:
                    stop.wait()
                    break
                said += ("" if not said else " ") + word
                send(Token(id=ask.id, lane=lane.lane, text=word if number == 0 else f" {word}"))
            send(
                Done(
                    id=ask.id,
                    lane=lane.lane,
                    reason="cancel" if stop.is_set() else "stop",
                    text=said,
                    prompt_tokens=10 * len(lane.messages),
                    cached_tokens=10 * (len(lane.messages) - 1),
                    completion_tokens=len(words),
                    first_token_s=0.25,
                    tokens_per_s=42.0,
                    context_left=400,
                )
            )


if __name__ == "__main__":
    main(sys.argv[1])
