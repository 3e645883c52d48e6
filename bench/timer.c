/* SPDX-License-Identifier: MIT */
#include "timer.h"

void timer_open(struct timer *timer, struct compute *compute)
{
    timer->events = events_open(compute);
}

void timer_close(struct timer *timer)
{
    if (timer->events)
        events_close(timer->events);
    timer->events = NULL;
}

const char *timer_name(const struct timer *timer)
{
    return timer->events ? "events" : "clock";
}

double timer_begin(const struct timer *timer)
{
    if (timer->events)
        events_mark_begin(timer->events);
    return compute_seconds();
}

void timer_end(const struct timer *timer)
{
    if (timer->events)
        events_mark_end(timer->events);
}

double timer_seconds(const struct timer *timer, double begin)
{
    return timer->events ? events_seconds(timer->events) : compute_seconds() - begin;
}
