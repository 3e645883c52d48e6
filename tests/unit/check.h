/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CHECK_H
#define MGLU_TEST_CHECK_H

/* cmocka requires these four before its own header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <mglu/status.h>

#include <string.h>

/* Asserts a status and shows the library's reason where it differs. */
#define assert_status(call, expected)                                                                                  \
    do {                                                                                                               \
        mglu_status got_ = (call);                                                                                     \
        if (got_ != (expected))                                                                                        \
            fail_msg("%s: %s, expected %s (%s)", #call, mglu_status_string(got_), mglu_status_string(expected),        \
                     mglu_last_error());                                                                               \
    } while (0)

#define assert_ok(call) assert_status(call, MGLU_OK)

/* Asserts that the last error's text contains a word. */
#define assert_error_says(word)                                                                                        \
    do {                                                                                                               \
        if (!strstr(mglu_last_error(), (word)))                                                                        \
            fail_msg("the error does not say '%s': %s", (word), mglu_last_error());                                    \
    } while (0)

#endif
