/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include "tools/common/report.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { LINE = 4096, PATIENCE_MS = 300000 };

static bool fail(char failure[PEER_TEXT], const char *what, const char *why)
{
    snprintf(failure, PEER_TEXT, "%s: %s", what, why);
    report_clean(failure);
    return false;
}

/** Sets close-on-exec, so that programs started later do not inherit the pipe. */
static bool make_pipe(int ends[2])
{
    return pipe2(ends, O_CLOEXEC) == 0;
}

static int spawn(struct peer *peer, const char *command, int input, int output)
{
    char *arguments[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    /* A process group of its own, so that stopping it also stops what the command line has started. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int error = posix_spawn(&peer->pid, "/bin/sh", &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static bool launch(struct peer *peer, const char *command)
{
    int input[2], output[2];
    if (!make_pipe(input))
        return fail(peer->failure, "pipe", strerror(errno));
    if (!make_pipe(output)) {
        close(input[0]);
        close(input[1]);
        return fail(peer->failure, "pipe", strerror(errno));
    }
    const int error = spawn(peer, command, input[0], output[1]);
    close(input[0]);
    close(output[1]);
    peer->to = input[1];
    peer->from = output[0];
    if (!error)
        return true;
    peer->pid = 0;
    return fail(peer->failure, "/bin/sh", strerror(error));
}

/** Reads the peer's next line, without its newline. */
static bool receive(struct peer *peer, char line[LINE], char failure[PEER_TEXT])
{
    size_t length = 0;
    while (length + 1 < LINE) {
        struct pollfd wait = {.fd = peer->from, .events = POLLIN};
        const int ready = poll(&wait, 1, PATIENCE_MS);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return fail(failure, peer->name, "does not answer");
        const ssize_t got = read(peer->from, line + length, LINE - 1 - length);
        if (got <= 0)
            return fail(failure, peer->name, "has ended");
        length += (size_t)got;
        if (line[length - 1] == '\n') {
            line[length - 1] = '\0';
            return true;
        }
    }
    return fail(failure, peer->name, "line too long");
}

/** Sends a line and reads the answer, which must begin with `word`; returns what follows it, NULL on failure. */
static const char *ask(struct peer *peer, const char *question, const char *word, char line[LINE],
                       char failure[PEER_TEXT])
{
    const size_t length = strlen(question), prefix = strlen(word);
    if (peer->failure[0]) {
        snprintf(failure, PEER_TEXT, "%s", peer->failure);
        return NULL;
    }
    if (length && write(peer->to, question, length) != (ssize_t)length)
        fail(peer->failure, peer->name, "has ended");
    else
        receive(peer, line, peer->failure);
    if (peer->failure[0]) {
        snprintf(failure, PEER_TEXT, "%s", peer->failure);
        return NULL;
    }
    if (strncmp(line, word, prefix) == 0 && (!line[prefix] || line[prefix] == ' '))
        return line + prefix + (line[prefix] == ' ');
    fail(failure, peer->name, strncmp(line, "error ", 6) == 0 ? line + 6 : line);
    return NULL;
}

/** The command line of a script of mglu-bench: in the source tree if it exists, else installed.
 */
static void script_command(const char *name, char *command, size_t size)
{
    const char *script = MGLU_BENCH_PEERS_SOURCE "/peer.py";
    if (access(script, R_OK) != 0)
        script = MGLU_BENCH_PEERS_INSTALLED "/peer.py";
    snprintf(command, size, "exec python3 '%s' %s", script, name);
}

/** The command line of this program with another backend. */
static void backend_command(const char *name, const struct options *options, int threads, char *command, size_t size)
{
    char program[1024];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    const char *isa = options->compute.max_isa;
    snprintf(command, size, "exec '%s' --serve --backend '%s' --threads %d --top-k %d%s%s%s", program, name, threads,
             options->top_k, isa ? " --max-isa '" : "", isa ? isa : "", isa ? "'" : "");
}

static void own_command(const char *name, const struct options *options, int threads, char *command, size_t size)
{
    if (strcmp(name, "torch") == 0 || strcmp(name, "openblas") == 0)
        script_command(name, command, size);
    else
        backend_command(name, options, threads, command, size);
}

void peer_start(struct peer *peer, const struct peer_option *option, const struct options *options, int threads)
{
    char command[2048], count[16], line[LINE], failure[PEER_TEXT];
    *peer = (struct peer){.name = option->name, .to = -1, .from = -1};
    snprintf(count, sizeof count, "%d", threads);
    setenv("MGLU_BENCH_THREADS", count, 1);
    own_command(option->name, options, threads, command, sizeof command);
    if (!launch(peer, option->command ? option->command : command))
        return;
    const char *device = ask(peer, "", "ready", line, failure);
    if (!device) {
        snprintf(peer->failure, sizeof peer->failure, "%s", failure);
        return;
    }
    snprintf(peer->device, sizeof peer->device, "%.*s", PEER_TEXT - 1, device);
    report_clean(peer->device);
}

void peer_stop(struct peer *peer)
{
    if (peer->to >= 0)
        close(peer->to);
    if (peer->from >= 0)
        close(peer->from);
    if (peer->pid > 0) {
        kill(-peer->pid, SIGTERM);
        waitpid(peer->pid, NULL, 0);
    }
    *peer = (struct peer){.to = -1, .from = -1};
}

static bool parse_case(const char *word, struct peer_case *parsed)
{
    int end = 0, masks = 0;
    if (strlen(word) >= sizeof parsed->name ||
        sscanf(word, "%31[^:]:%15[^:]:%d%n", parsed->variant, parsed->dtype, &masks, &end) != 3 || word[end] ||
        masks < 0 || masks > MGLU_MAX_MASKS)
        return false;
    strcpy(parsed->name, word);
    parsed->n_masks = masks;
    report_clean(parsed->variant);
    report_clean(parsed->dtype);
    return true;
}

int peer_open(struct peer *peer, const struct problem *problem, const struct options *options, int64_t cold_bytes,
              struct peer_case cases[PEER_CASES], char failure[PEER_TEXT])
{
    char question[512], line[LINE], *rest;
    int used = snprintf(question, sizeof question, "open %s %lld %lld %lld %lld ", op_names[problem->op],
                        (long long)problem->shape.d, (long long)problem->shape.h, (long long)problem->batch,
                        (long long)cold_bytes);
    for (int i = 0; i < options->mask_count; i++)
        used += snprintf(question + used, sizeof question - (size_t)used, "%s%d", i ? "," : "", options->masks[i]);
    snprintf(question + used, sizeof question - (size_t)used, " %s %s\n", mglu_dtype_name(problem->dtype),
             mglu_dtype_name(problem->x_dtype));
    const char *answer = ask(peer, question, "cases", line, failure);
    int count = 0;
    if (!answer)
        return 0;
    for (char *word = strtok_r((char *)answer, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (count == PEER_CASES || !parse_case(word, &cases[count++])) {
            fail(failure, peer->name, "answered with an invalid case, or with too many cases");
            return 0;
        }
    }
    if (!count)
        fail(failure, peer->name, "can't measure this");
    return count;
}

void peer_let_threads_sleep(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

double peer_time(struct peer *peer, const struct peer_case *peer_case, char failure[PEER_TEXT])
{
    char question[128], line[LINE];
    snprintf(question, sizeof question, "run %s\n", peer_case->name);
    peer_let_threads_sleep();
    const char *answer = ask(peer, question, "us", line, failure);
    const double microseconds = answer ? strtod(answer, NULL) : 0;
    if (answer && !(microseconds > 0 && microseconds < 1e12)) {
        fail(failure, peer->name, "answered with an invalid time");
        return 0;
    }
    return 1e-6 * microseconds;
}
