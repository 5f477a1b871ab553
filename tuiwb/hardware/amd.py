"""Asks AMD's driver through amdsmi, where that package is installed. Run by nvml.py, in the same child process, on a
machine without NVIDIA's library; loaded by its path, so it imports nothing of ours.

Source: the Python API of amdsmi: memory in MiB, power in watts, the power cap in microwatts, temperature in degrees
Celsius; what is not supported is an exception or the string "N/A".
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

_MIB = 1 << 20


def looks() -> Iterator[dict[str, Any]]:
    """One look after the other, for ever, in the names of `nvml.look`.

    Raises:
        Exception: amdsmi is not installed, or finds no driver.
    """
    with contextlib.redirect_stdout(sys.stderr):  # without its library the package prints, and our looks go there
        import amdsmi

    amdsmi.amdsmi_init(amdsmi.AmdSmiInitFlags.INIT_AMD_GPUS)
    while True:
        handles = amdsmi.amdsmi_get_processor_handles()
        driver = _get(amdsmi.amdsmi_get_gpu_driver_info, handles[0]) if handles else None
        yield {
            "driver": _field(driver, "driver_version"),
            "cuda": None,
            "gpus": [_gpu(amdsmi, index, handle) for index, handle in enumerate(handles)],
            "problem": None if handles else "the AMD driver sees no GPU",
        }


def _gpu(amdsmi: Any, index: int, handle: Any) -> dict[str, Any]:
    memory = _get(amdsmi.amdsmi_get_gpu_vram_usage, handle)
    busy = _get(amdsmi.amdsmi_get_gpu_activity, handle)
    power = _get(amdsmi.amdsmi_get_power_info, handle)
    cap = _field(_get(amdsmi.amdsmi_get_power_cap_info, handle), "power_cap")
    total, used = _field(memory, "vram_total"), _field(memory, "vram_used")
    now = amdsmi.AmdSmiTemperatureMetric.CURRENT
    kinds = (amdsmi.AmdSmiTemperatureType.HOTSPOT, amdsmi.AmdSmiTemperatureType.EDGE)
    heat = (_get(amdsmi.amdsmi_get_temp_metric, handle, kind, now) for kind in kinds)
    processes = _get(amdsmi.amdsmi_get_gpu_process_list, handle) or []
    asic = _get(amdsmi.amdsmi_get_gpu_asic_info, handle)
    return {
        "index": index,
        "vendor": "amd",
        "uuid": _uuid(_field(asic, "asic_serial")) or str(amdsmi.amdsmi_get_gpu_device_uuid(handle)),
        "name": _field(asic, "market_name") or "AMD GPU",
        "memory_total": None if total is None else total * _MIB,
        "memory_free": None if total is None or used is None else (total - used) * _MIB,
        "utilisation": _field(busy, "gfx_activity"),
        "memory_utilisation": _field(busy, "umc_activity"),
        "power_w": _field(power, "current_socket_power") or _field(power, "average_socket_power"),
        "power_limit_w": None if cap is None else cap / 1e6,
        "temperature_c": next((each for each in heat if isinstance(each, int | float)), None),
        "clock_mhz": _field(_get(amdsmi.amdsmi_get_clock_info, handle, amdsmi.AmdSmiClkType.GFX), "clk"),
        "ecc_uncorrected": _field(_get(amdsmi.amdsmi_get_gpu_total_ecc_count, handle), "uncorrectable_count"),
        "processes": [
            {"pid": each["pid"], "memory": each.get("mem")}
            for each in processes
            if isinstance(each, dict) and isinstance(each.get("pid"), int)
        ],
    }


def _uuid(serial: Any) -> str | None:
    """As HIP_VISIBLE_DEVICES takes it, and torch compares it: from the serial number, not amdsmi's own UUID."""
    return f"GPU-{str(serial).lower().removeprefix('0x')}" if serial else None


def _get(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` says; None where this GPU or driver does not have it."""
    try:
        return function(*arguments)
    except Exception:  # AmdSmiException and its kin differ from release to release
        return None


def _field(found: Any, name: str) -> Any:
    value = found.get(name) if isinstance(found, dict) else None
    return None if value == "N/A" else value
