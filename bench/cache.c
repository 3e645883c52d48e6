/* SPDX-License-Identifier: MIT */
#include "cache.h"

#include <stdio.h>
#include <unistd.h>

/** Assumed where the size is not known: more than most machines have. */
static const int64_t assumed_bytes = (int64_t)64 << 20;

/** Reads a number from a file of a CPU's cache; -1 when there is none. */
static long long read_number(long cpu, int index, const char *name)
{
    char path[128];
    long long value = -1;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/cache/index%d/%s", cpu, index, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    if (fscanf(file, "%lld", &value) != 1)
        value = -1;
    fclose(file);
    return value;
}

/** Bytes of a CPU's last cache if the CPU is the first of those that share it, so that each cache counts once. */
static int64_t first_share(long cpu)
{
    int last = -1;
    long long level = 0;
    for (int index = 0; read_number(cpu, index, "level") > 0; index++) {
        if (read_number(cpu, index, "level") >= level) {
            level = read_number(cpu, index, "level");
            last = index;
        }
    }
    if (last < 0 || read_number(cpu, last, "shared_cpu_list") != cpu)
        return 0;
    const long long kibibytes = read_number(cpu, last, "size");
    return kibibytes > 0 ? (int64_t)kibibytes << 10 : 0;
}

int64_t cache_last_level_bytes(void)
{
    const long cpus = sysconf(_SC_NPROCESSORS_CONF);
    int64_t bytes = 0;
    for (long cpu = 0; cpu < cpus; cpu++)
        bytes += first_share(cpu);
    if (bytes)
        return bytes;
    const long told = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return told > 0 ? told : assumed_bytes;
}
