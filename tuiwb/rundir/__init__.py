"""The run directory: every reader and writer of its files. Standard library only, so that anything can watch a run.

A worker does:

    run = rundir.RunDir(Path(sys.argv[1]))
    part = run.part(1, "sft")
    beats, metrics = rundir.BeatWriter(run), rundir.MetricsWriter(part.metrics_file)
    beats.beat("train", step, total)                 # as often as it likes
    metrics.write({"current_steps": step, …})        # when a step was logged
    for request in rundir.pending_requests(run):     # at each step's end, rank 0; save | stop | pause
        rundir.acknowledge(run, request, checkpoint=saved, step=step)
    rundir.write_result(run, part, "finished", checkpoint=saved, step=step)

The resolved recipe is `rundir.read_job(run)["input"]`. An attempt goes on where `rundir.resume_point(run)` says: parts
whose result is `finished` are skipped. Beats, metrics and events never raise; `acknowledge` and `write_result` do.
"""

from tuiwb.rundir.checkpoint import (
    CheckpointVerdict,
    checkpoints,
    folder_bytes,
    newest_valid_checkpoint,
    quarantine,
    quarantine_broken,
    resume_point,
    verify_checkpoint,
)
from tuiwb.rundir.control import VERBS, Request, acknowledge, acknowledgement, all_requests, pending_requests, request
from tuiwb.rundir.documents import (
    ACTIVE,
    RESTING,
    STEPPING,
    BeatWriter,
    append_event,
    current_attempt,
    ended,
    read_beat,
    read_events,
    read_exit,
    read_job,
    read_labels,
    read_result,
    read_state,
    write_beat,
    write_exit,
    write_job,
    write_labels,
    write_result,
    write_state,
)
from tuiwb.rundir.identity import Identity, boot_id, host_name, machine_id, process_status
from tuiwb.rundir.jsonl import (
    BOOKKEEPING,
    JsonlTail,
    MetricsWriter,
    append_line,
    decode,
    last_line,
    last_lines,
    offset_of_last,
    read_all,
    revived,
    strict,
)
from tuiwb.rundir.layout import ATTEMPT, MARK, PartDir, RunDir, new_run_id

__all__ = [
    "ACTIVE",
    "ATTEMPT",
    "BOOKKEEPING",
    "MARK",
    "RESTING",
    "STEPPING",
    "VERBS",
    "BeatWriter",
    "CheckpointVerdict",
    "Identity",
    "JsonlTail",
    "MetricsWriter",
    "PartDir",
    "Request",
    "RunDir",
    "acknowledge",
    "acknowledgement",
    "all_requests",
    "append_event",
    "append_line",
    "boot_id",
    "checkpoints",
    "current_attempt",
    "decode",
    "ended",
    "folder_bytes",
    "host_name",
    "last_line",
    "last_lines",
    "machine_id",
    "new_run_id",
    "newest_valid_checkpoint",
    "offset_of_last",
    "pending_requests",
    "process_status",
    "quarantine",
    "quarantine_broken",
    "read_all",
    "read_beat",
    "read_events",
    "read_exit",
    "read_job",
    "read_labels",
    "read_result",
    "read_state",
    "request",
    "resume_point",
    "revived",
    "strict",
    "verify_checkpoint",
    "write_beat",
    "write_exit",
    "write_job",
    "write_labels",
    "write_result",
    "write_state",
]
