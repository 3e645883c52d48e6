/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_TIMER_H
#define MGLU_BENCH_TIMER_H

/**
 * @file
 * Measures the time of calls on a queue: by events on the device where it has them, else by the monotonic clock, which
 * includes the wait.
 */

#include "tools/common/compute.h"

struct events;

struct timer {
    struct events *events; /**< NULL: the clock */
};

/** Selects a timer for a device. Where it has events, the device's queue is replaced by one on their stream. */
void timer_open(struct timer *timer, struct compute *compute);

/** After the queue was destroyed. */
void timer_close(struct timer *timer);

/** "events" or "clock", for reports. */
const char *timer_name(const struct timer *timer);

/** Before the first call. Pass the result to timer_seconds(). */
double timer_begin(const struct timer *timer);

/** After the last call, before the wait for the queue. */
void timer_end(const struct timer *timer);

/** After the wait; 0 when the events failed. */
double timer_seconds(const struct timer *timer, double begin);

/** The events of CUDA devices, in a build with CUDA; NULL for others. */
struct events *events_open(struct compute *compute);
void events_close(struct events *events);
void events_mark_begin(struct events *events);
void events_mark_end(struct events *events);
double events_seconds(struct events *events);

#endif
