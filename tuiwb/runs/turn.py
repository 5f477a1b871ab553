"""Waiting for one's turn: the runs that come before, a hold, and GPUs."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tuiwb.base.errors import reason_of
from tuiwb.hardware.gpu import Gpu, gpu_status
from tuiwb.rundir import RunDir
from tuiwb.runs import leases, places, reconcile
from tuiwb.runs.leases import Lease
from tuiwb.runs.places import Wish

ASK_DRIVER_S = 5.0
"""Between two questions to the driver while a run waits; each costs a process."""

FOREIGN_BYTES = 512 << 20
"""A process of somebody else that has so much of a GPU's memory is working there."""


class Turn:
    """What a run needs before its worker may start.

    Attributes:
        reason: why it waits, one sentence.
        leases: the GPUs it has, once `come` was true.
        environment: what the worker's environment must say about them.
    """

    def __init__(self, run: RunDir, job: Mapping[str, Any], since: float) -> None:
        self.run = run
        self.after = [str(name) for name in job.get("after") or ()]
        self.priority = int(job.get("priority") or 0)
        self.since = since
        self.named: list[int] | None = job.get("gpus")
        self.count = int(job.get("processes") or 1) if self.named is None else len(self.named)
        self.needed_bytes = int(((job.get("plan") or {}).get("device_bytes") or {}).get("high") or 0)
        self.reason = ""
        self.leases: list[Lease] = []
        self.environment: dict[str, str] = {}
        self._gpus: list[Gpu] = []
        self._asked: dict[str, Gpu] = {}
        self._place: places.Place | None = None

    def come(self, *, held: bool) -> bool:
        """Look whether everything is there and, if so, take it."""
        blocked = "is held; `tuiwb runs resume` lets it go" if held else self._not_yet()
        if self.count == 0:
            self.reason = blocked
            self.environment = {"CUDA_VISIBLE_DEVICES": ""}
            return not blocked
        self._gpus = self._gpus or self._ask_driver(0.0)
        if not self._gpus:
            self.reason = blocked
            self.environment = self._unleased()
            return not blocked
        try:
            return self._compete(blocked)
        except OSError as error:  # another wrapper is deciding, or the runtime folder is full: at the next look
            self.reason = self.reason or f"waits for its turn ({reason_of(error)})"
            return False

    def skip_the_others(self) -> None:
        """Go without the runs that were to come first."""
        self.after = []

    def leave(self) -> None:
        """Stop waiting."""
        if self._place is not None:
            self._place.close()
            self._place = None

    def _compete(self, blocked: str) -> bool:
        among = self._among()
        if len(among) < self.count:
            wanted = "a GPU" if self.count == 1 else f"{self.count} GPUs"
            self.reason = f"wants {wanted} where this machine has {len(among) or 'none'} for it"
            return False
        wish = Wish(self.run.run_id, self.priority, self.since, self.count, tuple(g.uuid for g in among), not blocked)
        busy = self._busy(among)
        with leases.deciding():
            if self._place is None:
                self._place = places.Place(wish)
            self._place.update(wish)
            if blocked:
                self.reason = blocked
                return False
            names = {gpu.uuid: f"GPU {gpu.index}" for gpu in among}
            decision = places.decide(wish, places.waiting(without=self.run.run_id), busy, names)
            taken = leases.take(decision.take, self.run) if decision.take else None
            if taken is None:
                self.reason = decision.wait or "waits for a GPU"
                return False
            self.leases = taken
            self.leave()
        self.environment = mask([gpu for gpu in among if gpu.uuid in decision.take])
        self.reason = ""
        return True

    def _not_yet(self) -> str:
        """What of the runs before us keeps us waiting; an end that is no good end holds us, until somebody looks."""
        for name in self.after:
            before = RunDir(self.run.path.parent / name)
            if not before.existing():
                return f"waits for {name}, which is gone; cancel it, or `tuiwb runs resume` to go on without"
            state = reconcile.standing(before).state.get("state")
            if state in ("finished", "stopped"):
                continue
            if state in ("failed", "cancelled", "interrupted", "lost"):
                return f"waits for {name}, which is {state}; cancel it, or `tuiwb runs resume` to go on all the same"
            return f"waits for {name}, which is {state}"
        return ""

    def _among(self) -> list[Gpu]:
        """The GPUs that will do: those that were named or, free memory first, all that are visible."""
        if self.named is not None:
            return [gpu for gpu in self._gpus if gpu.index in self.named]
        return sorted((gpu for gpu in self._gpus if gpu.visible), key=lambda gpu: (-gpu.memory_free, gpu.index))

    def _busy(self, among: Sequence[Gpu]) -> dict[str, str]:
        held = {gpu.uuid: holder for gpu in among if (holder := leases.holder(gpu.uuid)) not in (None, self.run.run_id)}
        busy = {uuid: f"is used by run {holder}" for uuid, holder in held.items()}
        if len(among) - len(busy) >= self.count:
            # Only now is it worth a question: what do others do on the GPUs that no run of ours has?
            self._asked |= {gpu.uuid: gpu for gpu in self._ask_driver(ASK_DRIVER_S)}
        for gpu in among:
            if gpu.uuid not in busy and (why := self._foreign(self._asked.get(gpu.uuid, gpu))):
                busy[gpu.uuid] = why
        return busy

    def _foreign(self, gpu: Gpu) -> str:
        """Who else works on this GPU. One that was named is shared if the plan says that there is room."""
        if gpu.shares_memory or (self.named is not None and 0 < self.needed_bytes <= gpu.memory_free):
            return ""
        strangers = [each for each in gpu.processes if each.memory is None or each.memory >= FOREIGN_BYTES]
        if not strangers:
            return ""
        used = sum(each.memory or 0 for each in strangers) / (1 << 30)
        who = f"process {strangers[0].pid}" if len(strangers) == 1 else f"{len(strangers)} processes"
        return f"is used by {who}" + (f" ({used:.1f} GiB)" if used else "")

    def _ask_driver(self, max_age_s: float) -> list[Gpu]:
        return list(gpu_status(max_age_s=max_age_s).gpus)

    def _unleased(self) -> dict[str, str]:
        """Without a driver that can be asked: what was named is taken at its word."""
        if not self.named:
            return {}
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, self.named))}


def mask(taken: Sequence[Gpu]) -> dict[str, str]:
    """The variables that let a worker see these GPUs and no others."""
    # An AMD GPU without a serial number has no name that HIP knows.
    names = ",".join(gpu.uuid if gpu.uuid.startswith(("GPU-", "MIG-")) else str(gpu.index) for gpu in taken)
    if any(gpu.vendor == "amd" for gpu in taken):
        return {"HIP_VISIBLE_DEVICES": names}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": names}


def began_to_wait(state: Mapping[str, Any]) -> float:
    """When the run took its place, also if its wrapper had to be started again meanwhile."""
    return float(state.get("queued_since") or time.time())


def retake(run: RunDir, uuids: Sequence[str]) -> list[Lease]:
    """The leases of a run that is adopted; its wrapper's death had unlocked them."""
    try:
        with leases.deciding():
            return leases.take(list(uuids), run) or []
    except OSError:
        return []
