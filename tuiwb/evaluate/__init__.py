"""Measuring models: what to measure, the metrics, and the report of an eval run. The models run in `workers/eval`.

run = evaluate.launch(evaluate.Spec(subjects=…, datasets=…, metrics=("loss", "rouge")))
report = evaluate.read_report(run)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.evaluate.launching import launch
    from tuiwb.evaluate.report import build_report, cases, cases_of, read_report
    from tuiwb.evaluate.spec import METRICS, Dataset, Metric, Spec, Subject, parse_metric

_HOMES = {
    "launching": ("launch",),
    "report": ("build_report", "cases", "cases_of", "read_report"),
    "spec": ("METRICS", "Dataset", "Metric", "Spec", "Subject", "parse_metric"),
}

__all__ = [
    "METRICS",
    "Dataset",
    "Metric",
    "Spec",
    "Subject",
    "build_report",
    "cases",
    "cases_of",
    "launch",
    "parse_metric",
    "read_report",
]


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(name)
