/* SPDX-License-Identifier: MIT */
#include "common/core/variable.h"
#include "common/dispatch/objects.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>

/*
 * How many threads this process may have. OpenMP's runtime ends the process when it can't make one, or has no memory
 * for a team, so both are tried first. Another thread or process may take what the trial has found: only a host's own
 * pool excludes that.
 */

/* What the runtime allocates for a team, with a margin: libgomp takes 10 KiB and half a KiB for each thread. */
enum { TEAM_BYTES = 64 << 10, TEAM_BYTES_PER_THREAD = 1 << 10 };

/* Threads of a trial exist until it is over. */
struct trial {
    pthread_mutex_t lock;
    pthread_cond_t over;
    int is_over;
};

static void *wait_for_end(void *argument)
{
    struct trial *trial = argument;

    pthread_mutex_lock(&trial->lock);
    while (!trial->is_over)
        pthread_cond_wait(&trial->over, &trial->lock);
    pthread_mutex_unlock(&trial->lock);
    return NULL;
}

static void end_trial(struct trial *trial, const pthread_t *threads, int32_t count)
{
    pthread_mutex_lock(&trial->lock);
    trial->is_over = 1;
    pthread_cond_broadcast(&trial->over);
    pthread_mutex_unlock(&trial->lock);
    for (int32_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* Makes up to `count` threads, which all exist at the same time, and ends them. */
static int32_t try_threads(pthread_t *threads, int32_t count, size_t stack_size)
{
    struct trial trial = {.lock = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER};
    pthread_attr_t attributes;
    int32_t made = 0;

    if (pthread_attr_init(&attributes) != 0)
        return 0;
    if (stack_size)
        (void)pthread_attr_setstacksize(&attributes, stack_size); /* refused where OpenMP's runtime ignores it too */
    while (made < count && pthread_create(&threads[made], &attributes, wait_for_end, &trial) == 0)
        made++;
    end_trial(&trial, threads, made);
    pthread_attr_destroy(&attributes);
    return made;
}

int64_t mglu_process_threads(void)
{
    struct stat folder;

    /* Links of the folder: two, and one for each thread. */
    return stat("/proc/self/task", &folder) == 0 ? (int64_t)folder.st_nlink - 2 : 0;
}

/* The kernel counts a thread for a moment after it was joined; then the next one might be refused. */
static void wait_until_uncounted(int64_t before)
{
    enum { LOOKS = 1000 };

    for (int i = 0; i < LOOKS && mglu_process_threads() > before; i++)
        sched_yield();
}

int32_t mglu_possible_threads(int32_t wanted, size_t stack_size)
{
    const int64_t before = mglu_process_threads();
    /* Not the application's allocator: the runtime uses malloc. The threads' ids are a part of it. */
    pthread_t *memory = malloc(TEAM_BYTES + (size_t)wanted * TEAM_BYTES_PER_THREAD);
    int32_t made;

    if (!memory)
        return 1;
    made = try_threads(memory, wanted - 1, stack_size);
    free(memory);
    wait_until_uncounted(before);
    /* Where there is a limit, a quarter of what is possible stays for the application. */
    return 1 + made == wanted ? wanted : 1 + made - (1 + made) / 4;
}

static size_t read_stack_size(const char *text)
{
    static const char units[] = "BKMG";
    char *end;
    const unsigned long long number = strtoull(text, &end, 10);
    const char *unit;

    while (*end == ' ')
        end++;
    unit = *end ? strchr(units, *end & ~0x20) : strchr(units, 'K');
    return unit && number < SIZE_MAX >> 30 ? (size_t)number << 10 * (unit - units) : 0;
}

size_t mglu_openmp_stack_size(void)
{
    static const char *const names[] = {"OMP_STACKSIZE", "GOMP_STACKSIZE", "KMP_STACKSIZE"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = mglu_variable(names[i]);

        if (text)
            return read_stack_size(text);
    }
    return 0;
}
