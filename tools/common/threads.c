/* SPDX-License-Identifier: MIT */
#include "threads.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Controllers of a version 1 hierarchy are mounted under either name. */
static const char *const v1_mounts[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};

static int affinity_count(void)
{
    for (int bits = CPU_SETSIZE; bits <= 1 << 20; bits *= 2) {
        cpu_set_t *set = CPU_ALLOC(bits);
        if (!set)
            break;
        const size_t size = CPU_ALLOC_SIZE(bits);
        const bool known = sched_getaffinity(0, size, set) == 0;
        const int count = known ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (known)
            return count;
    }
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/** Reads up to two numbers of "<folder>/<name>"; "max" and a missing file count as none. */
static int read_numbers(const char *folder, const char *name, long long *first, long long *second)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    const int count = fscanf(file, "%lld %lld", first, second);
    fclose(file);
    return count;
}

/** Whole CPUs that the quota of one control group allows, INT_MAX for no quota. */
static int folder_quota(const char *folder, bool v2)
{
    long long quota = 0, period = 0, unused = 0;
    if (v2 && read_numbers(folder, "cpu.max", &quota, &period) != 2)
        return INT_MAX;
    if (!v2 && (read_numbers(folder, "cpu.cfs_quota_us", &quota, &unused) < 1 ||
                read_numbers(folder, "cpu.cfs_period_us", &period, &unused) < 1))
        return INT_MAX;
    if (quota <= 0 || period <= 0 || quota / period >= INT_MAX)
        return INT_MAX;
    return (int)(quota / period);
}

/** The smallest quota of a group and all its parents: each of them limits it. */
static int path_quota(const char *mount, const char *group, bool v2)
{
    char folder[PATH_MAX];
    const int length = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (length < 0 || (size_t)length >= sizeof folder)
        return INT_MAX;
    int smallest = INT_MAX;
    for (;;) {
        const int quota = folder_quota(folder, v2);
        smallest = quota < smallest ? quota : smallest;
        char *slash = strrchr(folder + strlen(mount), '/');
        if (!slash)
            return smallest;
        *slash = '\0';
    }
}

static int mount_quota(const char *root, const char *mount, const char *group, bool v2)
{
    char folder[PATH_MAX];
    const int length = snprintf(folder, sizeof folder, "%s%s", root, mount);
    return length < 0 || (size_t)length >= sizeof folder ? INT_MAX : path_quota(folder, group, v2);
}

/** The quota of the group in one line of /proc/self/cgroup, "id:controllers:path". */
static int line_quota(const char *root, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return INT_MAX;
    *group++ = '\0';
    controllers++;
    if (!*controllers)
        return mount_quota(root, "/sys/fs/cgroup", group, true);
    if (strcmp(controllers, "cpu") != 0 && !strstr(controllers, "cpu,") && !strstr(controllers, ",cpu"))
        return INT_MAX;
    int smallest = INT_MAX;
    for (size_t i = 0; i < sizeof v1_mounts / sizeof v1_mounts[0]; i++) {
        const int quota = mount_quota(root, v1_mounts[i], group, false);
        smallest = quota < smallest ? quota : smallest;
    }
    return smallest;
}

int threads_quota(const char *root)
{
    char line[PATH_MAX];
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *file = fopen(line, "re");
    if (!file)
        return INT_MAX;
    int smallest = INT_MAX;
    while (fgets(line, sizeof line, file)) {
        const int quota = line_quota(root, line);
        smallest = quota < smallest ? quota : smallest;
    }
    fclose(file);
    return smallest;
}

int threads_usable(void)
{
    const int cpus = affinity_count();
    const int quota = threads_quota("");
    const int usable = quota < cpus ? quota : cpus;
    return usable > 1 ? usable : 1;
}
