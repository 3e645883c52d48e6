/* SPDX-License-Identifier: MIT */
#ifndef MGLU_JSON_TEXT_H
#define MGLU_JSON_TEXT_H

#include <stddef.h>

/* The characters of strings and numbers, for the reader. */

/* Most bytes of one character in UTF-8. */
enum { MGLU_JSON_CHARACTER = 4 };

/*
 * Decodes the character or escape at `text`, which is not at its end: returns the number of bytes in `decoded`, and in
 * `used` those of the text. For a fault `used` is 0.
 */
size_t mglu_json_character(const char *text, size_t size, char decoded[MGLU_JSON_CHARACTER], size_t *used,
                           const char **fault);

/* Length of the number at `text`; 0 when there is none. */
size_t mglu_json_number_length(const char *text, size_t size);

#endif
