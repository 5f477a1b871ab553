"""The fault matrix, round after round: each fault done to real processes, and whether the run came to its right end.

    python tests/benchmarks/faults.py [--rounds 20] [--real] [--only WORD] [--markdown]

A fault is one or more tests of tests/runs (the list is below), which look at the end, at what was lost, at processes
that were left over and at leases. Each round runs each of them in an interpreter of its own. Needs torch for the rows
with ranks, and the right to mount a tmpfs for the rows with a full disk; a row that is skipped is told as such. The
worker is a light one; --real does the five worst faults to the real trainer, with a tiny model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MATRIX: dict[str, tuple[str, tuple[str, ...]]] = {
    "kill -9 of the workbench": (
        "goes on",
        ("test_faults::test_kill_of_the_workbench", "test_faults::test_kill_of_the_process_that_launched"),
    ),
    "SIGHUP and terminal closed": ("goes on", ("test_faults::test_hang_up_and_a_closed_terminal",)),
    "kill -9 of the wrapper": (
        "adopted, finishes, still stops",
        (
            "test_faults::test_kill_of_the_wrapper_the_run_is_adopted_and_finishes",
            "test_faults::test_an_adopted_run_still_stops_with_its_checkpoint",
            "test_faults::test_kill_of_the_wrapper_before_it_had_noted_the_worker",
        ),
    ),
    "kill -9 of wrapper and worker": ("lost, resumes", ("test_faults::test_kill_of_wrapper_and_worker",)),
    "kill -9 of the launcher": (
        "failed, ranks swept",
        ("test_faults::test_kill_of_the_worker", "test_torchrun::test_kill_of_the_launcher_sweeps_the_ranks"),
    ),
    "kill -9 of one rank": ("failed, the other ended", ("test_torchrun::test_kill_of_one_rank_ends_the_other",)),
    "kill -9 of a loader's worker": ("failed, says so", ("test_silence::test_kill_of_a_worker_of_the_data_loader",)),
    "SIGSTOP of a rank": (
        "alarm, cancel ends it",
        ("test_torchrun::test_a_rank_that_was_stopped", "test_silence::test_a_process_that_a_signal_stopped"),
    ),
    "SIGTERM before step 1": (
        "stopped before the first step",
        (
            "test_faults::test_sigterm_from_outside_before_the_first_step",
            "test_faults::test_stop_before_the_first_step",
        ),
    ),
    "stop during a save": ("saved, stopped", ("test_faults::test_stop_during_a_save",)),
    "stop during an evaluation": ("saved, stopped", ("test_faults::test_stop_during_an_evaluation",)),
    "two start one run": (
        "one has it",
        ("test_faults::test_two_wrappers_for_one_run", "test_faults::test_two_resume_one_run_at_once"),
    ),
    "two wait for one lease": (
        "never together",
        ("test_turns::test_many_want_the_same_gpu", "test_turns::test_a_lease_outlives_its_wrapper"),
    ),
    "process number reused": ("not ours, not touched", ("test_standing::test_a_process_number_that",)),
    "disk full at start, metric, end": (
        "no metric lost, end written",
        ("test_full_disk::test_at_the_start", "test_full_disk::test_at_a_metric", "test_full_disk::test_at_the_end"),
    ),
    "disk full at a checkpoint": (
        "older one stays, run goes on or pauses",
        (
            "test_full_disk::test_at_a_checkpoint",
            "test_full_disk::test_a_stop_that_cannot_save",
            "test_full_disk::test_a_disk_on_which",
        ),
    ),
    "torn metrics line": ("that line alone", ("test_faults::test_a_torn_metrics_line",)),
    "truncated checkpoint": (
        "put aside, skipped",
        ("test_faults::test_a_truncated_checkpoint_is_skipped", "test_faults::test_a_save_that_was_cut_off"),
    ),
    "its folder deleted": ("ended, nothing left", ("test_gone::test_a_run_whose", "test_gone::test_a_run_that_waits")),
    "another boot id": ("interrupted", ("test_standing::test_another_boot_means_interrupted",)),
    "clock jump": ("no age changes", ("test_standing::test_a_clock_that_jumps",)),
}

REAL: dict[str, tuple[str, tuple[str, ...]]] = {
    "kill -9 of the wrapper": ("adopted, finishes, same losses", ("test_real_faults::test_kill_of_the_wrapper",)),
    "kill -9 of one rank of two": ("failed, resumes, same losses", ("test_real_faults::test_kill_of_one_rank",)),
    "kill -9 of the launcher of two": (
        "failed, swept, resumes, same losses",
        ("test_real_faults::test_kill_of_the_launcher",),
    ),
    "stop during a save": ("stopped, resumes, same losses", ("test_real_faults::test_stop_during_a_save",)),
    "kill -9, then a truncated checkpoint": (
        "put aside, resumes from the one before, same losses",
        ("test_real_faults::test_truncated_checkpoint",),
    ),
}
"""The five worst, done to the real trainer; the losses are those of a run to which nothing happened."""


@dataclass
class Row:
    """What came of a fault: how often it was done, how often all was right, how often it could not be done here."""

    done: int = 0
    right: int = 0
    skipped: int = 0
    seconds: float = 0.0


def one_round(tests: tuple[str, ...]) -> tuple[int, int, list[str]]:
    """Do a fault once.

    Returns:
        how many tests ran, how many were skipped, and the names of those that failed.
    """
    files = sorted({f"tests/runs/{name.partition('::')[0]}.py" for name in tests})
    words = " or ".join(name.partition("::")[2] for name in tests)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                *files,
                "-k",
                words,
                "-m",
                "slow or not slow",
                "-q",
                "-p",
                "no:cacheprovider",
                f"--junitxml={report}",
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [
        str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    return len(cases), sum(case.find("skipped") is not None for case in cases), bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--real", action="store_true", help="the five worst faults with the real trainer")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults whose name holds it")
    parser.add_argument("--markdown", action="store_true", help="end with the table for the docs")
    args = parser.parse_args()
    matrix = REAL if args.real else MATRIX
    chosen = {name: row for name, row in matrix.items() if args.only in name}
    rows = {name: Row() for name in chosen}
    for number in range(1, args.rounds + 1):
        for name, (_, tests) in chosen.items():
            began = time.monotonic()
            ran, skipped, bad = one_round(tests)
            row = rows[name]
            row.seconds += time.monotonic() - began
            if ran == skipped or ran < len(tests):
                row.skipped += 1
                continue
            row.done += 1
            row.right += not bad
            print(json.dumps({"round": number, "fault": name, "tests": ran, "failed": bad}), flush=True)
    print(json.dumps({"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
    if args.markdown:
        print("| fault | expected end | right | of |\n|---|---|---|---|")
        for name, row in rows.items():
            print(f"| {name} | {chosen[name][0]} | {row.right} | {row.done or 'not possible here'} |")
    return 0 if all(row.right == row.done for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
