/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_TOLD_H
#define MGLU_TEST_TOLD_H

#include <mglu/status.h>

/* What mglu_queue_notify() has told. */
struct told {
    int calls;
    mglu_status status;
};

/* Its callback; `user` is a struct told. */
static inline void tell(void *user, mglu_status status)
{
    struct told *told = user;

    told->calls++;
    told->status = status;
}

#endif
