/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_JSON_JUDGE_H
#define MGLU_TESTS_JSON_JUDGE_H

#include "common/json/json.h"

#include <jansson.h>

/* Compares the reader with jansson. */

/** Whether the reader accepts a text. */
int judge_is_read(const char *text, size_t length);

/** Whether the value that the last token begins is `wanted`; reads to its end. */
int judge_same_value(struct mglu_json *json, json_t *wanted);

#endif
