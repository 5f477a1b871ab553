/* A stand-in for AMD's libamd_smi.so, so that the code that asks it can be tested where there is no GPU.
 *
 * It is compiled by the tests and loaded by the amdsmi package itself. Everything it reports is made up, and says so: its
 * GPUs are called "Synthetic AMD GPU". The structures are those of amdsmi.h. The package looks up every function of the
 * library when it is imported; those that are not below come from OTHERS, which the tests make of the names that it wants.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 2, NOT_AVAILABLE = 0xFFFF };
enum { EDGE = 0 };
typedef uint32_t u32;
typedef uint64_t u64;

static int sockets[1], gpus[2];
static int index_of(void *handle) { return (int)((int *)handle - gpus); }

int amdsmi_init(u64 flags) { return flags == 2 ? SUCCESS : NOT_SUPPORTED; }
int amdsmi_get_socket_handles(u32 *count, void **handles) {
    *count = 1;
    if (handles) handles[0] = &sockets[0];
    return SUCCESS;
}
int amdsmi_get_processor_handles(void *socket, u32 *count, void **handles) {
    (void)socket;
    *count = 2;
    for (int i = 0; handles && i < 2; i++) handles[i] = &gpus[i];
    return SUCCESS;
}

typedef struct { char version[256], date[256], name[256]; } driver_info;
int amdsmi_get_gpu_driver_info(void *gpu, driver_info *info) {
    (void)gpu;
    strcpy(info->version, "0.0-synthetic");
    return SUCCESS;
}
int amdsmi_get_gpu_device_uuid(void *gpu, u32 *length, char *uuid) {
    snprintf(uuid, *length, "synthetic-%d", index_of(gpu));
    return SUCCESS;
}

typedef struct {
    char market_name[256];
    u32 vendor_id;
    char vendor_name[256];
    u32 subvendor_id;
    u64 device_id;
    u32 rev_id;
    char asic_serial[256];
    u32 oam_id, compute_units;
    u64 graphics_version;
    u32 subsystem_id, reserved[21];
} asic_info;
int amdsmi_get_gpu_asic_info(void *gpu, asic_info *info) {
    strcpy(info->market_name, "Synthetic AMD GPU");
    snprintf(info->asic_serial, sizeof info->asic_serial, "E79E5B9A7D1E9A3%d", index_of(gpu));
    return SUCCESS;
}

typedef struct { u32 total, used, reserved[2]; } vram_usage;
int amdsmi_get_gpu_vram_usage(void *gpu, vram_usage *usage) {
    (void)gpu;
    usage->total = 65536; /* MiB */
    usage->used = 1024;
    return SUCCESS;
}
typedef struct { u32 gfx, umc, mm, reserved[13]; } engine_usage;
int amdsmi_get_gpu_activity(void *gpu, engine_usage *usage) {
    (void)gpu;
    usage->gfx = 93;
    usage->umc = NOT_AVAILABLE;
    return SUCCESS;
}
typedef struct { u64 socket; u32 current, average; u64 voltages[3]; u32 limit; u64 reserved[18]; } power_info;
int amdsmi_get_power_info(void *gpu, power_info *info) {
    (void)gpu;
    info->current = NOT_AVAILABLE;
    info->average = 310;
    return SUCCESS;
}
typedef struct { u64 cap, standard, dpm, least, most, reserved[3]; } power_cap;
int amdsmi_get_power_cap_info(void *gpu, u32 sensor, power_cap *info) {
    (void)gpu;
    (void)sensor;
    info->cap = 750000000; /* microwatts */
    return SUCCESS;
}
int amdsmi_get_temp_metric(void *gpu, int sensor, int metric, int64_t *degrees) {
    (void)gpu;
    if (sensor != EDGE || metric != 0) return NOT_SUPPORTED;
    *degrees = 55;
    return SUCCESS;
}
typedef struct { u32 clk, least, most; unsigned char locked, sleeps; u32 reserved[4]; } clock_info;
int amdsmi_get_clock_info(void *gpu, int type, clock_info *info) {
    (void)gpu;
    (void)type;
    info->clk = 2100;
    return SUCCESS;
}
typedef struct {
    char name[256];
    u32 pid;
    u64 mem;
    struct { u64 gfx, enc; u32 reserved[12]; } engines;
    struct { u64 gtt, cpu, vram; u32 reserved[10]; } memory;
    char container[256];
    u32 occupancy, reserved[11];
} process_info;
int amdsmi_get_gpu_process_list(void *gpu, u32 *count, process_info *list) {
    *count = index_of(gpu) == 0;
    if (*count) {
        strcpy(list[0].name, "python3");
        list[0].pid = 77;
        list[0].mem = 1ull << 30;
    }
    return SUCCESS;
}

#define OTHER(name) int name(void) { return NOT_SUPPORTED; }
#include "others.h"
