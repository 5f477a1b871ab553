"""`tuiwb demo`: the whole path on a small real model."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from tuiwb.base import units
from tuiwb.base.tasks import Task
from tuiwb.base.text import gate_line
from tuiwb.cli import output
from tuiwb.cli.progress import followed

if TYPE_CHECKING:
    from tuiwb.demo.walk import Answer, How, Progress
    from tuiwb.rundir import RunDir

_ROWS = 2
_ASKED = 3
_SAY_EVERY_S = 10.0
_BARS = "▁▂▃▄▅▆▇█"
_PHASES = {
    "wait": "waiting for its turn",
    "load": "loading the model",
    "data": "preparing the data",
    "eval": "measuring on the held-out questions",
    "save": "saving a checkpoint",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--headless", action="store_true", help="tell it on this terminal instead of opening the workbench"
    )
    parser.add_argument("--again", action="store_true", help="train anew even if a demo has been trained before")
    output.add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.headless or args.json or not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        return _headless(args)
    from tuiwb.tui import guide

    guide.run(again=args.again)
    return 0


def _headless(args: argparse.Namespace) -> int:
    from tuiwb.demo import walk

    story = _Json() if args.json else _Story()
    assessment = followed(walk.prepare)
    story.planned(assessment)
    for number, rendered in enumerate(walk.samples(assessment, _ROWS)):
        story.row(number, rendered)
    training, how = walk.begin(assessment, again=args.again)
    story.launched(training, how)
    try:
        for progress in walk.follow(training, Task()):
            story.progress(progress)
    except KeyboardInterrupt:
        output.say(f"\n{training.run_id} goes on; `tuiwb demo` comes back to it, `tuiwb runs stop` ends it")
        return 130
    story.trained(training)
    questions = walk.held_out()[:_ASKED]
    for answer in walk.ask(training.run_id, questions, on_doing=lambda doing: story.doing(doing)):
        story.answered(answer)
    story.done(training)
    return 0


class _Story:
    """Told to people: results on stdout, what goes on meanwhile on stderr."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said = 0.0
        self._losses: list[float] = []
        self._live = sys.stderr.isatty()
        self._answers: list[Answer] = []

    def planned(self, assessment: Any) -> None:
        from tuiwb.demo.walk import plan_lines

        output.write("1  The plan: what this training will need\n")
        for what, value in plan_lines(assessment):
            output.write(f"   {what:<20}{value}")

    def row(self, number: int, rendered: Any) -> None:
        from tuiwb.cli.data import print_rendered

        if not number:
            output.write("\n2  The data: rows as the model will see them, and which tokens are trained")
        output.write("")
        print_rendered(rendered)
        output.write(f"   {len(rendered.ids)} tokens, {rendered.trained} of them trained")

    def launched(self, training: "RunDir", how: "How") -> None:
        words = {
            "launched": f"run {training.run_id}, a process of its own",
            "running": f"run {training.run_id} is at work already",
            "finished": f"run {training.run_id} was trained before; --again trains anew",
        }
        output.write(f"\n3  The training: {words[how]}")
        self._said = time.monotonic()

    def progress(self, progress: "Progress") -> None:
        if progress.metrics is None:
            if progress.phase in _PHASES:
                self._tell(f"{_PHASES[progress.phase]} …", now=True)
            return
        values = progress.metrics
        if (loss := values.get("loss")) is None:
            return
        self._losses.append(float(loss))
        self._tell(_line(values, self._losses), now=values.get("current_steps") == values.get("total_steps"))

    def trained(self, training: "RunDir") -> None:
        self._end_line()
        if self._losses:
            tenth = max(len(self._losses) // 10, 1)
            first, last = sum(self._losses[:tenth]) / tenth, sum(self._losses[-tenth:]) / tenth
            output.write(f"   {loss_curve(self._losses, 40)}  loss {first:.2f} → {last:.2f}")

    def doing(self, doing: str) -> None:
        self._tell(f"{doing} …", now=False)

    def answered(self, answer: "Answer") -> None:
        self._answers.append(answer)
        self._end_line()
        if len(self._answers) == 1:
            output.write("\n4  Before and after: questions that no training row asks")
        asked = len({each.question for each in self._answers})
        if asked == 1:
            if len(self._answers) == 1:
                output.write(f"\n   {answer.question}")
            output.write(f"\n   ── {_TITLES[answer.lane]}: {_verdict(answer)}\n")
            for line in answer.text.strip().split("\n"):
                output.write(f"   {line}".rstrip())
            return
        if answer.lane == "base":
            output.write(f"\n   {answer.question}")
        output.write(f"      {_TITLES[answer.lane]:<7}{_verdict(answer)}")

    def done(self, training: "RunDir") -> None:
        output.write(f"\n{_score(self._answers)}")
        output.say(
            f"{units.duration(time.monotonic() - self._began)} in all. "
            f"`tuiwb chat {training.run_id} --side-by-side` talks to both."
        )

    def _tell(self, text: str, *, now: bool) -> None:
        """On a terminal a line that is written over, elsewhere a line now and then."""
        if self._live:
            sys.stderr.write(f"\r\x1b[2K   {gate_line(text, 76)}")
            sys.stderr.flush()
        elif now or time.monotonic() - self._said > _SAY_EVERY_S:
            output.say(f"   {text}")
            self._said = time.monotonic()

    def _end_line(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


_TITLES = {"base": "before", "tuned": "after"}


class _Json(_Story):
    """The same as JSON lines on stdout."""

    def planned(self, assessment: Any) -> None:
        self._event("plan", recipe=assessment.resolved.recipe.name, plan=assessment.plan and assessment.plan.to_json())

    def row(self, number: int, rendered: Any) -> None:
        pieces = [
            {"text": rendered.text[part.start : part.end], "role": part.role, "trained": part.trained}
            for part in rendered.segments
        ]
        self._event("row", row=number, tokens=len(rendered.ids), trained=rendered.trained, segments=pieces)

    def launched(self, training: "RunDir", how: "How") -> None:
        self._event("run", run_id=training.run_id, run_dir=str(training.path), how=how)

    def progress(self, progress: "Progress") -> None:
        if progress.metrics is not None:
            self._event("metrics", **progress.metrics)
        elif progress.phase:
            self._event("phase", phase=progress.phase, state=progress.state)

    def trained(self, training: "RunDir") -> None:
        self._event("trained", run_id=training.run_id)

    def doing(self, doing: str) -> None:
        self._event("phase", phase="chat", doing=doing)

    def answered(self, answer: "Answer") -> None:
        self._answers.append(answer)
        self._event("answer", **answer.to_json())

    def done(self, training: "RunDir") -> None:
        counts = {_TITLES[lane]: sum(each.is_page for each in self._answers if each.lane == lane) for lane in _TITLES}
        asked = len({each.question for each in self._answers})
        self._event(
            "done", run_id=training.run_id, asked=asked, pages=counts,
            seconds=round(time.monotonic() - self._began, 1),
        )  # fmt: skip

    def _event(self, event: str, **fields: Any) -> None:
        output.print_json({"event": event, **fields})


def _line(values: dict[str, Any], losses: list[float]) -> str:
    """`step 12/92  loss 2.431  103 tokens/s  1 min 20 s left  █▇▅▄`"""
    words = [f"step {values.get('current_steps')}/{values.get('total_steps')}", f"loss {losses[-1]:.3f}"]
    if speed := values.get("tokens_per_s"):
        words.append(f"{speed:.0f} tokens/s")
    if (left := values.get("remaining_s")) is not None:
        words.append(f"{units.duration(left)} left")
    return "  ".join([*words, loss_curve(losses, 20)])


def loss_curve(values: list[float], width: int) -> str:
    """A loss curve of one line."""
    shown = [values[number * len(values) // width] for number in range(width)] if len(values) > width else values
    low, high = min(shown), max(shown)
    top = len(_BARS) - 1
    return "".join(_BARS[round((value - low) / (high - low) * top) if high > low else 0] for value in shown)


def _verdict(answer: "Answer") -> str:
    return "a page" if answer.is_page else f"no page: {answer.fault}"


def _score(answers: "list[Answer]") -> str:
    asked = len({each.question for each in answers})
    before, after = (sum(each.is_page for each in answers if each.lane == lane) for lane in _TITLES)
    return f"Answers in the form that was trained: {before} of {asked} before, {after} of {asked} after."
