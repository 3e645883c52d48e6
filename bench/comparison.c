/* SPDX-License-Identifier: MIT */
#include "comparison.h"

#include "check.h"
#include "draw.h"
#include "samples.h"
#include "tools/common/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/** So that a median is meaningful with any time limit. */
enum { FEWEST_ROUNDS = 5 };

static struct member *add_member(struct comparison *comparison)
{
    struct member *member = &comparison->members[comparison->member_count];
    *member = (struct member){.failure = member->timed.failure};
    member->seconds = report_allocate(MOST_ROUNDS, sizeof *member->seconds);
    if (!member->seconds)
        return NULL;
    comparison->member_count++;
    return member;
}

static bool add_layer(struct comparison *comparison, const struct test_data *test_data, int32_t n_masks, int32_t top_k)
{
    struct member *member = add_member(comparison);
    if (!member)
        return false;
    timed_layer_open(&member->timed, &comparison->problem, comparison->machine, test_data, n_masks, top_k);
    check_timed_layer(&member->timed);
    return true;
}

static bool add_layers(struct comparison *comparison, const struct options *options, const struct test_data *test_data)
{
    const bool routed = comparison->problem.op == OP_ROUTED;
    bool done = add_layer(comparison, test_data, 0, 0);
    for (int i = 0; done && i < options->mask_count; i++)
        done = add_layer(comparison, test_data, options->masks[i], 0);
    for (int i = 0; done && routed && i < options->mask_count; i++)
        done = add_layer(comparison, test_data, options->masks[i], options->top_k);
    return done;
}

static bool add_peer(struct comparison *comparison, const struct options *options, struct peer *peer)
{
    struct peer_case cases[PEER_CASES] = {0};
    char failure[PEER_TEXT] = "";
    const int64_t cold = comparison->problem.regime == REGIME_COLD ? comparison->machine->cold_bytes : 0;
    const int count = peer_open(peer, &comparison->problem, options, cold, cases, failure);
    for (int i = 0; i < (count ? count : 1) && comparison->member_count < MOST_MEMBERS; i++) {
        struct member *member = add_member(comparison);
        if (!member)
            return false;
        member->peer = peer;
        member->peer_case = cases[i];
        member->timed.n_masks = cases[i].n_masks;
        snprintf(member->failure, sizeof member->timed.failure, "%s", failure);
    }
    return true;
}

static void measure_member(struct member *member, size_t round)
{
    if (member->failure[0])
        return;
    member->seconds[round] =
        member->peer ? peer_time(member->peer, &member->peer_case, member->failure) : timed_layer_time(&member->timed);
}

static void measure_machine(struct comparison *comparison, size_t round)
{
    const struct machine *machine = comparison->machine;
    const struct member *plain = &comparison->members[0];
    comparison->dispatch[round] = plain->failure[0] ? NAN : timed_layer_dispatch(&plain->timed);
    comparison->read_speed[round] = machine->stream ? machine_read_speed(machine) : NAN;
    comparison->peak_speed[round] =
        machine->stream && comparison->problem.batch > 1 ? machine_peak_speed(machine, comparison->peak) : NAN;
}

/** The copy of as many bytes as the plain twin reads, where a peer measures it; else NULL. */
static const struct member *find_copy(const struct comparison *comparison)
{
    for (int i = 0; i < comparison->member_count; i++) {
        const struct member *member = &comparison->members[i];
        if (member->peer && !member->failure[0] && !member->peer_case.n_masks &&
            strcmp(member->peer_case.variant, "copy") == 0)
            return member;
    }
    return NULL;
}

/** The read bandwidth of memory that the host can't read: that of a copy within it. */
static void set_bandwidth_of_copy(struct comparison *comparison, size_t round)
{
    const struct member *copy = comparison->machine->stream ? NULL : find_copy(comparison);
    if (copy && comparison->members[0].timed.bytes)
        comparison->read_speed[round] = (double)comparison->members[0].timed.bytes / copy->seconds[round];
}

/** Measures everything once, in a new random order. */
static void measure_round(struct comparison *comparison, struct random *random, size_t round)
{
    int order[MOST_MEMBERS + 1];
    const int count = comparison->member_count + 1;
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int i = 0; i < count; i++) {
        const int other = i + (int)random_below(random, count - i), selected = order[other];
        order[other] = order[i];
        if (selected < comparison->member_count)
            measure_member(&comparison->members[selected], round);
        else
            measure_machine(comparison, round);
    }
    set_bandwidth_of_copy(comparison, round);
}

static bool anything_left(const struct comparison *comparison)
{
    for (int i = 0; i < comparison->member_count; i++)
        if (!comparison->members[i].failure[0])
            return true;
    return false;
}

/** Rounds end by number or by time; progress is the larger fraction of the two. */
static void show_progress(const struct comparison *comparison, const struct options *options, double seconds)
{
    const double share =
        options->repeats ? (double)comparison->rounds / (double)options->repeats : seconds / options->seconds;
    const size_t percent = share < 1 ? (size_t)(100 * share) : 100;
    report_progress(op_names[comparison->problem.op], 100 * comparison->number + percent, 100 * comparison->total);
}

/**
 * On virtual machines, memory that a process has just received can be slower at first: on one, in a third of the runs,
 * calls took 1.4 times as long for one or two seconds, though all pages were huge and had been read before. Little
 * memory is not worth the time.
 */
static void let_memory_settle(const struct comparison *comparison)
{
    enum { SECONDS = 2, MUCH = 64 << 20 };
    const struct machine *machine = comparison->machine;
    if (comparison->problem.regime == REGIME_COLD && machine->stream && machine->cold_bytes >= MUCH)
        nanosleep(&(struct timespec){.tv_sec = SECONDS}, NULL);
}

static void measure_rounds(struct comparison *comparison, const struct options *options)
{
    struct random random = {.state = 5};
    let_memory_settle(comparison);
    /* The first round is discarded: the next one overwrites it. */
    if (anything_left(comparison))
        measure_round(comparison, &random, 0);
    const double begin = compute_seconds();
    const size_t wanted = options->repeats ? (size_t)options->repeats : MOST_ROUNDS;
    while (comparison->rounds < wanted && anything_left(comparison)) {
        const double seconds = compute_seconds() - begin;
        if (!options->repeats && seconds >= options->seconds && comparison->rounds >= FEWEST_ROUNDS)
            break;
        show_progress(comparison, options, seconds);
        measure_round(comparison, &random, comparison->rounds++);
    }
}

bool comparison_run(struct comparison *comparison, const struct options *options, const struct machine *machine,
                    struct test_data *test_data, struct peer *peers)
{
    comparison->machine = machine;
    comparison->member_count = 0;
    comparison->rounds = 0;
    comparison->peak = machine_peak(machine, &comparison->problem);
    bool done = test_data_draw(test_data, &comparison->problem, &machine->compute) &&
                add_layers(comparison, options, test_data);
    for (int i = 0; done && i < options->peer_count; i++)
        done = add_peer(comparison, options, &peers[i]);
    if (done)
        measure_rounds(comparison, options);
    return done;
}

void comparison_close(struct comparison *comparison)
{
    for (int i = 0; i < comparison->member_count; i++) {
        timed_layer_close(&comparison->members[i].timed);
        free(comparison->members[i].seconds);
    }
    comparison->member_count = 0;
}

/** Speed relative to another member, in each round. */
static void find_ratios(const struct comparison *comparison, const struct member *member, const struct member *other,
                        double ratios[MOST_ROUNDS])
{
    for (size_t i = 0; i < comparison->rounds; i++)
        ratios[i] = other->failure[0] ? NAN : other->seconds[i] / member->seconds[i];
}

static const struct member *dense_twin(const struct comparison *comparison, const struct member *member)
{
    for (int i = 0; i < comparison->member_count; i++) {
        const struct member *other = &comparison->members[i];
        if (!other->peer && !other->timed.top_k && other->timed.n_masks == member->timed.n_masks)
            return other;
    }
    return NULL;
}

/** The figures that only layers of this library have. */
static void add_layer_figures(const struct comparison *comparison, const struct member *member, struct figures *figures)
{
    const double bytes = (double)member->timed.bytes, flops = member->timed.flops;
    double samples[MOST_ROUNDS];
    figures->gbps = bytes / figures->median_us * 1e-3;
    figures->gflops = flops / figures->median_us * 1e-3;
    for (size_t i = 0; i < comparison->rounds; i++)
        samples[i] = bytes / member->seconds[i] / comparison->read_speed[i];
    figures->read_share = samples_median(samples, comparison->rounds);
    for (size_t i = 0; i < comparison->rounds; i++)
        samples[i] = flops / member->seconds[i] / comparison->peak_speed[i];
    figures->peak_share = samples_median(samples, comparison->rounds);
    if (member->timed.top_k) {
        find_ratios(comparison, member, dense_twin(comparison, member), samples);
        figures->dense_ratio = samples_median(samples, comparison->rounds);
    }
}

struct figures comparison_figures(const struct comparison *comparison, const struct member *member)
{
    const size_t rounds = comparison->rounds;
    double samples[MOST_ROUNDS];
    struct figures figures = {.gbps = NAN, .read_share = NAN, .dense_ratio = NAN, .gflops = NAN, .peak_share = NAN};
    figures.median_us = 1e6 * samples_median(member->seconds, rounds);
    figures.min_us = 1e6 * samples_quantile(member->seconds, rounds, 0);
    figures.p10_us = 1e6 * samples_quantile(member->seconds, rounds, 0.1);
    figures.p90_us = 1e6 * samples_quantile(member->seconds, rounds, 0.9);
    find_ratios(comparison, member, &comparison->members[0], samples);
    figures.ratio = samples_median(samples, rounds);
    figures.ratio_p10 = samples_quantile(samples, rounds, 0.1);
    figures.ratio_p90 = samples_quantile(samples, rounds, 0.9);
    if (!member->peer)
        add_layer_figures(comparison, member, &figures);
    return figures;
}

double comparison_read_gbps(const struct comparison *comparison)
{
    return 1e-9 * samples_median(comparison->read_speed, comparison->rounds);
}

double comparison_peak_gflops(const struct comparison *comparison)
{
    return 1e-9 * samples_median(comparison->peak_speed, comparison->rounds);
}

double comparison_dispatch_ns(const struct comparison *comparison)
{
    return 1e9 * samples_median(comparison->dispatch, comparison->rounds);
}
