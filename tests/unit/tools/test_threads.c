/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "tools/common/threads.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The CPU quota of control groups, read from made-up folders. */

enum { MOST_FILES = 5 };

struct file {
    const char *path, *text;
};

struct layout {
    const char *name;
    struct file files[MOST_FILES];
    int quota;
};

static const char cgroup[] = "/proc/self/cgroup";

static const struct layout layouts[] = {
    {"no control groups", {{NULL, NULL}}, INT_MAX},
    {"v2 without a limit", {{cgroup, "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "max 100000\n"}}, INT_MAX},
    {"v2, two and a half", {{cgroup, "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "250000 100000\n"}}, 2},
    {"v2, half a CPU", {{cgroup, "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "50000 100000\n"}}, 0},
    {"v2, another period", {{cgroup, "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "60000 20000\n"}}, 3},
    {"v2, the parent's limit is smaller",
     {{cgroup, "0::/a/b\n"},
      {"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
      {"/sys/fs/cgroup/a/cpu.max", "400000 100000\n"}},
     4},
    {"v2, the group's own limit is smaller",
     {{cgroup, "0::/a/b\n"},
      {"/sys/fs/cgroup/a/b/cpu.max", "200000 100000\n"},
      {"/sys/fs/cgroup/a/cpu.max", "400000 100000\n"}},
     2},
    {"v1, one and a half",
     {{cgroup, "3:memory:/a\n2:cpu,cpuacct:/a\n"},
      {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "150000\n"},
      {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}},
     1},
    {"v1 without a limit",
     {{cgroup, "2:cpu:/a\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"}},
     INT_MAX},
    {"v1, in a container that sees its own group as the root",
     {{cgroup, "2:cpuacct,cpu:/docker/0123\n0::/docker/0123\n"},
      {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n"},
      {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}},
     3},
    {"v1, another controller's group",
     {{cgroup, "2:cpuset:/a\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "100000\n"},
      {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"}},
     INT_MAX},
};

/* Makes a file and the folders that it is in. */
static void write_file(const char *root, const struct file *file)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s%s", root, file->path);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    assert_true(fputs(file->text, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
}

static void remove_folder(const char *root)
{
    char command[PATH_MAX + 16];

    snprintf(command, sizeof command, "rm -r '%s'", root);
    assert_int_equal(system(command), 0);
}

static void quotas_of_both_versions_are_rounded_down_to_whole_cpus(void **state)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        char root[] = "/tmp/mglu-threads-XXXXXX";
        assert_non_null(mkdtemp(root));
        for (size_t k = 0; k < MOST_FILES && layouts[i].files[k].path; k++)
            write_file(root, &layouts[i].files[k]);
        int quota = threads_quota(root);
        remove_folder(root);
        if (quota != layouts[i].quota)
            fail_msg("%s: %d, want %d", layouts[i].name, quota, layouts[i].quota);
    }
}

static void there_is_always_a_thread(void **state)
{
    assert_true(threads_usable() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotas_of_both_versions_are_rounded_down_to_whole_cpus),
        cmocka_unit_test(there_is_always_a_thread),
    };

    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
