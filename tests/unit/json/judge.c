/* SPDX-License-Identifier: MIT */
#include "tests/unit/json/judge.h"

#include <stdlib.h>
#include <string.h>

static int same_text(const struct mglu_json *json, const char *wanted)
{
    char *buffer = malloc(json->length + 1);
    const int is_same = buffer && mglu_json_decode(json, buffer) == strlen(wanted) && strcmp(buffer, wanted) == 0 &&
                        mglu_json_equals(json, wanted);

    free(buffer);
    return is_same;
}

static int same_object(struct mglu_json *json, json_t *wanted)
{
    const char *key;
    json_t *value;

    json_object_foreach(wanted, key, value)
    {
        if (mglu_json_next(json) != MGLU_JSON_KEY || !same_text(json, key))
            return 0;
        mglu_json_next(json);
        if (!judge_same_value(json, value))
            return 0;
    }
    return mglu_json_next(json) == MGLU_JSON_OBJECT_END;
}

static int same_array(struct mglu_json *json, json_t *wanted)
{
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        mglu_json_next(json);
        if (!judge_same_value(json, json_array_get(wanted, i)))
            return 0;
    }
    return mglu_json_next(json) == MGLU_JSON_ARRAY_END;
}

static int same_number(const struct mglu_json *json, json_t *wanted)
{
    double real;
    uint64_t integer;

    if (mglu_json_is_integer(json) != json_is_integer(wanted) || !mglu_json_double(json, &real) ||
        real != json_number_value(wanted))
        return 0;
    if (json_is_real(wanted) || json->first[0] == '-')
        return 1;
    return mglu_json_uint64(json, &integer) && integer == (uint64_t)json_integer_value(wanted);
}

int judge_same_value(struct mglu_json *json, json_t *wanted)
{
    switch (json_typeof(wanted)) {
    case JSON_OBJECT:
        return json->token == MGLU_JSON_OBJECT && same_object(json, wanted);
    case JSON_ARRAY:
        return json->token == MGLU_JSON_ARRAY && same_array(json, wanted);
    case JSON_STRING:
        return json->token == MGLU_JSON_STRING && same_text(json, json_string_value(wanted));
    case JSON_TRUE:
        return json->token == MGLU_JSON_TRUE;
    case JSON_FALSE:
        return json->token == MGLU_JSON_FALSE;
    case JSON_NULL:
        return json->token == MGLU_JSON_NULL;
    default:
        return json->token == MGLU_JSON_NUMBER && same_number(json, wanted);
    }
}

int judge_is_read(const char *text, size_t length)
{
    struct mglu_json json;

    mglu_json_begin(&json, text, length);
    while (mglu_json_next(&json) > MGLU_JSON_END)
        continue;
    return json.token == MGLU_JSON_END;
}
