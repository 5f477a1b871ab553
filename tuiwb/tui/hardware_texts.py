"""The machine in words and bars: what the Runs screen writes about GPUs and the host. Pure functions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tuiwb.base.text import gate_line
from tuiwb.base.units import gib, size
from tuiwb.tui.run_texts import bar

if TYPE_CHECKING:
    from tuiwb.hardware import Gpu, GpuStatus, HostSample
    from tuiwb.hardware.traffic import Traffic
    from tuiwb.runs.gpu_users import GpuUser


_LINES = 5  # of a GPU that has room
_OTHER_LINES = 9  # of the host and of the run
_STEPS = " ▁▂▃▄▅▆▇█"


def hardware(
    gpus: "GpuStatus",
    host: "HostSample",
    samples: Sequence[Mapping[str, Any]],
    width: int,
    height: int = 40,
    past: Mapping[str, Sequence[float]] | None = None,
    users: "Mapping[int, GpuUser] | None" = None,
) -> list[Content]:
    """The machine: every GPU with its memory and power, or that there is none; who uses them; processors, memory,
    traffic, this run's share. Where the lines do not suffice each GPU gets one.

    Args:
        samples: the newest look of the wrapper at the run's processes, if any.
        past: percentages of utilisation by the GPU's UUID, oldest first.
        users: the processes on the GPUs that can be seen from here, by their number.
    """
    wide = min(max(width - 46, 10), 40)
    ours = {each.get("uuid"): each.get("run_memory") for each in (samples[-1].get("gpus") or ())} if samples else {}
    used_by = in_use(gpus.gpus, users or {})
    room = height - len(used_by) - _OTHER_LINES
    lines = [Content.assemble(("GPUs", "bold $text-accent"), (_kinds(gpus), "dim"))]
    for gpu in gpus.gpus:
        line = (past or {}).get(gpu.uuid, ())
        if len(gpus.gpus) * _LINES <= room:
            lines += _whole(gpu, ours.get(gpu.uuid), wide, line)
        elif len(gpus.gpus) * 2 <= room:
            lines += [_brief(gpu, width, line), Content.styled("  " + gate_line(_more(gpu), width - 2), "dim")]
        else:
            lines.append(_brief(gpu, width, line))
    if not gpus.asked:
        lines.append(Content.styled("Asking the NVIDIA driver…", "dim"))
    elif not gpus.gpus:
        lines.append(Content(f"None: {gate_line(gpus.problem)}."))
    elif gpus.problem:
        lines.append(Content.styled(gate_line(gpus.problem), "$text-error"))
    about = _host(host, samples, wide)
    if len(lines) + len(used_by) + len(about) >= height:  # the end may not be seen
        return lines + about + used_by
    between = [Content("")] * (len(lines) + len(used_by) + len(about) + 2 <= height)
    return [*lines, *used_by, *between, Content.styled("Host", "bold $text-accent"), *about]


def _host(host: "HostSample", samples: Sequence[Mapping[str, Any]], wide: int) -> list[Content]:
    """The host, and what this run takes of it."""
    lines = [
        _meter(
            "processors",
            host.cpu_percent / 100,
            f"{host.cpu_percent:.0f} % of {len(host.cpu_percents)}, load {host.load_1m:.1f}",
            wide,
        ),
        _meter(
            "memory", host.memory_used / host.memory_total, f"{gib(host.memory_used)} of {gib(host.memory_total)}", wide
        ),
    ]
    if host.traffic is not None:
        lines.append(_traffic(host.traffic))
    if host.swap_used:
        lines.append(
            Content.styled(
                f"{'swap':<11} {size(host.swap_used)} in use: training that swaps is very slow", "$text-warning"
            )
        )
    if samples:
        run, now = [], samples[-1]
        if isinstance(cpu := now.get("run_cpu"), int | float):
            run.append(f"{cpu / 100:.1f} processors")
        if isinstance(memory := now.get("run_memory"), int | float):
            run.append(gib(memory))
        if isinstance(free := now.get("disk_free"), int | float):
            run.append(f"{size(free)} free on its disk")
        lines.append(Content.assemble(("This run  ", "bold $text-accent"), ", ".join(run)))
    return lines


def in_use(gpus: "Sequence[Gpu]", users: "Mapping[int, GpuUser]") -> list[Content]:
    """The memory of the GPUs by run and by process, the largest first: a line for each run of ours, and one for all
    processes with the same name of a user."""
    found: dict[tuple[str, str], list[tuple[int, int, int | None]]] = {}
    for gpu in gpus:
        for process in gpu.processes:
            user = users.get(process.pid)
            if user is None:
                who = ("process", str(process.pid))
            elif user.run_id is not None:
                who = ("run", user.run_id[16:] or user.run_id)  # without the time of its launch
            else:
                who = (gate_line(user.name, 20), gate_line(user.owner, 16))
            found.setdefault(who, []).append((gpu.index, process.pid, process.memory))
    if not found:
        return []
    totals = {who: sum(memory or 0 for _, _, memory in each) for who, each in found.items()}
    lines = [Content.styled("Memory by run and process", "bold $text-accent")]
    for (kind, name), each in sorted(found.items(), key=lambda item: -totals[item[0]]):
        parts = [
            f"GPU {index}: {pid}" + (f" {gib(memory)}" if memory is not None and len(each) > 1 else "")
            for index, pid, memory in each
        ]
        total = totals[kind, name]
        lines.append(
            Content.assemble(
                (f"{gib(total) if total else '–':>9}  ", "bold"),
                f"{kind} {gate_line(name, 40)}  ",
                ("  ".join(parts), "dim"),
            )
        )
    return lines


def _traffic(traffic: "Traffic") -> Content:
    def rate(value: float) -> str:
        return f"{size(round(value))}/s"

    return Content.assemble(
        (f"{'disks':<11} ", "dim"),
        f"{rate(traffic.disk_read)} read, {rate(traffic.disk_write)} written   ",
        ("network ", "dim"),
        f"{rate(traffic.net_in)} in, {rate(traffic.net_out)} out",
    )


def history(values: Sequence[float], width: int) -> str:
    """The newest percentages as a line of blocks."""
    return "".join(_STEPS[min(max(round(value / 100 * 8), 0), 8)] for value in list(values)[-width:]).rjust(width)


def _whole(gpu: "Gpu", ours: int | None, wide: int, past: Sequence[float]) -> list[Content]:
    """A GPU in some lines."""
    used = gpu.memory_used / gpu.memory_total if gpu.memory_total else 0.0
    notes = ["hidden"] * (not gpu.visible) + ["MIG"] * gpu.mig
    lines = [
        Content.assemble(
            (f"{gpu.index} {gate_line(gpu.name, 30)}", "bold"),
            ("".join(f"  {note}" for note in notes), "dim"),
            ("".join(f"  {_REASONS[reason]}" for reason in gpu.throttle if reason in _REASONS), "bold $text-error"),
            (f"  {gpu.ecc_uncorrected} memory errors" if gpu.ecc_uncorrected else "", "bold $text-error"),
        )
    ]
    share = "" if ours is None else f", this run {gib(ours)}"
    lines.append(_meter("memory", used, f"{gib(gpu.memory_used)} of {gib(gpu.memory_total)}{share}", wide))
    if gpu.utilisation is not None:
        busy = _meter("busy", gpu.utilisation / 100, f"{gpu.utilisation:3d} % ", wide)
        lines.append(Content.assemble(busy, (history(past, min(wide, 30)), "dim")))
    if gpu.power_w is not None:
        limit = gpu.power_limit_w or gpu.power_w
        words = [f"{gpu.power_w:.0f} of {limit:.0f} W"]
        words += [] if gpu.temperature_c is None else [f"{gpu.temperature_c} °C"]
        words += [] if gpu.clock_mhz is None else [f"{gpu.clock_mhz} MHz"]
        lines.append(_meter("power", gpu.power_w / limit if limit else 0, "  ".join(words), wide))
    if links := _links(gpu):
        lines.append(Content.assemble((f"{'links':<11} ", "dim"), links))
    lines += [
        Content.styled(
            f"  {gate_line(each.name or 'instance')}: {gib((each.memory_total or 0) - (each.memory_free or 0))} used",
            "dim",
        )
        for each in gpu.mig_devices
    ]
    return lines


def _kinds(gpus: "GpuStatus") -> str:
    """What they are called, and by which driver they are told."""
    names = Counter(gate_line(gpu.name, 40) for gpu in gpus.gpus)
    words = [f"{count} × {name}" if count > 1 else name for name, count in names.items()]
    words += [f"driver {gate_line(gpus.driver, 20)}"] if gpus.driver and words else []
    words += [f"CUDA {gate_line(gpus.cuda, 10)}"] if gpus.cuda and words else []
    return f"  {' · '.join(words)}" if words else ""


def _more(gpu: "Gpu") -> str:
    """What the one line of a GPU has no room for."""
    words = ["hidden"] * (not gpu.visible) + [f"{len(gpu.mig_devices)} instances"] * gpu.mig
    words += [f"{gpu.ecc_uncorrected} memory errors"] if gpu.ecc_uncorrected else []
    words += [] if gpu.clock_mhz is None else [f"{gpu.clock_mhz} MHz"]
    words += [links] if (links := _links(gpu)) else []
    words += [] if gpu.power_limit_w is None else [f"limit {gpu.power_limit_w:.0f} W"]
    return "   ".join(words)


def _links(gpu: "Gpu") -> str:
    """What goes over its buses."""
    pairs = (("PCIe", gpu.pcie_rx, gpu.pcie_tx), ("NVLink", gpu.nvlink_rx, gpu.nvlink_tx))
    return "   ".join(
        f"{name} {size(came)}/s in, {size(went)}/s out"
        for name, came, went in pairs
        if came is not None and went is not None
    )


def _brief(gpu: "Gpu", width: int, past: Sequence[float]) -> Content:
    """A GPU in one line."""
    used = gpu.memory_used / gpu.memory_total if gpu.memory_total else 0.0
    busy = 0 if gpu.utilisation is None else gpu.utilisation
    words = [f"{gpu.memory_used / 2**30:5.1f}/{gpu.memory_total / 2**30:.0f} GiB"]
    words += [] if gpu.power_w is None else [f"{gpu.power_w:4.0f} W"]
    words += [] if gpu.temperature_c is None else [f"{gpu.temperature_c:3d} °C"]
    reasons = " MIG" * gpu.mig + "".join(f" {reason}" for reason in gpu.throttle if reason in _REASONS)
    figures = "  ".join(words)
    room = width - 30 - len(figures) - len(reasons)
    return Content.assemble(
        (f"{gpu.index:<2}", "bold"),
        (bar(busy / 100, 10), "$primary"),
        "   – %  " if gpu.utilisation is None else f" {busy:3d} %  ",
        (bar(used, 8), _tone(used)),
        f" {figures}",
        (reasons, "bold $text-error"),
        (f" {history(past, min(room, 30))}" if room > 6 else "", "dim"),
    )


_REASONS = {"thermal": "slowed by its temperature", "power_brake": "slowed by the power supply", "hardware": "slowed"}


def _tone(fraction: float) -> str:
    return "$text-error" if fraction > 0.97 else "$text-warning" if fraction > 0.9 else "$primary"


def _meter(label: str, fraction: float, text: str, width: int) -> Content:
    return Content.assemble((f"{label:<11} ", "dim"), (bar(fraction, width), _tone(fraction)), f" {text}")
