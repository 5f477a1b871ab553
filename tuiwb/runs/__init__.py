"""A run and its life: launch, wrapper, control, reconcile.

    run = runs.launch(job)                 # returns when the wrapper has it; the run outlives this process
    runs.scan()                            # all runs, newest first, as RunView
    runs.show("last")                      # one, with checkpoints, alarms and processes
    runs.ask(run.run_id, "stop")           # save | stop | pause | cancel
    runs.resume(run.run_id)                # a new attempt from the newest whole checkpoint
    for record in runs.tail(run): ...      # metrics and events as they come, until the run ends

Ids may be the beginning or a unique part of one, or `last`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuiwb.runs.actions import Verb, annotate, answer, ask, clone, delete, hold, purge, recipe_of, restore, resume
    from tuiwb.runs.answering import Answer, answers
    from tuiwb.runs.attaching import attach
    from tuiwb.runs.comparing import Comparison, compare
    from tuiwb.runs.follow import Record, tail, tail_log
    from tuiwb.runs.job import Job
    from tuiwb.runs.launching import launch
    from tuiwb.runs.listing import find, run_dirs, scan, show, view
    from tuiwb.runs.pruning import Removable, prune, removable
    from tuiwb.runs.reconcile import standing
    from tuiwb.runs.views import CheckpointView, RunView
    from tuiwb.runs.worker import worker_argv, worker_environment

_HOMES = {
    "Verb": "actions",
    "Answer": "answering",
    "answers": "answering",
    "annotate": "actions",
    "attach": "attaching",
    "answer": "actions",
    "ask": "actions",
    "clone": "actions",
    "delete": "actions",
    "hold": "actions",
    "purge": "actions",
    "recipe_of": "actions",
    "restore": "actions",
    "resume": "actions",
    "Comparison": "comparing",
    "compare": "comparing",
    "Job": "job",
    "launch": "launching",
    "Removable": "pruning",
    "prune": "pruning",
    "removable": "pruning",
    "standing": "reconcile",
    "find": "listing",
    "run_dirs": "listing",
    "scan": "listing",
    "show": "listing",
    "view": "listing",
    "Record": "follow",
    "tail": "follow",
    "tail_log": "follow",
    "CheckpointView": "views",
    "RunView": "views",
    "worker_argv": "worker",
    "worker_environment": "worker",
}

__all__ = [
    "Answer",
    "CheckpointView",
    "Comparison",
    "Job",
    "Record",
    "Removable",
    "RunView",
    "Verb",
    "annotate",
    "answer",
    "answers",
    "ask",
    "attach",
    "clone",
    "compare",
    "delete",
    "find",
    "hold",
    "launch",
    "prune",
    "purge",
    "recipe_of",
    "removable",
    "restore",
    "resume",
    "run_dirs",
    "scan",
    "show",
    "standing",
    "tail",
    "tail_log",
    "view",
    "worker_argv",
    "worker_environment",
]


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        import importlib

        return getattr(importlib.import_module(f"tuiwb.runs.{home}"), name)
    raise AttributeError(name)
