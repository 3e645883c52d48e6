/* SPDX-License-Identifier: MIT */
#include "require.h"

#include <stdio.h>
#include <unistd.h>

/* Without the handlers of exit(), which wait for locks that other threads or, in a forked child, the parent may hold.
 */
static void end(void)
{
    _exit(1);
}

void require_status_of(const char *what, mglu_status got, mglu_status expected)
{
    if (got == expected)
        return;
    fprintf(stderr, "%s: %s, expected %s (%s)\n", what, mglu_status_string(got), mglu_status_string(expected),
            mglu_last_error());
    end();
}

void require_failure_of(const char *what, mglu_status got)
{
    if (got != MGLU_OK && mglu_last_error()[0])
        return;
    fprintf(stderr, "%s: %s, expected a failure with a reason\n", what, mglu_status_string(got));
    end();
}

void require_true(const char *what, bool condition)
{
    if (condition)
        return;
    fprintf(stderr, "not true: %s\n", what);
    end();
}
