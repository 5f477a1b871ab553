"""What an eval run is to do: who is measured, on which data, by what. It is the `input` of the run's job.yaml."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tuiwb.base.errors import InputFault
from tuiwb.base.pattern import compiled

Needs = Literal["text", "answer", "turns"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured.

    Attributes:
        needs: `text` reads the rows themselves (losses), `answer` lets the model answer them, `turns` asks one question
            after the other.
        reference: whether rows must hold the right answer.
        higher: whether more is better.
        extra: the package behind it, where it is not always there.
    """

    name: str
    summary: str
    needs: Needs
    reference: bool = True
    higher: bool = True
    extra: str = ""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("loss", "mean loss of the trained tokens, nats", "text", reference=False, higher=False),
        Metric(
            "perplexity", "of the whole text by a sliding window, per token and per byte", "text", reference=False,
            higher=False,
        ),
        Metric("exact", "the answer is the reference, but for space around it", "answer"),
        Metric("contains", "the reference stands in the answer", "answer"),
        Metric("rouge1", "ROUGE-1 F of rouge-score", "answer", extra="rouge_score"),
        Metric("rouge2", "ROUGE-2 F of rouge-score", "answer", extra="rouge_score"),
        Metric("rougeL", "ROUGE-L F of rouge-score", "answer", extra="rouge_score"),
        Metric("bleu", "corpus BLEU of sacrebleu, 0 to 100", "answer", extra="sacrebleu"),
        Metric("json", "the answer is one JSON document", "answer", reference=False),
        Metric("fields", "share of the reference's JSON fields (slots) that the answer has right", "answer"),
        Metric("calls", "the answer calls the reference's functions with its arguments", "answer"),
        Metric("call_names", "the answer calls the reference's functions", "answer"),
        Metric("tokens", "length of the answer", "answer", reference=False, higher=False),
        Metric("regex", "regex=PATTERN: the pattern is found in the answer", "answer", reference=False),
        Metric("code", "the answer's code passes the row's tests (test, tests, test_list), in a sandbox", "answer",
               reference=False),
        Metric("mt_bench", "the judge's mark, 1 to 10, for each of a row's turns", "turns", reference=False),
        Metric("judge", "how often the judge prefers it to the first subject, a tie counting half", "answer",
               reference=False),
    )
}  # fmt: skip


def parse_metric(text: str) -> tuple[Metric, str]:
    """A metric as the user writes it, and its argument (`regex=PATTERN`).

    Raises:
        InputFault: there is none of this name, or the pattern is none.
    """
    name, _, argument = text.partition("=")
    if name not in METRICS:
        import difflib

        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(METRICS)}"
        raise InputFault(f"there is no metric `{name}`; {hint}", key="--metric")
    if name == "regex":
        compiled(argument, key="--metric")
        if not argument:
            raise InputFault("write it as regex=PATTERN", key="--metric")
    elif argument:
        raise InputFault(f"{name} takes no argument", key="--metric")
    return METRICS[name], argument


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is measured: the fields are those of a chat's lane, or an endpoint."""

    name: str
    model: str = ""
    adapter: str | None = None
    template: str = ""
    stop_ids: tuple[int, ...] = ()
    context: int | None = None
    quantization: str | None = None


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Rows to measure on. `general` marks what tells whether something was forgotten; `turns` are questions that go on
    from each other, as MT-Bench has them."""

    path: str
    name: str
    format: str | None = None
    general: bool = False
    turns: bool = False


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """An eval run. The first subject is what the others are compared with."""

    subjects: tuple[Subject, ...]
    datasets: tuple[Dataset, ...] = ()
    metrics: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    """Of lm-eval: names, or YAML files of one's own."""
    task_template: bool = True
    """Whether tasks are asked with the chat template: the run's own."""
    max_examples: int | None = None
    """Rows of each dataset that are measured, evenly spread over it."""
    max_new_tokens: int = 256
    """Longest answer, tokens."""
    batch_size: int = 8
    """Answers generated together."""
    window: int = 1024
    """Tokens of a window of the perplexity."""
    stride: int = 512
    """Tokens by which the window moves on."""
    resamples: int = 1000
    """Resamples of the bootstrap."""
    seed: int = 42
    dtype: str = "auto"
    judge: str | None = None
    """An endpoint's profile or address. Never its key."""
    criteria: str = ""
    """What the judge is to look at, in words."""

    def needs(self, needs: Needs) -> bool:
        return any(parse_metric(each)[0].needs == needs for each in self.metrics)

    def check(self) -> None:
        """Whether it can be run.

        Raises:
            InputFault: it cannot, and why.
        """
        if not self.subjects:
            raise InputFault("nobody is to be measured")
        if not self.datasets and not self.tasks:
            raise InputFault("name what to measure on", key="--data")
        if len({each.name for each in self.datasets}) < len(self.datasets):
            raise InputFault("two datasets have the same name", key="--data")
        if not 0 < self.stride <= self.window:
            raise InputFault("must be between 1 and the window", key="--stride")
        names = [parse_metric(each)[0].name for each in self.metrics]
        if not names and self.datasets:
            raise InputFault("name what to measure", key="--metric")
        if "mt_bench" in names and not any(each.turns for each in self.datasets):
            raise InputFault("the metric mt_bench needs rows with turns, as MT-Bench's questions have", key="--data")
        if any(each.turns for each in self.datasets) and "mt_bench" not in names:
            raise InputFault("rows with turns are measured with the metric mt_bench", key="--metric")
        if "mt_bench" in names and self.judge is None:
            raise InputFault("the metric mt_bench needs --judge ENDPOINT", key="--metric")
        if "judge" in names and self.judge is None:
            raise InputFault("the metric judge needs --judge ENDPOINT", key="--metric")
        if "judge" in names and len(self.subjects) < 2:
            raise InputFault("a judge compares two: there is one subject", key="--metric")
        for name in names:
            _installed(name, METRICS[name].extra, "--metric")
        if self.tasks:
            _installed("a task", "lm_eval", "--task")
            if any(not subject.model for subject in self.subjects):
                raise InputFault("an endpoint tells no likelihoods, which tasks need: name a model", key="--task")


def _installed(what: str, package: str, key: str) -> None:
    import importlib.util

    if package and importlib.util.find_spec(package) is None:
        raise InputFault(f"{what} needs the package {package.replace('_', '-')}: pip install 'tuiwb[eval]'", key=key)


def plain(spec: Spec) -> dict[str, Any]:
    """The spec as job.yaml holds it."""
    document: dict[str, Any] = msgspec.to_builtins(spec)
    return document
