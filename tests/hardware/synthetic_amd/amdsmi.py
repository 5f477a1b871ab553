"""A stand-in for AMD's package, so that what asks it can be tested where there is no GPU. All of it is made up, and
says so; the names, units and the "N/A" of what is not supported are those of the real one's documentation."""

from typing import Any


class AmdSmiInitFlags:
    INIT_AMD_GPUS = 2


class AmdSmiTemperatureType:
    EDGE, HOTSPOT = 0, 1


class AmdSmiTemperatureMetric:
    CURRENT = 0


class AmdSmiClkType:
    GFX = 1


class AmdSmiException(Exception):
    pass


def amdsmi_init(flags: int) -> None:
    assert flags == AmdSmiInitFlags.INIT_AMD_GPUS


def amdsmi_get_processor_handles() -> list[int]:
    return [0, 1]


def amdsmi_get_gpu_driver_info(handle: int) -> dict[str, str]:
    return {"driver_version": "0.0-synthetic"}


def amdsmi_get_gpu_device_uuid(handle: int) -> str:
    return f"synthetic-{handle}"


def amdsmi_get_gpu_asic_info(handle: int) -> dict[str, str]:
    return {"market_name": "Synthetic AMD GPU", "asic_serial": f"0xE79E5B9A7D1E9A3{handle}"}


def amdsmi_get_gpu_vram_usage(handle: int) -> dict[str, int]:
    return {"vram_total": 65536, "vram_used": 1024}


def amdsmi_get_gpu_activity(handle: int) -> dict[str, Any]:
    return {"gfx_activity": 93, "umc_activity": "N/A"}


def amdsmi_get_power_info(handle: int) -> dict[str, Any]:
    return {"current_socket_power": "N/A", "average_socket_power": 310}


def amdsmi_get_power_cap_info(handle: int) -> dict[str, int]:
    return {"power_cap": 750_000_000}


def amdsmi_get_temp_metric(handle: int, kind: int, metric: int) -> int:
    if kind == AmdSmiTemperatureType.HOTSPOT:
        raise AmdSmiException("not supported")
    return 55


def amdsmi_get_clock_info(handle: int, kind: int) -> dict[str, int]:
    return {"clk": 2100}


def amdsmi_get_gpu_total_ecc_count(handle: int) -> dict[str, int]:
    raise AmdSmiException("not supported")


def amdsmi_get_gpu_process_list(handle: int) -> list[dict[str, Any]]:
    return [{"pid": 77, "mem": 1 << 30}] if handle == 0 else []
