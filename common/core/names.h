/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_NAMES_H
#define MGLU_CORE_NAMES_H

#include <stddef.h>

/* Index of `name` in a table of names, or -1. NULL entries are skipped. */
int mglu_name_index(const char *const *names, size_t count, const char *name);

/* Writes the names as "a, b, c" for an error text, truncated to the buffer. */
void mglu_name_list(const char *const *names, size_t count, char *text, size_t size);

#endif
