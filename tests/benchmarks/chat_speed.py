"""Decoding against `model.generate`, four answers together against one after the other, and the switch of adapters.

    python tests/benchmarks/chat_speed.py MODEL --adapter FOLDER [--pairs 12] [--only four|decoding|switch]

The engine is the real process behind its socket; `model.generate` runs here, on the same weights with the same number
of tokens. CPU-seconds of the process that computes, in the order A B B A. Decoding is counted from the first token to
the last, because the engine knows the prompt's keys and values already, and token by token in turn, one process stopped
while the other computes, so that both meet the same load; each answer is a pair. Wanted: decoding at least 0.97 of
generate, four answers together at least twice as fast as one after the other, a switch of at most 100 ms.
"""

import argparse
import os
import queue
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import psutil

sys.path.insert(0, str(Path(__file__).parent))

from ratios import Ratio, in_turn, ratio

from tuiwb.base.worker import worker_environment
from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import Died, Done, Event, Failed, Lane, Ready, Sampling
from tuiwb.chat.target import target_of

TOKENS = 64
SAMPLING = Sampling(temperature=0.0, max_new_tokens=TOKENS)
ASKED: list[dict[str, object]] = [{"role": "user", "content": "Tell a long story about a lighthouse and its keeper."}]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", help="as `tuiwb chat` takes it")
    arguments.add_argument("--adapter", required=True, help="folder of a PEFT adapter for it")
    arguments.add_argument("--pairs", type=int, default=24, help="of decoding; a third of it, of four together")
    arguments.add_argument("--only", choices=("four", "decoding", "switch"))
    args = arguments.parse_args()
    os.environ |= worker_environment()  # threads that wait sleep here as they do in the engine
    base = cast(Lane, target_of(args.model).best)
    # No token ends an answer, so that all have the same length; the context leaves room for it.
    base = msgspec.structs.replace(base, name="base", stop_ids=(base.stop_ids[0],))
    tuned = [msgspec.structs.replace(base, name=f"tuned{number}", adapter=args.adapter) for number in range(3)]
    print(f"{args.model}, {TOKENS} tokens, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    if args.only in (None, "four"):
        found = _four(base, tuned, max(args.pairs // 3, 2))
        print(f"four together over one after the other, tokens a CPU-second: {found}   (wanted: at least 2)")
    if args.only in (None, "decoding"):
        found = _decoding(base, args.pairs)
        print(f"decoding over model.generate, tokens a CPU-second: {found}   (wanted: at least 0.97)")
    if args.only in (None, "switch"):
        print(f"switch of adapters: {_switch(base, args.adapter) * 1000:.1f} ms   (wanted: at most 100)")


def _four(base: Lane, tuned: list[Lane], pairs: int) -> Ratio:
    with Asked((base, *tuned)) as four:
        names = tuple(four.names)

        def together() -> float:
            spent, tokens = four.ask(*names)
            return tokens / spent

        def one_by_one() -> float:
            parts = [four.ask(name) for name in names]
            return sum(tokens for _, tokens in parts) / sum(spent for spent, _ in parts)

        return in_turn(together, one_by_one, pairs)


def _decoding(base: Lane, pairs: int) -> Ratio:
    ones, others = [], []
    with Asked((base,)) as alone:
        theirs = Generated(base)
        for number in range(-1, pairs):  # the first warms up
            sides = [alone.steps("base"), theirs.steps()]
            spent = [0.0, 0.0]
            for step in range(TOKENS + 1):
                for side in (0, 1) if (step + number) % 2 else (1, 0):
                    spent[side] += next(sides[side], 0.0)
            if number >= 0:
                ones.append(1 / spent[0])
                others.append(1 / spent[1])
                print(f"answer {number + 1} of {pairs}: {spent[1] / spent[0]:.3f}", file=sys.stderr, flush=True)
    return ratio(ones, others)


class Asked:
    """An engine that is ready, and what its answers cost."""

    def __init__(self, lanes: tuple[Lane, ...]) -> None:
        self.names = [lane.name for lane in lanes]
        self._events: queue.Queue[Event] = queue.Queue()
        self._engine = Engine(lanes, on_event=self._events.put)
        self._process = psutil.Process(self._engine.pid)

    def __enter__(self) -> "Asked":
        while not isinstance(event := self._events.get(), Ready):
            assert not isinstance(event, Failed | Died), event
        print(f"{event.dtype} on {event.device}")
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def ask(self, *names: str) -> tuple[float, int]:
        """CPU-seconds of the engine, and tokens."""
        before = _cpu(self._process.pid)
        self._engine.ask(dict.fromkeys(names, ASKED), SAMPLING)
        tokens, left = 0, len(names)
        while left:
            event = self._events.get()
            assert not isinstance(event, Failed | Died), event
            if isinstance(event, Done):
                tokens, left = tokens + (event.completion_tokens or 0), left - 1
        return _cpu(self._process.pid) - before, tokens

    def steps(self, name: str) -> Iterator[float]:
        """The CPU-seconds of each token after the first, one for each time it is asked for; in between it stands."""
        self._engine.ask({name: ASKED}, SAMPLING)
        event = self._events.get()
        self._process.suspend()
        last = _cpu(self._process.pid)
        while not isinstance(event, Done):
            assert not isinstance(event, Failed | Died), event
            self._process.resume()
            event = self._events.get()
            self._process.suspend()
            now = _cpu(self._process.pid)
            yield now - last
            last = now
        self._process.resume()
        assert event.completion_tokens == TOKENS


def _cpu(pid: int) -> float:
    """CPU-seconds of a process; the clock of another one as glibc's clock_getcpuclockid names it."""
    return time.clock_gettime((~pid << 3) | 2)


class Generated:
    """transformers alone, in this process."""

    def __init__(self, lane: Lane) -> None:
        import torch

        from tuiwb import models
        from tuiwb.workers.chat_model import load_model

        self._lane, self._model = lane, load_model(lane.model, "auto")
        tokenizer = models.load_tokenizer(Path(lane.model))
        ids = tokenizer.encode(tokenizer.template(lane.template).render(ASKED, add_generation_prompt=True))
        self._inputs = torch.tensor([ids], device=self._model.device)
        self._made: queue.Queue[bool] = queue.Queue()
        self._wanted = threading.Semaphore(0)
        self._seen = 0

    def put(self, tokens: Any) -> None:
        """As a streamer: the prompt first, then each token, for which it waits."""
        self._seen += 1
        if self._seen > 1:
            self._made.put(True)
            self._wanted.acquire()

    def end(self) -> None:
        self._made.put(False)

    def steps(self) -> Iterator[float]:
        """As `Asked.steps`."""
        self._seen = 0
        answering = threading.Thread(target=self._answer)
        answering.start()
        going = self._made.get()
        while going:
            before = time.process_time()
            self._wanted.release()
            going = self._made.get()
            yield time.process_time() - before
        answering.join()
        assert self._seen == TOKENS + 1

    def _answer(self) -> None:
        import torch

        with torch.inference_mode():
            self._model.generate(
                self._inputs, do_sample=False, max_new_tokens=TOKENS, eos_token_id=list(self._lane.stop_ids),
                pad_token_id=0, streamer=self,
            )  # fmt: skip


def _switch(lane: Lane, adapter: str) -> float:
    """Seconds from one adapter to another, the median of 20."""
    from tuiwb import models
    from tuiwb.workers.chat_answers import adapter_on
    from tuiwb.workers.chat_model import Base, load_model, put_adapter

    base = Base(model=load_model(lane.model, "auto"), tokenizer=models.load_tokenizer(Path(lane.model)))
    names = ("one", "other")
    for name in names:
        put_adapter(base, adapter, name)
    spent = []
    for number in range(20):
        start = time.process_time()
        with adapter_on(cast(Any, SimpleNamespace(base=base, adapter=names[number % 2]))):
            spent.append(time.process_time() - start)
    return statistics.median(spent)


if __name__ == "__main__":
    main()
