"""What a model said while it was trained: its answers to the recipe's prompts, and answers that it learned from."""

from dataclasses import asdict, dataclass
from typing import Any

from tuiwb import rundir
from tuiwb.rundir import RunDir


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        part: name of the part that was trained.
        step: steps of the optimizer by then; None where the file does not say.
        tokens: of the answer.
        ended: whether it came to its end within the longest length.
        score: what the rewards gave it, for one that was sampled to learn from; None for one to the recipe's
            `sample_prompts`, which are answered by the likeliest tokens.
    """

    part: str
    step: int | None
    prompt: str
    answer: str
    tokens: int
    ended: bool
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As `tuiwb runs answers --json` prints it."""
        return asdict(self)


def answers(run: RunDir) -> tuple[Answer, ...]:
    """All answers of a run, oldest first. Where an attempt went on from an earlier step, what it answered anew
    replaces what was answered there before."""
    found: list[Answer] = []
    for part in run.parts():
        written: dict[tuple[Any, ...], list[Answer]] = {}
        for record in rundir.read_all(part.answers_file):
            one = _answer(part.name, record)
            if one is not None:
                # Those of one evaluation are written one right after the other.
                written.setdefault((one.step, record.get("attempt", 1)), []).append(one)
        newest = {step: together for (step, _), together in written.items()}
        found += [one for together in newest.values() for one in together]
    return tuple(found)


def _answer(part: str, record: dict[str, Any]) -> Answer | None:
    prompt, answer, score = record.get("prompt"), record.get("answer"), record.get("score")
    if not isinstance(prompt, str) or not isinstance(answer, str):
        return None
    return Answer(
        part=part,
        step=record.get("current_steps") if isinstance(record.get("current_steps"), int) else None,
        prompt=prompt,
        answer=answer,
        tokens=int(record.get("tokens") or 0),
        ended=bool(record.get("ended")),
        score=float(score) if isinstance(score, int | float) else None,
    )
