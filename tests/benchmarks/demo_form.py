"""How often an answer has the form that the demo trains, before and after, on all held-out questions.

    python tests/benchmarks/demo_form.py [RUN_OR_ADAPTER] [--show]

Without an argument it walks through the demo first (or takes the run that it left). Greedy answers of base and tuned
model in one chat engine, default system prompt. Exit code 1 where the base meets the form too often (above 10 %) or
the tuned model too seldom (below 80 %).
"""

import argparse
import sys
import time

from tuiwb.base.tasks import Task
from tuiwb.demo import walk

MOST_BEFORE, LEAST_AFTER = 0.10, 0.80


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", nargs="?", metavar="RUN_OR_ADAPTER", help="as `tuiwb chat` takes it")
    arguments.add_argument("--show", action="store_true", help="print every answer")
    args = arguments.parse_args()
    ref = args.run or _train()
    questions = walk.held_out()
    began = time.monotonic()
    pages = dict.fromkeys(walk.LANES, 0)
    for answer in walk.ask(ref, questions):
        pages[answer.lane] += answer.is_page
        print(f"{'page' if answer.is_page else '-':<6}{answer.lane:<7}{answer.question}  {answer.fault}", flush=True)
        if args.show:
            print("\n".join(f"      {line}" for line in answer.text.split("\n")))
    before, after = (pages[lane] / len(questions) for lane in walk.LANES)
    print(f"{ref}: {len(questions)} questions in {time.monotonic() - began:.0f} s")
    print(f"before {pages['base']}/{len(questions)} = {before:.1%}   (wanted: at most {MOST_BEFORE:.0%})")
    print(f"after  {pages['tuned']}/{len(questions)} = {after:.1%}   (wanted: at least {LEAST_AFTER:.0%})")
    return 0 if before <= MOST_BEFORE and after >= LEAST_AFTER else 1


def _train() -> str:
    began = time.monotonic()
    run, how = walk.begin(walk.prepare(Task()))
    for progress in walk.follow(run, Task()):
        if progress.metrics and "loss" in progress.metrics:
            print(f"step {progress.metrics['current_steps']}  loss {progress.metrics['loss']:.3f}", file=sys.stderr)
    print(f"{how} {run.run_id}, followed for {time.monotonic() - began:.0f} s")
    return run.run_id


if __name__ == "__main__":
    sys.exit(main())
