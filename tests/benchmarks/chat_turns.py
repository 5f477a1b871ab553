"""Time to the first token on turn 5: with what the turns before left, against reading the whole conversation again.

    python tests/benchmarks/chat_turns.py MODEL [--pairs 5]

Both in one engine, in the order A B B A, CPU-seconds of the engine's process from the question to the first token.
"""

import argparse
import queue
import sys
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))

from ratios import in_turn

from tuiwb.chat.engine import Engine
from tuiwb.chat.protocol import Died, Done, Event, Failed, Ready, Sampling, Token
from tuiwb.chat.target import target_of

TURNS = 5
SAMPLING = Sampling(temperature=0.0, max_new_tokens=24)
WORDS = " ".join(f"Fact {number}: the machine in rack {number % 7} has {number * 3} fans." for number in range(14))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", help="as `tuiwb chat` takes it")
    arguments.add_argument("--pairs", type=int, default=5)
    args = arguments.parse_args()
    target = target_of(args.model)
    events: queue.Queue[Event] = queue.Queue()
    name = target.best.name
    with Engine((target.best,), on_event=events.put, kept=1) as engine:
        process = psutil.Process(engine.pid)
        while not isinstance(event := events.get(), Ready):
            assert not isinstance(event, Failed | Died), event
        print(f"{target.title}, {event.dtype} on {event.device}, turn {TURNS}, greedy")

        def cpu() -> float:
            times = process.cpu_times()
            return times.user + times.system

        def ask(messages: list[dict[str, object]]) -> tuple[float, Done]:
            before, first = cpu(), None
            engine.ask({name: messages}, SAMPLING)
            while True:
                event = events.get()
                assert not isinstance(event, Failed | Died), event
                if isinstance(event, Token) and first is None:
                    first = cpu() - before
                if isinstance(event, Done):
                    assert first is not None
                    return first, event

        def talk() -> tuple[list[dict[str, object]], float, Done]:
            messages: list[dict[str, object]] = []
            for turn in range(TURNS):
                messages.append(
                    {"role": "user", "content": f"{WORDS} Question {turn}: say something about rack {turn}."}
                )
                spent, done = ask(messages)
                messages.append({"role": "assistant", "content": done.text})
            return messages[:-1], spent, done

        tokens = {"kept": 0, "prompt": 0}

        def kept() -> float:
            _, spent, done = talk()
            tokens["kept"], tokens["prompt"] = done.cached_tokens, done.prompt_tokens
            return spent

        def again() -> float:
            messages, _, kept_answer = talk()
            ask([{"role": "user", "content": "Something else."}])
            spent, done = ask(messages)
            assert done.text == kept_answer.text, "keeping keys and values changed the answer"
            return spent

        result = in_turn(kept, again, args.pairs)
    print(f"turn {TURNS}: {tokens['prompt']:,} prompt tokens, {tokens['kept']:,} of them kept")
    print(f"CPU-seconds to the first token, kept over read again: {result}   (wanted: at most 0.333)")


if __name__ == "__main__":
    main()
