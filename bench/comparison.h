/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_COMPARISON_H
#define MGLU_BENCH_COMPARISON_H

/**
 * @file
 * Layers, their plain twin, peers and the machine's limits, all measured in each round. Ratios are of times of the same
 * round, since a disturbance of the machine affects both.
 */

#include "peer.h"
#include "samples.h"
#include "timed_layer.h"

enum { MOST_MEMBERS = 2 * LIST_MAX + 1 + 2 * PEER_CASES };

/** Something that is timed: a layer of this library, or a case of a peer. */
struct member {
    struct timed_layer timed;   /**< n_masks and top_k are set for peers too */
    struct peer *peer;          /**< NULL: a layer */
    struct peer_case peer_case; /**< name "" when the peer has none */
    double *seconds;            /**< per call, one for each round */
    char *failure;              /**< "" while it is measured */
};

struct comparison {
    struct problem problem;
    size_t number, total; /**< which of how many, for the progress line */
    const struct machine *machine;
    const struct unit *peak;
    struct member members[MOST_MEMBERS]; /**< the plain twin first */
    int member_count;
    double read_speed[MOST_ROUNDS], peak_speed[MOST_ROUNDS]; /**< per second, one for each round; NaN: not measured */
    double dispatch[MOST_ROUNDS];                            /**< seconds of a call without tokens; NaN: not measured */
    size_t rounds;
};

/** Figures of a member; NaN where there is none. */
struct figures {
    double median_us, min_us, p10_us, p90_us;
    double gbps, read_share;
    double ratio, ratio_p10, ratio_p90; /**< how many times as fast as the plain twin */
    double dense_ratio;                 /**< the same against the layer that sums over all masks */
    double gflops, peak_share;
};

/** Measures all members that the options list, for one problem. False when out of memory. */
bool comparison_run(struct comparison *comparison, const struct options *options, const struct machine *machine,
                    struct test_data *test_data, struct peer *peers);
void comparison_close(struct comparison *comparison);

struct figures comparison_figures(const struct comparison *comparison, const struct member *member);

/** Medians of the machine's limits in Gbyte/s and Gflop/s, NaN when not measured. */
double comparison_read_gbps(const struct comparison *comparison);
double comparison_peak_gflops(const struct comparison *comparison);
/** Median of the time of a call without tokens, in nanoseconds. */
double comparison_dispatch_ns(const struct comparison *comparison);

#endif
