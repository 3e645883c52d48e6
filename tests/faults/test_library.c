/* SPDX-License-Identifier: MIT */
#include "scripts.h"
#include "shim.h"

#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The k-th failure, for every k, of every function of shim.h, in every script: each run in a process of its own. A step
 * that fails gives a status whose text names the reason, leaves an older output as it was, and succeeds when it is
 * called again on the same objects; then the results are those of an undisturbed run, nothing is leaked, and the whole
 * script works twice more. Where OpenMP's runtime itself lacks memory or a thread, it ends the process: these points
 * are counted and printed apart.
 *
 * test-faults-library [MOST]: at most about MOST failures of each series.
 */

enum { SECONDS = 30, FILE_BYTES = 1 << 16 };

/* What a run leaves behind. */
struct remains {
    long live;        /* allocations */
    long descriptors; /* open files */
    long entries;     /* of the folder */
    float y[Y_SIZE];
    size_t output_size;
    unsigned char output[FILE_BYTES];
};

struct outcome {
    long hits;
    char fault[512]; /* empty: clean */
    int was_ended;   /* by exit or a signal */
    struct remains remains;
};

static struct outcome outcome;
static volatile int *openmp_failed; /* in the run, which is another process */

static void blame(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Only the first fault is kept: the others follow from it. */
static void blame(const char *format, ...)
{
    va_list arguments;

    if (outcome.fault[0])
        return;
    va_start(arguments, format);
    vsnprintf(outcome.fault, sizeof outcome.fault, format, arguments);
    va_end(arguments);
}

static long count_entries(const char *folder)
{
    DIR *opened = opendir(folder);
    long count = 0;

    while (opened && readdir(opened))
        count++;
    if (opened)
        closedir(opened);
    return count;
}

static size_t read_output(const char *path, unsigned char *data)
{
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(data, 1, FILE_BYTES, file) : 0;

    if (file)
        fclose(file);
    return size;
}

static const char old_text[] = "older";

static void write_old_output(const char *path)
{
    FILE *file = fopen(path, "wb");

    if (!file || fputs(old_text, file) < 0 || fclose(file) != 0)
        abort();
}

static int output_is_old(const char *path)
{
    static unsigned char data[FILE_BYTES];

    return read_output(path, data) == strlen(old_text) && memcmp(data, old_text, strlen(old_text)) == 0;
}

/* Whether a text names the reason of a failure, as strerror() or as memory. */
static int names_reason(const struct fault *fault, const char *text)
{
    if (fault->kind == FAULT_MALLOC || fault->error == ENOMEM)
        return strcasestr(text, "memory") != NULL;
    return strcasestr(text, strerror(fault->error)) != NULL;
}

static void judge_failure(const struct script *script, const struct fault *fault, size_t step, mglu_status status)
{
    const char *text = mglu_last_error();

    if (outcome.hits == 0)
        blame("step %zu failed undisturbed: %s: %s", step, mglu_status_string(status), text);
    if (fault->is_benign)
        blame("step %zu did not go on: %s: %s", step, mglu_status_string(status), text);
    if (!names_reason(fault, text))
        blame("step %zu: %s does not name the reason: '%s'", step, mglu_status_string(status), text);
    if (fault->kind == FAULT_MALLOC && status != MGLU_ERROR_OUT_OF_MEMORY)
        blame("step %zu: out of memory is reported as %s: %s", step, mglu_status_string(status), text);
    if (script->output && !output_is_old(script->output))
        blame("step %zu failed, but the older output changed", step);
}

/* Runs all steps; one that fails is called again, undisturbed. */
static void run_steps(const struct script *script, const struct fault *fault)
{
    for (size_t i = 0; script->steps[i]; i++) {
        mglu_status status = script->steps[i]();
        if (status == MGLU_OK)
            continue;
        outcome.hits += fault_disarm();
        judge_failure(script, fault, i, status);
        status = script->steps[i]();
        if (status != MGLU_OK) {
            blame("step %zu fails again: %s: %s", i, mglu_status_string(status), mglu_last_error());
            break;
        }
    }
    layer_scripts_clean_up();
    file_scripts_clean_up();
}

static void begin(const struct script *script)
{
    memset(script_y, 0xff, sizeof script_y);
    if (script->output)
        write_old_output(script->output);
}

static void run_disturbed(const struct script *script, const struct fault *fault, long at)
{
    struct remains *remains = &outcome.remains;
    const struct fault none = {.kind = FAULT_KINDS};
    long live;

    /* A thread's first failure keeps a text, here and in the dynamic linker. */
    if (mglu_convert(NULL, MGLU_DTYPE_F32, NULL, MGLU_DTYPE_F32, 1) == MGLU_OK || dlopen("/no/such/object", RTLD_NOW))
        abort();
    live = fault_live_allocations();
    if (script->prepare)
        script->prepare();
    begin(script);
    fault_arm(fault, at);
    run_steps(script, fault);
    outcome.hits += fault_disarm();
    memcpy(remains->y, script_y, sizeof remains->y);
    if (script->output)
        remains->output_size = read_output(script->output, remains->output);
    for (int again = 0; again < 2; again++) {
        begin(script);
        run_steps(script, &none);
        if (memcmp(remains->y, script_y, sizeof remains->y) != 0)
            blame("y differs from that of the next run");
    }
    remains->live = fault_live_allocations() - live;
    remains->descriptors = count_entries("/proc/self/fd");
    remains->entries = count_entries(".");
}

static ssize_t read_all(int file, void *data, size_t size)
{
    size_t done = 0;
    ssize_t got = 1;

    for (; got > 0 && done<size; done += got> 0 ? (size_t)got : 0)
        got = read(file, (char *)data + done, size - done);
    return (ssize_t)done;
}

/*
 * LLVM's OpenMP runtime registers its process by number in a file, which a process that is ended leaves behind. The
 * next process with this number would read it, and also /proc/NUMBER/maps; where /proc is of another PID namespace,
 * that fails, and the runtime ends the process.
 */
static void remove_openmp_registration(pid_t process)
{
    char path[64];

    snprintf(path, sizeof path, "/dev/shm/__KMP_REGISTERED_LIB_%d_%d", (int)process, (int)getuid());
    unlink(path);
}

/* Forks a process for one run and receives its outcome. */
static void run_apart(const struct script *script, const struct fault *fault, long at)
{
    int ends[2], state;
    pid_t child;

    memset(&outcome, 0, sizeof outcome);
    *openmp_failed = 0;
    fflush(stdout);
    if (pipe(ends) != 0 || (child = fork()) < 0)
        abort();
    if (child == 0) {
        alarm(SECONDS);
        remove_openmp_registration(getpid());
        run_disturbed(script, fault, at);
        exit(write(ends[1], &outcome, sizeof outcome) != sizeof outcome);
    }
    close(ends[1]);
    if (read_all(ends[0], &outcome, sizeof outcome) != sizeof outcome) {
        outcome.hits = 1;
        outcome.fault[0] = 0;
    }
    close(ends[0]);
    waitpid(child, &state, 0);
    remove_openmp_registration(child);
    if (WIFSIGNALED(state))
        blame("the process was ended by signal %d (%s)", WTERMSIG(state), strsignal(WTERMSIG(state)));
    if (WIFEXITED(state) && WEXITSTATUS(state) != 0)
        blame("the process was ended by exit(%d)", WEXITSTATUS(state));
    outcome.was_ended = state != 0;
}

static void compare(const struct script *script, const struct remains *usual)
{
    const struct remains *got = &outcome.remains;

    if (memcmp(got->y, usual->y, sizeof usual->y) != 0)
        blame("y differs from that of an undisturbed run");
    if (got->output_size != usual->output_size || memcmp(got->output, usual->output, usual->output_size) != 0)
        blame("the output differs from that of an undisturbed run");
    if (got->live >
        usual->live + script->kept_by_linker) /* fewer: a driver does not try again what it allocates once */
        blame("%+ld allocations are left over", got->live - usual->live);
    if (got->descriptors != usual->descriptors)
        blame("%+ld files are left open", got->descriptors - usual->descriptors);
    if (got->entries != usual->entries)
        blame("%+ld files are left in the folder", got->entries - usual->entries);
}

static long points, clean, ended_by_openmp;

/* All failures of one function in one script; `most` limits them by a stride. */
static void try_series(const struct script *script, const struct fault *fault, const struct remains *usual, long most)
{
    long stride = 1, reported = 0;

    if (most != LONG_MAX) {
        const struct fault all = {.kind = fault->kind, .error = fault->error};
        long first = 1, beyond = 1;
        while (beyond < 1 << 20 && (run_apart(script, &all, beyond), outcome.hits > 0))
            first = beyond, beyond *= 2;
        stride = 1 + first / most;
    }
    for (long at = 1;; at += stride) {
        run_apart(script, fault, at);
        if (outcome.hits == 0)
            return;
        points++;
        if (script->uses_openmp && outcome.was_ended && *openmp_failed) {
            ended_by_openmp++;
            continue;
        }
        compare(script, usual);
        clean += !outcome.fault[0];
        if (outcome.fault[0] && reported++ < 10)
            printf("%s, %s %ld: %s\n", script->name, fault->name, at, outcome.fault);
    }
}

static void try_script(const struct script *script, long most)
{
    static struct remains usual;
    long before = points, clean_before = clean;

    run_apart(script, &faults[0], LONG_MAX);
    if (outcome.fault[0]) {
        printf("%s, undisturbed: %s\n", script->name, outcome.fault);
        points++;
        return;
    }
    usual = outcome.remains;
    for (const struct fault *fault = faults; fault->name; fault++)
        try_series(script, fault, &usual, most);
    printf("%s: %ld failure points, %ld clean\n", script->name, points - before, clean - clean_before);
}

int main(int argc, char **argv)
{
    const long most = argc > 1 ? atol(argv[1]) : LONG_MAX;
    char in_memory[] = "/dev/shm/mglu-test-faults-XXXXXX", on_disk[] = "/tmp/mglu-test-faults-XXXXXX";
    const char *folder = mkdtemp(in_memory); /* where fsync() takes no time */

    if (!folder)
        folder = mkdtemp(on_disk);
    if (most < 1 || !folder || chdir(folder) != 0)
        return 1;
    openmp_failed = mmap(NULL, sizeof *openmp_failed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (openmp_failed == MAP_FAILED)
        return 1;
    fault_watch_openmp(openmp_failed);
    file_scripts_write_inputs();
    for (const struct script *script = layer_scripts; script->name; script++)
        try_script(script, most);
    for (const struct script *script = file_scripts; script->name; script++)
        try_script(script, most);
    printf("faults in the library: %ld failure points, %ld clean, %ld ended by OpenMP's runtime\n", points, clean,
           ended_by_openmp);
    for (const char *const *name =
             (const char *const[]){"checkpoint", "packed", "written", "packed-copy", "packed-q8_0", NULL};
         *name; name++)
        unlink(*name);
    return rmdir(folder) != 0 || points == 0 || clean + ended_by_openmp != points;
}
