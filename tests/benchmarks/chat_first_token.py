"""Time to the first token on turn 5 of a conversation of some 1,000 tokens: our server against `transformers serve`.

    python tests/benchmarks/chat_first_token.py MODEL [--pairs 5] [--theirs PYTHON] [--only without|with]

Both serve the same folder over HTTP on loopback; each answers four turns, and the fifth is timed: CPU-seconds of the
server's process from the request to the first piece of text, in the order A B B A, with its wall-clock time beside.
`transformers serve` is measured without and with continuous batching. It needs `transformers[serving]`, which
`--theirs` may have in an environment of its own. Wanted: at most 0.3 of it without continuous batching.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))

from ratios import in_turn

from tuiwb.base.worker import worker_environment

TURNS = 5
PAGED = ["--continuous-batching", "--cb-block-size", "32", "--cb-num-blocks", "256"]
"""Room for 8,192 tokens: left alone it takes half of the machine's memory."""
WORDS = " ".join(f"Fact {number}: the machine in rack {number % 7} has {number * 3} fans." for number in range(12))


class Server:
    """A server as a process, ended when the block is left. `cpu` is that of all its processes."""

    def __init__(self, argv: list[str], port: int, model: str) -> None:
        self.url, self.model = f"http://127.0.0.1:{port}/v1", model
        quiet = os.environ | worker_environment() | {"TUIWB_CHAT_TOKEN": "benchmark", "HF_HUB_OFFLINE": "1"}
        self.log = Path(f"serve-{port}.log").open("wb")  # noqa: SIM115
        self._process = subprocess.Popen(argv, env=quiet, stdout=self.log, stderr=self.log, start_new_session=True)

    def __enter__(self) -> "Server":
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.first_token([{"role": "user", "content": "hi"}])
                return self
            except OSError:
                time.sleep(1)
        self.__exit__()
        raise SystemExit(f"{self.url} never answered; see {self.log.name}")

    def __exit__(self, *_: object) -> None:
        for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            process.kill()
        self._process.wait()
        self.log.close()

    def cpu(self) -> float:
        mine = psutil.Process(self._process.pid)
        times = [each.cpu_times() for each in (mine, *mine.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))

    def first_token(self, messages: list[dict[str, str]]) -> tuple[float, float, str]:
        """CPU-seconds and seconds to the first text, and the whole answer."""
        body = {"model": self.model, "messages": messages, "stream": True, "max_tokens": 24, "temperature": 0}
        headers = {"Content-Type": "application/json", "Authorization": "Bearer benchmark"}
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        before, begun, first, text = self.cpu(), time.monotonic(), None, ""
        with urllib.request.urlopen(request, timeout=300) as answer:
            for line in answer:
                if not line.startswith(b"data: {"):
                    continue
                choices: list[dict[str, Any]] = json.loads(line[6:]).get("choices") or []
                if piece := (choices[0]["delta"].get("content") or "" if choices else ""):
                    first = first or (self.cpu() - before, time.monotonic() - begun)
                    text += piece
        return (*(first or (0.0, 0.0)), text)

    def fifth_turn(self) -> tuple[float, float]:
        messages: list[dict[str, str]] = []
        spent = seconds = 0.0
        for turn in range(TURNS):
            asked = f"{WORDS} Question {turn}: say something about rack {turn}."
            messages.append({"role": "user", "content": asked})
            spent, seconds, text = self.first_token(messages)
            messages.append({"role": "assistant", "content": text or "."})
        return spent, seconds


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", help="folder of a model")
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--theirs", default=sys.executable, help="interpreter that has transformers[serving]")
    arguments.add_argument("--only", choices=("without", "with"), help="continuous batching on their side")
    args = arguments.parse_args()
    folder, port = str(Path(args.model).absolute()), _port()
    print(f"{folder}, turn {TURNS}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    walls: dict[str, list[float]] = {}

    def timed(name: str, server: Server) -> Any:
        def run() -> float:
            spent, seconds = server.fifth_turn()
            walls.setdefault(name, []).append(seconds)
            return spent

        return run

    with Server(
        [sys.executable, "-m", "tuiwb", "chat", "serve", folder, "--port", str(port)], port, Path(folder).name
    ) as ours:
        for mode, extra in (("without", []), ("with", PAGED)):
            if args.only not in (None, mode):
                continue
            port = _port()
            serve = "from transformers.cli.transformers import main; main()"
            argv = [args.theirs, "-c", serve, "serve", "--port", str(port), *extra]
            try:
                with Server(argv, port, folder) as theirs:
                    found = in_turn(timed("ours", ours), timed(mode, theirs), args.pairs)
            except SystemExit as error:
                print(f"{mode} continuous batching: {error}")
                continue
            print(f"CPU-seconds to the first token, ours over `transformers serve` {mode} continuous batching: {found}")
    for name, each in walls.items():
        print(f"wall clock, {name}: median {sorted(each)[len(each) // 2]:.2f} s")


if __name__ == "__main__":
    main()
