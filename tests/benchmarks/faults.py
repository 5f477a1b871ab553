"""The fault matrix, round after round: each fault done to real processes, and whether the run came to its right end.

    python tests/benchmarks/faults.py [--rounds 20] [--table FILE] [--together N] [--real] [--only WORD] [--markdown]

A fault is one or more tests of tests/runs (the list is below), which look at the end, at what was lost, at processes
that were left over and at leases. Each round runs each of them in an interpreter of its own. Needs torch for the rows
with ranks, and the right to mount a tmpfs for the rows with a full disk; a row that is skipped is told as such. The
worker is a light one; --real does the five worst faults to the real trainer, with a tiny model or the one of --model.

--table adds each fault that was done to a file, and leaves out what stands there already: twenty rounds need not be
done in one go (--minutes). A fault during which this process itself stood still for seconds (a machine that sleeps,
SIGSTOP) is done again, as its deadlines say nothing then; how many were is told.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Done:
    """A fault that was done once: how many tests ran, how many were skipped, and those that failed with their words."""

    fault: str
    tests: int
    skipped: int
    failed: dict[str, str] = field(default_factory=dict)
    frozen: bool = False
    seconds: float = 0.0


class Standstill:
    """Notices when this process got no time at all for seconds: its deadlines ran out without anybody looking."""

    LONGEST_S = 3.0

    def __init__(self) -> None:
        self._noticed = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(0.2)
            now = time.monotonic()
            self._noticed += now - last > self.LONGEST_S
            last = now

    def so_far(self) -> int:
        time.sleep(0.5)  # the watch may just be waking up itself
        return self._noticed


def do(fault: str, tests: tuple[str, ...], standstill: Standstill) -> Done:
    """Do a fault once, in an interpreter of its own."""
    files = sorted({f"tests/runs/{name.partition('::')[0]}.py" for name in tests})
    words = " or ".join(name.partition("::")[2] for name in tests)
    options = ["-m", "slow or not slow", "-q", "-p", "no:cacheprovider"]
    before, began = standstill.so_far(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        argv = [sys.executable, "-m", "pytest", *files, "-k", words, *options, f"--junitxml={report}"]
        subprocess.run(argv, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {
        str(case.get("name")): str(problem.get("message"))
        for case in cases
        for problem in (*case.findall("failure"), *case.findall("error"))
    }
    skipped = sum(case.find("skipped") is not None for case in cases)
    seconds = round(time.monotonic() - began, 1)
    return Done(fault, len(cases), skipped, failed, standstill.so_far() > before, seconds)


def summed(done: Iterable[Done], matrix: dict[str, tuple[str, tuple[str, ...]]]) -> dict[str, dict[str, Any]]:
    """Per fault: how often it was done, was right, could not be done here, and was done again."""
    found: dict[str, dict[str, Any]] = {
        name: {"done": 0, "right": 0, "skipped": 0, "again": 0, "seconds": 0.0} for name in matrix
    }
    for each in done:
        if each.fault not in matrix:
            continue
        row = found[each.fault]
        row["seconds"] += each.seconds
        if each.frozen:
            row["again"] += 1
        elif each.tests == each.skipped or each.tests < len(matrix[each.fault][1]):
            row["skipped"] += 1
        else:
            row["done"] += 1
            row["right"] += not each.failed
    return found


class Rounds:
    """Does each fault so many times, the one that was done least first; what is done stands in a file."""

    def __init__(self, matrix: dict[str, tuple[str, tuple[str, ...]]], rounds: int, file: Path) -> None:
        self._matrix, self._rounds, self._file = matrix, rounds, file
        self._standstill = Standstill()
        self._lock = threading.Lock()
        self._doing = dict.fromkeys(matrix, 0)

    def table(self) -> list[Done]:
        if not self._file.exists():
            return []
        return [Done(**json.loads(line)) for line in self._file.read_text().splitlines()]

    def work(self, end: float) -> None:
        """Until all is done, or the time (monotonic seconds) has come."""
        while time.monotonic() < end and (fault := self._take()) is not None:
            done = do(fault, self._matrix[fault][1], self._standstill)
            line = json.dumps(vars(done))
            print(line, flush=True)
            with self._lock, self._file.open("a") as file:
                self._doing[fault] -= 1
                file.write(line + "\n")

    def _take(self) -> str | None:
        with self._lock:
            rows = summed(self.table(), self._matrix)
            begun = {name: row["done"] + row["skipped"] + self._doing[name] for name, row in rows.items()}
            fault = min(begun, key=lambda name: begun[name])
            if begun[fault] >= self._rounds:
                return None
            self._doing[fault] += 1
            return fault


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--table", type=Path, metavar="FILE", help="keep what was done here, and go on from it")
    parser.add_argument("--together", type=int, default=1, metavar="N", help="faults at once: they mostly wait")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no fault after so many")
    parser.add_argument("--real", action="store_true", help="the five worst faults with the real trainer")
    parser.add_argument("--model", metavar="FOLDER", help="for --real, in place of the tiny one")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults whose name holds it")
    parser.add_argument("--markdown", action="store_true", help="end with the table for the docs")
    args = parser.parse_args()
    if args.model:
        os.environ["TUIWB_FAULTS_MODEL"] = str(Path(args.model).absolute())
    chosen = {name: row for name, row in (REAL if args.real else MATRIX).items() if args.only in name}
    end = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.together) as pool:
        rounds = Rounds(chosen, args.rounds, args.table or Path(folder) / "table.jsonl")
        for worker in [pool.submit(rounds.work, end) for _ in range(args.together)]:
            worker.result()
        rows = summed(rounds.table(), chosen)
    again = sum(row["again"] for row in rows.values())
    machine = {"python": sys.version.split()[0], "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    print(json.dumps({**machine, "done_again_after_standing_still": again}))
    if args.markdown:
        print("| fault | expected end | right | of |\n|---|---|---|---|")
        for name, row in rows.items():
            print(f"| {name} | {chosen[name][0]} | {row['right']} | {row['done'] or 'not possible here'} |")
    return 0 if all(row["right"] == row["done"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
