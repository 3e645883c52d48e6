/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The most capable instruction set of this machine up to max_isa (NULL: no cap); NULL when max_isa is unknown. */
static const struct mglu_cpu_isa *best_isa(const char *max_isa)
{
    const struct mglu_cpu_isa *best = NULL;

    for (const struct mglu_cpu_isa *isa = mglu_cpu_isas; isa->name; isa++) {
        if (isa->is_available())
            best = isa;
        if (max_isa && !strcmp(isa->name, max_isa))
            return best;
    }
    return max_isa ? NULL : best;
}

static mglu_status fail_unknown_isa(const mglu_host *host)
{
    char known[128] = "";

    for (const struct mglu_cpu_isa *isa = mglu_cpu_isas; isa->name; isa++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", isa->name);
    }
    return host->fail(MGLU_ERROR_INVALID_ARGUMENT, "max_isa or MGLU_MAX_ISA: unknown instruction set '%s'; known: %s",
                      host->max_isa, known);
}

/* The available ones, NULL-terminated. */
static void list_instruction_sets(const char *names[MGLU_CPU_MAX_ISAS + 1])
{
    size_t count = 0;

    for (const struct mglu_cpu_isa *isa = mglu_cpu_isas; isa->name; isa++)
        if (isa->is_available())
            names[count++] = isa->name;
    names[count] = NULL;
}

/* The processor's name as reported by Linux, else "CPU". */
static void read_cpu_name(char *name, size_t size)
{
    static const char key[] = "model name";
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    int found = 0;

    snprintf(name, size, "CPU");
    while (file && !found && fgets(line, sizeof line, file)) {
        const char *value = strchr(line, ':');
        found = value && !strncmp(line, key, sizeof key - 1);
        if (!found)
            continue;
        value += 1 + strspn(value + 1, " ");
        snprintf(name, size, "%.*s", (int)strcspn(value, "\n"), value);
    }
    if (file)
        fclose(file);
}

static uint64_t memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

mglu_status mglu_cpu_open(const mglu_host *host, void **backend)
{
    const struct mglu_cpu_isa *isa = best_isa(host->max_isa);
    struct mglu_cpu_backend *made;

    if (!isa)
        return fail_unknown_isa(host);
    made = mglu_cpu_allocate(host, sizeof *made);
    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_cpu_backend){.host = host, .isa = isa, .memory_bytes = memory_bytes()};
    read_cpu_name(made->name, sizeof made->name);
    list_instruction_sets(made->instruction_sets);
    snprintf(made->details, sizeof made->details, "isa=%s threads=%d", isa->name, (int)host->num_threads);
    *backend = made;
    return MGLU_OK;
}

void mglu_cpu_close(void *backend)
{
    struct mglu_cpu_backend *self = backend;

    mglu_cpu_release(self->host, self, sizeof *self);
}

int32_t mglu_cpu_device_count(void *backend)
{
    return 1;
}

mglu_status mglu_cpu_device_info(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    const struct mglu_cpu_backend *self = backend;

    info->rank = MGLU_RANK_CPU;
    info->type = MGLU_DEVICE_CPU;
    info->host_memory = 1;
    info->name = self->name;
    info->reason = NULL;
    info->details = self->details;
    info->memory_bytes = self->memory_bytes;
    info->instruction_sets = self->instruction_sets;
    info->works_after_fork = 1;
    return MGLU_OK;
}

mglu_status mglu_cpu_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue)
{
    const mglu_host *host = ((const struct mglu_cpu_backend *)backend)->host;
    struct mglu_cpu_queue *made;

    if (desc->native_stream)
        return host->fail(MGLU_ERROR_INVALID_ARGUMENT, "cpu: a CPU queue takes no native stream");
    made = mglu_cpu_allocate(host, sizeof *made);
    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    atomic_init(&made->bad_routing, 0);
    *queue = made;
    return MGLU_OK;
}

/* All work was done when forward returned; only its errors remain to be reported. */
mglu_status mglu_cpu_queue_wait(void *backend, void *queue)
{
    const mglu_host *host = ((const struct mglu_cpu_backend *)backend)->host;
    struct mglu_cpu_queue *self = queue;

    if (atomic_exchange(&self->bad_routing, 0))
        return host->fail(MGLU_ERROR_BAD_ROUTING, "a routing id was out of range; its token's output is NaN");
    return MGLU_OK;
}

mglu_status mglu_cpu_queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user)
{
    struct mglu_cpu_queue *self = queue;

    callback(user, atomic_load(&self->bad_routing) ? MGLU_ERROR_BAD_ROUTING : MGLU_OK);
    return MGLU_OK;
}

void mglu_cpu_queue_destroy(void *backend, void *queue)
{
    mglu_cpu_release(((const struct mglu_cpu_backend *)backend)->host, queue, sizeof(struct mglu_cpu_queue));
}
