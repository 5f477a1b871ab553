/* A stand-in for NVIDIA's libnvidia-ml.so.1, so that the code that asks it can be tested where there is no GPU.
 *
 * It is compiled by the tests and loaded by pynvml itself, through the functions and structures of NVML's C interface.
 * Everything it reports is made up, and says so: its GPUs are called "Synthetic GPU".
 * The environment variable SYNTHETIC_NVML chooses its behaviour, words separated by commas:
 *   gpus=N          how many GPUs there are (2)
 *   init=CODE       nvmlInit fails with this NVML code
 *   hang            asking for the second GPU's memory never returns, as with a GPU that has fallen off the bus
 *   lost            GPU 1 answers everything with NVML_ERROR_GPU_IS_LOST
 *   bare            only names and UUIDs are supported, as on hardware that shares the host's memory
 *   throttle=BITS   why the clocks are low, as nvmlClocksEventReasons has it (0)
 *   ecc=N           memory errors that could not be corrected (0)
 *   ecc_later       they are counted from the third look on
 *   xid=CODE        one Xid error of GPU 0 is told once
 *   mig             GPU 0 is divided into two instances
 *   wander          utilisation, power and temperature are others at each look
 *   crash           asking for the first name kills the process
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int nvmlReturn_t;
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };

typedef struct { unsigned index; } *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
typedef struct {
    unsigned pid;
    unsigned long long usedGpuMemory;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

static unsigned indices[16];
#define GIB (1ull << 30)

static const char *behaviour(void) {
    const char *text = getenv("SYNTHETIC_NVML");
    return text ? text : "";
}
static long option(const char *name, long otherwise) {
    const char *at = strstr(behaviour(), name);
    return at ? strtol(at + strlen(name), NULL, 10) : otherwise;
}
static int has(const char *word) { return strstr(behaviour(), word) != NULL; }

static nvmlReturn_t check(nvmlDevice_t device, int always) {
    if (device->index == 1 && has("lost")) return GPU_IS_LOST;
    if (!always && has("bare")) return NOT_SUPPORTED;
    return SUCCESS;
}
#define ALWAYS(device) do { nvmlReturn_t r = check(device, 1); if (r) return r; } while (0)
#define MAYBE(device) do { nvmlReturn_t r = check(device, 0); if (r) return r; } while (0)

nvmlReturn_t nvmlInitWithFlags(unsigned flags) { (void)flags; return (int)option("init=", SUCCESS); }
nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
nvmlReturn_t nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t code) {
    static char text[64];
    snprintf(text, sizeof text, "Synthetic error %d", code);
    return text;
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "000.00-synthetic");
    return SUCCESS;
}
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12040; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) { *count = (unsigned)option("gpus=", 2); return SUCCESS; }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    if (index >= 16) return INVALID_ARGUMENT;
    indices[index] = index;
    *device = (nvmlDevice_t)&indices[index];
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    ALWAYS(device);
    snprintf(uuid, length, "GPU-%08u-0000-0000-0000-000000000000", device->index);
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    ALWAYS(device);
    if (has("crash")) raise(SIGSEGV);
    snprintf(name, length, "Synthetic GPU");
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    if (device->index == 1 && has("hang")) for (;;) pause();
    MAYBE(device);
    memory->total = 24 * GIB;
    memory->used = (1 + device->index) * GIB;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    MAYBE(device);
    static unsigned looks[16];
    rates->gpu = has("wander") ? 40 + (looks[device->index]++ * 7 + device->index * 13) % 60 : 87 - device->index;
    rates->memory = 41;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *degrees) {
    (void)sensor;
    MAYBE(device);
    static unsigned looks[16];
    *degrees = 61 + device->index + (has("wander") ? looks[device->index]++ / 4 % 5 : 0);
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts) {
    MAYBE(device);
    static unsigned looks[16];
    *milliwatts = 215500 + (has("wander") ? 1000 * (looks[device->index]++ * 11 % 90) : 0);
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *milliwatts) {
    MAYBE(device);
    *milliwatts = 350000;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int type, unsigned *megahertz) {
    (void)type;
    MAYBE(device);
    *megahertz = 1410;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    MAYBE(device);
    *major = 8;
    *minor = 9;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    MAYBE(device);
    *current = *pending = device->index == 0 && has("mig");
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) {
    MAYBE(device);
    *count = 7;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *instance) {
    MAYBE(device);
    if (index >= 2) return 6; /* NOT_FOUND */
    indices[8 + index] = 8 + index;
    *instance = (nvmlDevice_t)&indices[8 + index];
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons) {
    MAYBE(device);
    *reasons = (unsigned long long)option("throttle=", 0);
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int type, int counter, unsigned long long *count) {
    static int looks = 0;
    (void)counter;
    MAYBE(device);
    int later = has("ecc_later") && looks++ < 2;
    *count = type == 1 && !later ? (unsigned long long)option("ecc=", 0) : 0;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, int counter, unsigned *kilobytes) {
    MAYBE(device);
    *kilobytes = counter == 0 ? 1024 : 2048;
    return SUCCESS;
}
typedef struct {
    unsigned fieldId, scopeId;
    long long timestamp, latencyUsec;
    int valueType, nvmlReturn;
    union { double d; unsigned long long u; } value;
} nvmlFieldValue_t;
nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    static unsigned long long kibibytes;
    MAYBE(device);
    kibibytes += 1024;
    for (int i = 0; i < count; i++) {
        values[i].nvmlReturn = SUCCESS;
        values[i].value.u = kibibytes;
    }
    return SUCCESS;
}
typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType, eventData;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlEventData_t;
nvmlReturn_t nvmlEventSetCreate(void **set) { *set = indices; return SUCCESS; }
nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, void *set) {
    (void)types;
    (void)set;
    MAYBE(device);
    return SUCCESS;
}
nvmlReturn_t nvmlEventSetWait_v2(void *set, nvmlEventData_t *event, unsigned milliseconds) {
    static int told;
    (void)set;
    (void)milliseconds;
    if (told || !has("xid=")) return 10; /* TIMEOUT */
    told = 1;
    indices[0] = 0;
    event->device = (nvmlDevice_t)&indices[0];
    event->eventType = 8;
    event->eventData = (unsigned long long)option("xid=", 0);
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *list) {
    MAYBE(device);
    if (device->index != 0) { *count = 0; return SUCCESS; }
    if (*count < 1 || list == NULL) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    list[0] = (nvmlProcessInfo_t){4242, 1 * GIB, 0, 0};
    return SUCCESS;
}
