/* SPDX-License-Identifier: MIT */
#include "common/json/json.h"
#include "common/json/text.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t mglu_json_decode(const struct mglu_json *json, char *buffer)
{
    const char *end = json->first + json->length, *fault;
    char *to = buffer;

    for (const char *at = json->first; at < end;) {
        char decoded[MGLU_JSON_CHARACTER];
        size_t used, count = mglu_json_character(at, (size_t)(end - at), decoded, &used, &fault);

        memcpy(to, decoded, count);
        to += count;
        at += used;
    }
    *to = '\0';
    return (size_t)(to - buffer);
}

int mglu_json_equals(const struct mglu_json *json, const char *text)
{
    const char *end = json->first + json->length, *fault;

    for (const char *at = json->first; at < end;) {
        char decoded[MGLU_JSON_CHARACTER];
        size_t used, count = mglu_json_character(at, (size_t)(end - at), decoded, &used, &fault);

        if (strncmp(text, decoded, count) != 0)
            return 0;
        text += count;
        at += used;
    }
    return *text == '\0';
}

int mglu_json_is_integer(const struct mglu_json *json)
{
    size_t sign = json->length > 0 && json->first[0] == '-';

    for (size_t i = sign; i < json->length; i++)
        if (json->first[i] < '0' || json->first[i] > '9')
            return 0;
    return json->token == MGLU_JSON_NUMBER;
}

int mglu_json_uint64(const struct mglu_json *json, uint64_t *value)
{
    uint64_t sum = 0;

    if (!mglu_json_is_integer(json) || json->first[0] == '-')
        return 0;
    for (size_t i = 0; i < json->length; i++)
        if (__builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(json->first[i] - '0'), &sum))
            return 0;
    *value = sum;
    return 1;
}

/* In the locale "C", which the C library holds ready: asking for it allocates nothing. */
int mglu_json_double(const struct mglu_json *json, double *value)
{
    char digits[1001];
    locale_t plain;

    if (json->token != MGLU_JSON_NUMBER || json->length >= sizeof digits)
        return 0;
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain)
        return 0;
    memcpy(digits, json->first, json->length);
    digits[json->length] = '\0';
    *value = strtod_l(digits, NULL, plain);
    freelocale(plain);
    return isfinite(*value);
}
