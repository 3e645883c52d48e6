/* SPDX-License-Identifier: MIT */
#include "timer.h"

/* For builds without CUDA: see cuda/events.c. */

struct events *events_open(struct compute *compute)
{
    return NULL;
}

void events_close(struct events *events)
{
}

void events_mark_begin(struct events *events)
{
}

void events_mark_end(struct events *events)
{
}

double events_seconds(struct events *events)
{
    return 0;
}
