/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_H
#define MGLU_CONFORMANCE_H

#include <mglu/mglu.h>

#include <stdbool.h>
#include <stdio.h>

/**
 * @file
 * The interfaces between the parts of the conformance suite. It uses the public headers only, so that backends of this
 * library and plug-ins are tested in the same way.
 *
 * A group is a list of cases and the function that runs one. A case is identified by its name, which contains all that
 * defines it; its data are made from the name and the seed, so that any case can be replayed alone.
 */

/** How much is run: each tier has the cases of those before it. */
enum tier { TIER_QUICK, TIER_FULL, TIER_EXHAUSTIVE };

/** What is tested, and the oracle that it is tested against, each in a context of its own. */
struct target {
    mglu_context *context;
    mglu_device *device;
    mglu_device_info info;
    mglu_context *reference_context;
    mglu_device *reference;
    const char *max_isa;       /**< cap of the context, or NULL */
    int pool_threads;          /**< of the thread pool that the context was given; 0: none */
    const char *plugin;        /**< path that the context has loaded, or NULL */
    const mglu_logger *logger; /**< of the context, for others that are made for the target; may be NULL */
    uint64_t seed;
};

enum verdict {
    VERDICT_PASS,
    VERDICT_FAIL,
    VERDICT_VACUOUS,    /**< passed but could not have failed: a defect of the suite, counted as a failure */
    VERDICT_UNSUPPORTED /**< mglu_supports() is false, and the layer was refused */
};

/** Steps of a histogram of rho: four for each factor of 2, the last ends at 1. */
enum { RHO_STEPS = 64 };

/** The result of a case. `text` has several lines that locate the error; it is empty for a pass. */
struct outcome {
    enum verdict verdict;
    double rho; /**< largest error as a fraction of the tolerance; negative: not measured */
    char text[4096];
    char rho_row[40];               /**< row of the report's table of rho; empty: none */
    mglu_accuracy accuracy;         /**< the accuracy class of the tolerance */
    uint32_t rho_counts[RHO_STEPS]; /**< elements by their rho */
    bool note;                      /**< a pass or a skip whose text is reported */
};

/** "A", "B" or "C". */
const char *accuracy_name(mglu_accuracy accuracy);

/** Sets a verdict other than pass, and its text; keeps the first when called again. */
void outcome_set(struct outcome *outcome, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Counts the error of one element, as a fraction of its tolerance. */
void outcome_add_rho(struct outcome *outcome, double rho);

/** Fails with the library's reason when a call did not return the expected status. Returns whether it did. */
bool outcome_expect(struct outcome *outcome, const char *call, mglu_status got, mglu_status expected);

/** One case. `data` is the group's own; the runner frees neither. */
struct test_case {
    char name[192];
    enum tier tier;
    const void *data;
};

/** Receives the cases of a group in a stable order. Copies the case. */
typedef void case_sink(void *user, const struct test_case *test);

/** A group of cases. Names begin with the group's name and a slash. */
struct group {
    const char *name;
    const char *summary;
    void (*list)(case_sink *sink, void *user);
    void (*run)(const struct target *target, const struct test_case *test, struct outcome *outcome);
};

/** All groups (cases/groups.c); ends with NULL. */
extern const struct group *const all_groups[];

#endif
