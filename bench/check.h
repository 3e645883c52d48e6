/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_CHECK_H
#define MGLU_BENCH_CHECK_H

#include "subject.h"

/**
 * Whether y, as the subject's last call left it, is finite, and right in the last token's last outputs. On failure
 * writes what is wrong.
 */
bool check_subject(const struct subject *subject, char *failure, size_t size);

#endif
