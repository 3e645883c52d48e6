/* SPDX-License-Identifier: MIT */
#include "serve.h"

#include "check.h"
#include "output.h"
#include "timed_layer.h"
#include "tools/common/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 4096, MOST_LAYERS = 2 * LIST_MAX + 1 };

/** The open problem. */
struct service {
    struct machine machine;
    struct test_data test_data;
    struct problem problem;
    struct timed_layer layers[MOST_LAYERS];
    int count;
};

static void answer(const char *word, const char *text)
{
    char line[LINE];
    snprintf(line, sizeof line, "%s %s", word, text);
    report_clean(line);
    puts(line);
    fflush(stdout);
}

/** The name of a layer in requests and answers. */
static void name_case(const struct timed_layer *timed, char *name, size_t size)
{
    snprintf(name, size, "%s:%s:%d", timed_layer_what(timed), mglu_dtype_name(timed->problem->dtype), timed->n_masks);
}

static void close_layers(struct service *service)
{
    for (int i = 0; i < service->count; i++)
        timed_layer_close(&service->layers[i]);
    service->count = 0;
}

static void add_layer(struct service *service, int32_t n_masks, int32_t top_k)
{
    if (service->count == MOST_LAYERS)
        return;
    struct timed_layer *timed = &service->layers[service->count++];
    timed_layer_open(timed, &service->problem, &service->machine, &service->test_data, n_masks, top_k);
    check_timed_layer(timed);
}

/** Reads "open ..." into the problem; *masks is the beginning of the list of masks. */
static bool read_problem(struct service *service, char *line, char masks[LINE])
{
    struct problem *problem = &service->problem;
    char op[16], dtype[16], x_dtype[16];
    int64_t cold;
    if (sscanf(line, "open %15s %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %4000s %15s %15s", op,
               &problem->shape.d, &problem->shape.h, &problem->batch, &cold, masks, dtype, x_dtype) != 8 ||
        mglu_dtype_from_name(dtype, &problem->dtype) != MGLU_OK ||
        mglu_dtype_from_name(x_dtype, &problem->x_dtype) != MGLU_OK)
        return false;
    problem->regime = cold > 0 ? REGIME_COLD : REGIME_WARM;
    service->machine.cold_bytes = cold;
    for (int i = 0; i < OP_COUNT; i++) {
        problem->op = (enum op)i;
        if (strcmp(op, op_names[i]) == 0)
            return true;
    }
    return false;
}

static void open_cases(struct service *service, const struct options *options, char *line)
{
    char masks[LINE], cases[LINE] = "", *rest = masks;
    close_layers(service);
    if (!read_problem(service, line, masks)) {
        answer("error", "invalid request");
        return;
    }
    if (!test_data_draw(&service->test_data, &service->problem, &service->machine.compute)) {
        answer("error", "out of memory");
        return;
    }
    add_layer(service, 0, 0);
    for (char *word = strtok_r(masks, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        const int32_t n_masks = (int32_t)strtol(word, NULL, 10);
        add_layer(service, n_masks, 0);
        if (service->problem.op == OP_ROUTED)
            add_layer(service, n_masks, options->top_k);
    }
    for (int i = 0; i < service->count; i++) {
        char name[64];
        name_case(&service->layers[i], name, sizeof name);
        strncat(strncat(cases, i ? " " : "", sizeof cases - strlen(cases) - 1), name, sizeof cases - strlen(cases) - 1);
    }
    answer("cases", cases);
}

static void run_case(struct service *service, const char *wanted)
{
    for (int i = 0; i < service->count; i++) {
        struct timed_layer *timed = &service->layers[i];
        char name[64], text[32];
        name_case(timed, name, sizeof name);
        if (strcmp(name, wanted) != 0)
            continue;
        const double seconds = timed->failure[0] ? 0 : timed_layer_time(timed);
        snprintf(text, sizeof text, "%.3f", 1e6 * seconds);
        peer_let_threads_sleep();
        answer(timed->failure[0] ? "error" : "us", timed->failure[0] ? timed->failure : text);
        return;
    }
    answer("error", "no such case is open");
}

static void answer_all(struct service *service, const struct options *options)
{
    char line[LINE];
    answer("ready", service->machine.description);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "open ", 5) == 0)
            open_cases(service, options, line);
        else if (strncmp(line, "run ", 4) == 0)
            run_case(service, line + 4);
        else
            answer("error", "unknown request");
    }
}

bool serve(const struct options *options)
{
    /* Too large for a stack. */
    static struct service service;
    if (!machine_open(&service.machine, options)) {
        answer("error", mglu_last_error());
        return false;
    }
    answer_all(&service, options);
    close_layers(&service);
    test_data_free(&service.test_data);
    machine_close(&service.machine);
    return true;
}
