/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include "cache.h"
#include "tools/common/report.h"
#include "tools/common/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const size_t huge_page = (size_t)2 << 20;
static const int64_t smallest_stream = (int64_t)64 << 20;

/** Trials of each read loop. */
static const int read_trials = 5;

/** For devices with memory of their own, which do not report it: more than current GPUs have. */
static const int64_t assumed_device_cache = (int64_t)128 << 20;

/** Steps of a peak: about three milliseconds on a fast core. */
static const int64_t peak_steps = 1500000;

/* Volatile, so that the compiler does not remove the loops. */
static volatile uint64_t read_sink;
static volatile float peak_start = 1, peak_sink;

static const struct kernels *const tables[] = {
#ifdef MGLU_BENCH_X86
    &kernels_avx2,      &kernels_avx512,   &kernels_avx512vnni, &kernels_avx512bf16,
#endif
#ifdef MGLU_BENCH_AVXVNNI
    &kernels_avxvnni,
#endif
#ifdef MGLU_BENCH_AMX
    &kernels_avx512amx,
#endif
#ifdef MGLU_BENCH_NEON
    &kernels_neondot,   &kernels_neoni8mm,
#endif
    &kernels_baseline,
};

/** What follows "key=" in the device's details, up to the next space; NULL when it is not there. */
static const char *find_detail(const mglu_device_info *info, const char *key, size_t *length)
{
    const size_t key_length = strlen(key);
    for (const char *word = info->details; word && *word; word += strspn(word, " ")) {
        const size_t word_length = strcspn(word, " ");
        if (word_length > key_length && word[key_length] == '=' && strncmp(word, key, key_length) == 0) {
            *length = word_length - key_length - 1;
            return word + key_length + 1;
        }
        word += word_length;
    }
    return NULL;
}

/** The table of the most capable instruction set that has one and may be used, up to that of the device. */
static const struct kernels *select_kernels(const mglu_device_info *info)
{
    size_t length = 0;
    const char *used = find_detail(info, "isa", &length);
    const struct kernels *best = &kernels_baseline;
    for (const char *const *isa = info->instruction_sets; used && *isa; isa++) {
        for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
            if (strcmp(tables[i]->isa, *isa) == 0 && (!tables[i]->prepare || tables[i]->prepare()))
                best = tables[i];
        if (strlen(*isa) == length && strncmp(*isa, used, length) == 0)
            break;
    }
    return best;
}

/** For a device that is not this CPU: the threads that peers may use. */
static int select_threads(const mglu_device_info *info, int asked)
{
    size_t length;
    const char *threads = find_detail(info, "threads", &length);
    if (!info->host_memory)
        return asked ? asked : threads_usable();
    const int count = threads ? atoi(threads) : 1;
    return count > 1 ? count : 1;
}

/** Memory in huge pages, like the library's weights, filled with different words. */
static bool make_stream(struct machine *machine)
{
    const int64_t wanted = machine->cold_bytes > smallest_stream ? machine->cold_bytes : smallest_stream;
    const size_t bytes = ((size_t)wanted + huge_page - 1) / huge_page * huge_page;
    void *memory;
    if (posix_memalign(&memory, huge_page, bytes) != 0)
        return report_failure("out of memory: %zu bytes to measure the read bandwidth with", bytes);
#ifdef MADV_HUGEPAGE
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    uint64_t *words = memory;
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        words[i] = i * 0x9e3779b97f4a7c15;
    machine->stream = memory;
    machine->stream_bytes = bytes;
    return true;
}

/** The faster read loop depends on the CPU: one Zen 3 reads four streams faster than one, others may not. */
static void select_read(struct machine *machine)
{
    double best[KERNELS_READS] = {0};
    for (int trial = 0; trial < read_trials; trial++)
        for (machine->read = 0; machine->read < KERNELS_READS; machine->read++) {
            const double speed = machine_read_speed(machine);
            if (speed > best[machine->read])
                best[machine->read] = speed;
        }
    machine->read = best[1] > best[0];
}

static void close_layers(struct machine *machine)
{
    layer_log_close(machine->layers);
    free(machine->layers);
}

bool machine_open(struct machine *machine, const struct options *options)
{
    struct compute_options compute = options->compute;
    *machine = (struct machine){.layers = report_allocate(1, sizeof *machine->layers)};
    if (!machine->layers)
        return false;
    compute.logger = layer_log_open(machine->layers);
    if (!compute_open(&machine->compute, &compute)) {
        close_layers(machine);
        return false;
    }
    timer_open(&machine->timer, &machine->compute);
    const mglu_device_info *info = &machine->compute.info;
    compute_describe(&machine->compute, machine->description, sizeof machine->description);
    machine->kernels = select_kernels(info);
    machine->threads = select_threads(info, options->compute.threads);
    machine->cache_bytes = info->host_memory ? cache_last_level_bytes() : assumed_device_cache;
    machine->cold_bytes = options->cold_bytes ? options->cold_bytes : 3 * machine->cache_bytes;
    if (!info->host_memory)
        return true;
    if (!make_stream(machine)) {
        machine_close(machine);
        return false;
    }
    select_read(machine);
    return true;
}

void machine_close(struct machine *machine)
{
    free(machine->stream);
    compute_close(&machine->compute);
    timer_close(&machine->timer);
    close_layers(machine);
}

double machine_read_speed(const struct machine *machine)
{
    const size_t blocks = machine->stream_bytes / 64, threads = (size_t)machine->threads;
    uint64_t folded = 0;
    const double begin = compute_seconds();
#pragma omp parallel for num_threads(machine->threads) schedule(static, 1) reduction(^ : folded)
    for (size_t thread = 0; thread < threads; thread++) {
        const size_t first = blocks * thread / threads, last = blocks * (thread + 1) / threads;
        folded ^= machine->kernels->read[machine->read]((const char *)machine->stream + 64 * first, last - first);
    }
    const double seconds = compute_seconds() - begin;
    read_sink = folded;
    return (double)machine->stream_bytes / seconds;
}

const struct unit *machine_peak(const struct machine *machine, const struct problem *problem)
{
    const struct unit *units = machine->kernels->units;
    if (problem->quantised_x && units[UNIT_INT8].name)
        return &units[UNIT_INT8];
    if (problem->dtype == MGLU_DTYPE_BF16 && problem->x_dtype == MGLU_DTYPE_BF16 && units[UNIT_BF16].name)
        return &units[UNIT_BF16];
    return &units[UNIT_F32];
}

double machine_peak_speed(const struct machine *machine, const struct unit *peak)
{
    const float from = peak_start;
    float sum = 0;
    const double begin = compute_seconds();
#pragma omp parallel for num_threads(machine->threads) schedule(static, 1) reduction(+ : sum)
    for (int thread = 0; thread < machine->threads; thread++)
        sum += peak->run(peak_steps, from);
    const double seconds = compute_seconds() - begin;
    peak_sink = sum;
    return (double)machine->threads * (double)(peak->operations_per_step * peak_steps) / seconds;
}
