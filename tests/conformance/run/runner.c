/* SPDX-License-Identifier: MIT */
#include "run/runner.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The message of a fatal signal, prepared beforehand: a signal handler can do little more than write it. */
static char last_words[1024], last_counts[128];
static const struct layer_log *last_layers;

static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(EXIT_FAILURE + 1);
}

static void die_with_words(int number)
{
    say(last_words);
    for (int i = 0; i < last_layers->count; i++) {
        say("  computed by ");
        say(last_layers->lines[i]);
        say("\n");
    }
    say(last_counts);
    _exit(EXIT_FAILURE);
}

static void catch_fatal_signals(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction action = {.sa_handler = die_with_words};

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

void print_replay(FILE *stream, const struct target *target, const char *name)
{
    fprintf(stream, "mglu-conformance %s '%s' ", target->plugin ? "--plugin" : "--backend",
            target->plugin ? target->plugin : target->info.backend);
    if (target->max_isa)
        fprintf(stream, "--max-isa %s ", target->max_isa);
    if (target->pool_threads)
        fprintf(stream, "--pool %d ", target->pool_threads);
    fprintf(stream, "--seed %" PRIu64 " --filter '%s'", target->seed, name);
}

static void prepare_last_words(const struct device_report *report, const char *name)
{
    FILE *stream = fmemopen(last_words, sizeof last_words - 1, "w");

    if (!stream)
        return;
    fprintf(stream,
            "FAIL %s\n  the device ended the program: an access outside its buffers, an illegal instruction or an "
            "abort\n  replay: ",
            name);
    print_replay(stream, &report->target, name);
    fputc('\n', stream);
    fclose(stream);
    snprintf(last_counts, sizeof last_counts, "%zu passed, %zu failed, %zu skipped\n", report->counts[VERDICT_PASS],
             report->counts[VERDICT_FAIL] + report->counts[VERDICT_VACUOUS] + 1, report->counts[VERDICT_UNSUPPORTED]);
}

/* Collects the cases of one group. */
struct collector {
    struct case_list *list;
    const struct group *group;
};

static void collect(void *user, const struct test_case *test)
{
    struct collector *collector = user;
    struct case_list *list = collector->list;

    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 4096;
        list->cases = realloc(list->cases, list->room * sizeof *list->cases);
        if (!list->cases)
            exit(EXIT_FAILURE);
    }
    list->cases[list->count++] = (struct selected_case){*test, collector->group};
}

static bool matches(const char *name, const char *filter)
{
    return !filter || strstr(name, filter) || fnmatch(filter, name, 0) == 0;
}

struct case_list list_cases(const struct options *options)
{
    struct case_list list = {0};
    size_t matched = 0, kept = 0;

    for (size_t i = 0; all_groups[i]; i++)
        all_groups[i]->list(collect, &(struct collector){&list, all_groups[i]});
    for (size_t i = 0; i < list.count && options->filter; i++)
        if (strcmp(list.cases[i].test.name, options->filter) == 0) {
            list.cases[0] = list.cases[i];
            list.count = 1;
            return list;
        }
    for (size_t i = 0; i < list.count; i++)
        if (list.cases[i].test.tier <= options->tier && matches(list.cases[i].test.name, options->filter) &&
            matched++ % options->every == 0)
            list.cases[kept++] = list.cases[i];
    list.count = kept;
    return list;
}

static int compare_with_row(const struct outcome *outcome, const struct rho_row *row)
{
    const int order = strcmp(outcome->rho_row, row->name);

    return order ? order : (int)outcome->accuracy - (int)row->accuracy;
}

/* The row of an outcome, made in the order of names and classes; NULL when the table is full. */
static struct rho_row *rho_row_of(struct device_report *report, const struct outcome *outcome)
{
    struct rho_row *row = report->rho, *end = report->rho + report->rho_count;

    while (row < end && compare_with_row(outcome, row) > 0)
        row++;
    if (row < end && compare_with_row(outcome, row) == 0)
        return row;
    if (report->rho_count == MAX_RHO_ROWS)
        return NULL;
    memmove(row + 1, row, (size_t)(end - row) * sizeof *row);
    report->rho_count++;
    *row = (struct rho_row){.accuracy = outcome->accuracy};
    snprintf(row->name, sizeof row->name, "%s", outcome->rho_row);
    return row;
}

static void add_rho(struct device_report *report, const struct outcome *outcome)
{
    struct rho_row *row = outcome->rho_row[0] ? rho_row_of(report, outcome) : NULL;

    if (!row)
        return;
    row->largest = fmax(row->largest, outcome->rho);
    for (int i = 0; i < RHO_STEPS; i++)
        row->counts[i] += outcome->rho_counts[i];
}

double rho_percentile_99(const struct rho_row *row)
{
    uint64_t total = 0, above = 0;
    int step = RHO_STEPS - 1;

    for (int i = 0; i < RHO_STEPS; i++)
        total += row->counts[i];
    while (step > 0 && (above + row->counts[step]) * 100 <= total)
        above += row->counts[step--];
    return fmin(row->largest, exp2((step + 1 - RHO_STEPS) / 4.0));
}

void report_add(struct device_report *report, const char *name, const struct outcome *outcome)
{
    if (report->result_count == report->room) {
        report->room = report->room ? 2 * report->room : 1024;
        report->results = realloc(report->results, report->room * sizeof *report->results);
        if (!report->results)
            exit(EXIT_FAILURE);
    }
    report->results[report->result_count++] =
        (struct result){strdup(name), outcome->verdict, outcome->rho, outcome->text[0] ? strdup(outcome->text) : NULL};
    report->counts[outcome->verdict]++;
    add_rho(report, outcome);
}

void report_free(struct device_report *report)
{
    for (size_t i = 0; i < report->result_count; i++) {
        free(report->results[i].name);
        free(report->results[i].text);
    }
    free(report->results);
    mglu_context_destroy(&report->target.context);
    mglu_context_destroy(&report->target.reference_context);
    layer_log_close(&report->layers);
}

void count_results(const struct device_report *reports, size_t count, size_t totals[3])
{
    totals[0] = totals[1] = totals[2] = 0;
    for (size_t i = 0; i < count; i++) {
        totals[0] += reports[i].counts[VERDICT_PASS];
        totals[1] += reports[i].counts[VERDICT_FAIL] + reports[i].counts[VERDICT_VACUOUS];
        totals[2] += reports[i].counts[VERDICT_UNSUPPORTED];
    }
}

static void show_progress(size_t done, const struct case_list *cases)
{
    if (isatty(STDERR_FILENO) && (done % 16 == 0 || done == cases->count))
        fprintf(stderr, "\r%zu of %zu%s", done, cases->count, done == cases->count ? "\r\033[K" : "");
}

static bool is_fault(const struct outcome *outcome)
{
    return outcome->verdict == VERDICT_FAIL || outcome->verdict == VERDICT_VACUOUS;
}

/* What the device computed the case with, in its own words. */
static void add_layers(const struct layer_log *layers, struct outcome *outcome)
{
    size_t used = strlen(outcome->text);
    bool on_line = used && outcome->text[used - 1] != '\n';

    for (int i = 0; i < layers->count && used < sizeof outcome->text; i++) {
        used += (size_t)snprintf(outcome->text + used, sizeof outcome->text - used, "%s%scomputed by %s",
                                 on_line ? "\n" : "", used ? "  " : "", layers->lines[i]);
        on_line = true;
    }
}

static void print_fault(const struct target *target, const char *name, const struct outcome *outcome)
{
    size_t length = strlen(outcome->text);

    printf("%s %s\n  %s%s", outcome->verdict == VERDICT_FAIL ? "FAIL" : "VACUOUS", name, outcome->text,
           length && outcome->text[length - 1] == '\n' ? "" : "\n");
    printf("  replay: ");
    print_replay(stdout, target, name);
    printf("\n");
}

void run_cases(const struct case_list *cases, const struct options *options, struct device_report *report)
{
    last_layers = &report->layers;
    catch_fatal_signals();
    for (size_t i = 0; i < cases->count; i++) {
        const struct selected_case *next = &cases->cases[i];
        struct outcome outcome = {.rho = -1};

        layer_log_clear(&report->layers);
        prepare_last_words(report, next->test.name);
        next->group->run(&report->target, &next->test, &outcome);
        if (is_fault(&outcome))
            add_layers(&report->layers, &outcome);
        report_add(report, next->test.name, &outcome);
        if (is_fault(&outcome)) {
            print_fault(&report->target, next->test.name, &outcome);
            if (options->fail_fast)
                break;
        } else if (outcome.note) {
            printf("note %s\n  %s\n", next->test.name, outcome.text);
        }
        fflush(stdout);
        show_progress(i + 1, cases);
    }
}
