"""Rules on what the machine does while a run lives: lines of samples.jsonl, as the wrapper writes them. Pure functions.

Source of the reasons for which a GPU is slowed down: NVML, nvmlClocksEventReasons.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tuiwb.base.units import GIB, MIB, duration, size
from tuiwb.monitor.alarms import Alarm

IDLE_S = 120.0
"""A GPU that holds memory and computes nothing for so long, in training, waits for something."""

SLOWED_S = 30.0
"""A GPU that is slowed down for less is left alone."""

UNHEARD = 6
"""Looks without an answer of the driver before that is told."""

MEMORY = 0.95
"""Share of the host's memory in use from which the kernel may soon kill."""

_IDLE_PERCENT = 3
_HELD = GIB // 2
_SLOWED = {"thermal": "by its temperature", "power_brake": "by the power supply", "hardware": "by its hardware"}
_FIXES = {"thermal": "look at fans and air, or lower its power limit", "power_brake": "look at the power supply"}
# Room for what else the run writes.
_MARGIN = 16 * MIB


def of_samples(samples: Sequence[Mapping[str, Any]], phase: str) -> list[Alarm]:
    """The alarms that hold at the newest of these looks.

    Args:
        samples: lines of samples.jsonl of this attempt, oldest first.
        phase: of the newest beat: only who trains must keep a GPU busy.
    """
    if not samples:
        return []
    found = [host_memory(samples[-1]), *stopped(samples), unheard(samples)]
    by_uuid = _by_uuid(samples)
    for uuid, looks in by_uuid.items():
        found += [idle(uuid, looks) if phase == "train" else None, *slowed(uuid, looks), *errors(uuid, looks)]
    if problem := samples[-1].get("gpu_problem"):
        found.append(Alarm("gpu", str(problem), "critical"))
    return [alarm for alarm in found if alarm is not None]


def host_memory(sample: Mapping[str, Any]) -> Alarm | None:
    """The host's memory is nearly full."""
    used, total = sample.get("memory_used"), sample.get("memory_total")
    if not used or not total or used < MEMORY * total:
        return None
    return Alarm(
        "host_memory",
        f"the host's memory is nearly full: {size(total - used)} of {size(total)} are left",
        "critical",
        "end what else runs here, or lower dataloader_num_workers; the kernel kills the largest process first",
    )


def stopped(samples: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """Processes of the run that a signal has stopped (state T), seen so twice: all others wait for them."""
    if len(samples) < 2:
        return []
    found = []
    earlier = {each.get("pid") for each in samples[-2].get("stopped") or ()}
    for each in samples[-1].get("stopped") or ():
        if (pid := each.get("pid")) in earlier:
            rank = each.get("rank")
            who = f"rank {rank} (process {pid})" if rank is not None else f"process {pid}"
            found.append(
                Alarm(
                    "rank_silent",
                    f"{who} was stopped by a signal, and the others wait for it",
                    "critical",
                    f"kill -CONT {pid} lets it go on",
                    str(pid),
                )
            )
    return found


def unheard(samples: Sequence[Mapping[str, Any]]) -> Alarm | None:
    """The driver has stopped answering for the run's GPUs."""
    recent = samples[-UNHEARD:]
    if len(recent) < UNHEARD or any(sample.get("gpus") or sample.get("gpus") is None for sample in recent):
        return None
    if not any(sample.get("gpus") for sample in samples):
        return None  # it never did: there is nothing to compare with
    return Alarm("gpu", "the driver does not answer any more", "critical", "look for Xid messages in the kernel's log")


def idle(uuid: str, looks: Sequence[Mapping[str, Any]]) -> Alarm | None:
    """A GPU that holds memory and computes nothing."""
    recent = _since(looks, IDLE_S)
    if recent is None or any(
        look.get("utilisation") is None
        or look["utilisation"] > _IDLE_PERCENT
        or (look.get("run_memory") or look.get("memory_used") or 0) < _HELD
        for look in recent
    ):
        return None
    held = size(recent[-1].get("run_memory") or recent[-1]["memory_used"])
    return Alarm(
        "gpu_idle",
        f"{_name(looks[-1])} has computed nothing for {duration(IDLE_S)} and holds {held}",
        fix="the run waits for data, for another rank, or for a file: look at its log and its stacks",
        subject=uuid,
    )


def slowed(uuid: str, looks: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """A GPU that its own protection slows down."""
    recent = _since(looks, SLOWED_S)
    if recent is None:
        return []
    common = set.intersection(*(set(look.get("throttle") or ()) for look in recent))
    return [
        Alarm(
            "throttled",
            f"{_name(looks[-1])} is slowed down {how}" + _heat(looks[-1]),
            fix=_FIXES.get(reason, ""),
            subject=f"{uuid} {reason}",
        )
        for reason, how in _SLOWED.items()
        if reason in common
    ]


def errors(uuid: str, looks: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """Errors that the GPU has counted or told since the attempt began."""
    found = []
    now, first = looks[-1], next((look for look in looks if look.get("ecc_uncorrected") is not None), looks[0])
    more = (now.get("ecc_uncorrected") or 0) - (first.get("ecc_uncorrected") or 0)
    if more > 0:
        found.append(
            Alarm(
                "ecc",
                f"{_name(now)} has counted {more} memory errors that it could not correct",
                "critical",
                "what was computed since may be wrong: stop, reset the GPU, and go on from a checkpoint of before",
                uuid,
            )
        )
    if codes := now.get("xids"):
        found.append(
            Alarm(
                "xid",
                f"the driver reports Xid {', '.join(str(code) for code in codes)} for {_name(now)}",
                "critical",
                "NVIDIA's list of Xid errors tells what it means; 48, 63, 64, 79, 94 and 95 are the hardware's",
                uuid,
            )
        )
    return found


def disk(free: int, needed: int, *, fits: float = 1.25) -> Alarm | None:
    """The next checkpoint will not fit, or only just.

    Args:
        free: bytes where the run is.
        needed: bytes of a checkpoint.
        fits: so many times its size must be free, and a margin that is no larger than the checkpoint.
    """
    if not needed or free >= fits * needed + min(_MARGIN, needed):
        return None
    return Alarm(
        "disk",
        f"the disk is nearly full: {size(free)} are free, and a checkpoint needs {size(needed)}",
        "critical",
        "make room (`tuiwb runs prune` removes old checkpoints), then resume",
    )


def _by_uuid(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The looks at each GPU, each with the `time` of its sample; those that are not in the newest look are left out."""
    found: dict[str, list[Mapping[str, Any]]] = {gpu["uuid"]: [] for gpu in samples[-1].get("gpus") or ()}
    for sample in samples:
        for gpu in sample.get("gpus") or ():
            if gpu["uuid"] in found:
                found[gpu["uuid"]].append({**gpu, "time": sample.get("time", 0.0)})
    return found


def _since(looks: Sequence[Mapping[str, Any]], seconds: float) -> Sequence[Mapping[str, Any]] | None:
    """The looks of the last so many seconds; None if there are not that many yet."""
    start = looks[-1]["time"] - seconds
    if looks[0]["time"] > start:
        return None
    return [look for look in looks if look["time"] >= start]


def _name(look: Mapping[str, Any]) -> str:
    return f"GPU {look.get('index', '?')}"


def _heat(look: Mapping[str, Any]) -> str:
    heat, clock = look.get("temperature_c"), look.get("clock_mhz")
    words = [f"{heat} °C"] * (heat is not None) + [f"{clock} MHz"] * (clock is not None)
    return f" ({', '.join(words)})" if words else ""
