/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_REQUIRE_H
#define MGLU_TEST_REQUIRE_H

#include <mglu/mglu.h>

#include <stdbool.h>

/**
 * @file
 * Checks for programs whose threads compute at the same time, where a test framework's long jumps are not possible:
 * what is not as expected is printed and ends the program with status 1.
 */

#define require_status(call, expected) require_status_of(#call, (call), (expected))
#define require_ok(call)               require_status_of(#call, (call), MGLU_OK)
/** Any failure, with a reason: where the status is not the point. */
#define require_failure(call) require_failure_of(#call, (call))
#define require(condition)    require_true(#condition, (condition))

void require_status_of(const char *what, mglu_status got, mglu_status expected);
void require_failure_of(const char *what, mglu_status got);
void require_true(const char *what, bool condition);

#endif
