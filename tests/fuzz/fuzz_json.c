/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "tests/unit/json/judge.h"

#include <stdlib.h>
#include <string.h>

/*
 * The input is a text that the reader of common/json and jansson read: both accept it, with the same values, or both
 * refuse it; and a refused text has a place and a reason.
 */

/* Longer numbers are refused as a double, and deeper texts altogether, by design. */
enum { MOST_BYTES = 1000 };

static int is_deep(const char *text, size_t size)
{
    size_t brackets = 0;

    for (size_t i = 0; i < size; i++)
        brackets += text[i] == '[' || text[i] == '{';
    return brackets > MGLU_JSON_MAX_DEPTH;
}

static void check_fault(const char *text, size_t size)
{
    struct mglu_json json;
    size_t line = 0, column = 0;

    mglu_json_begin(&json, text, size);
    while (mglu_json_next(&json) > MGLU_JSON_END)
        continue;
    mglu_json_place(&json, &line, &column);
    fuzz_require(json.token != MGLU_JSON_FAULT || (json.fault && json.fault[0]), "a fault without a reason");
    fuzz_require(mglu_json_offset(&json) <= size && line >= 1 && column >= 1, "a place outside of the text");
}

/* Skipping a value and reading it end at the same place. */
static void check_skip(const char *text, size_t size)
{
    struct mglu_json json;

    mglu_json_begin(&json, text, size);
    mglu_json_next(&json);
    fuzz_require(mglu_json_skip(&json) && mglu_json_next(&json) == MGLU_JSON_END, "a valid text cannot be skipped");
}

static int has_own_limit(json_t *wanted, const json_error_t *error)
{
    return !wanted && (json_error_code(error) == json_error_numeric_overflow ||
                       json_error_code(error) == json_error_duplicate_key);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes;
    json_error_t error = {0};
    struct mglu_json json;
    json_t *wanted;

    check_fault(text, size);
    if (memchr(text, '\0', size)) /* jansson 2.14 accepts such a byte behind a number */
        fuzz_require(!judge_is_read(text, size), "a text with a NUL is accepted");
    if (size == 0 || size > MOST_BYTES || is_deep(text, size) || memchr(text, '\0', size))
        return 0;
    wanted = json_loadb(text, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    if (!has_own_limit(wanted, &error)) {
        fuzz_require(judge_is_read(text, size) == (wanted != NULL), "one accepts the text, the other does not");
        mglu_json_begin(&json, text, size);
        mglu_json_next(&json);
        fuzz_require(!wanted || judge_same_value(&json, wanted), "another value");
    }
    if (wanted)
        check_skip(text, size);
    json_decref(wanted);
    return 0;
}
