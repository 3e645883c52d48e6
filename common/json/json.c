/* SPDX-License-Identifier: MIT */
#include "common/json/json.h"

#include "common/json/text.h"

#include <string.h>

/* What may come next. */
enum expected {
    VALUE,          /* after a key or a comma in an array, or at the beginning */
    FIRST,          /* a value or key, or the end of the empty object or array */
    COMMA_OR_CLOSE, /* after a value */
};

static enum mglu_json_token fail(struct mglu_json *json, const char *fault)
{
    json->fault = fault;
    json->first = json->at;
    json->length = 0;
    return MGLU_JSON_FAULT;
}

static void skip_space(struct mglu_json *json)
{
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\t' || *json->at == '\r' || *json->at == '\n'))
        json->at++;
}

/* Skips `wanted` if it is next. */
static int take(struct mglu_json *json, char wanted)
{
    if (json->at == json->end || *json->at != wanted)
        return 0;
    json->at++;
    return 1;
}

static int in_object(const struct mglu_json *json)
{
    int level = json->depth - 1;

    return level >= 0 && json->objects[level / 8] >> level % 8 & 1;
}

static enum mglu_json_token open_level(struct mglu_json *json, enum mglu_json_token token)
{
    unsigned char bit = (unsigned char)(1 << json->depth % 8), *bits = &json->objects[json->depth / 8];

    if (json->depth == MGLU_JSON_MAX_DEPTH)
        return fail(json, "nested too deep");
    *bits = (unsigned char)(token == MGLU_JSON_OBJECT ? *bits | bit : *bits & ~bit);
    json->depth++;
    json->at++;
    json->expected = FIRST;
    return token;
}

static enum mglu_json_token close_level(struct mglu_json *json)
{
    enum mglu_json_token token = in_object(json) ? MGLU_JSON_OBJECT_END : MGLU_JSON_ARRAY_END;

    json->depth--;
    json->expected = COMMA_OR_CLOSE;
    return token;
}

/* Reads a string up to its closing quote; returns 0 for a fault. */
static int read_string(struct mglu_json *json)
{
    const char *first = ++json->at;

    while (json->at < json->end && *json->at != '"') {
        char decoded[MGLU_JSON_CHARACTER];
        size_t used;

        mglu_json_character(json->at, (size_t)(json->end - json->at), decoded, &used, &json->fault);
        if (used == 0) {
            fail(json, json->fault);
            return 0;
        }
        json->at += used;
    }
    if (json->at == json->end) {
        json->at = first - 1;
        fail(json, "string has no end");
        return 0;
    }
    json->first = first;
    json->length = (size_t)(json->at++ - first);
    return 1;
}

static enum mglu_json_token read_key(struct mglu_json *json)
{
    if (json->at == json->end || *json->at != '"')
        return fail(json, "expected a string");
    if (!read_string(json))
        return MGLU_JSON_FAULT;
    skip_space(json);
    if (!take(json, ':'))
        return fail(json, "expected ':'");
    json->expected = VALUE;
    return MGLU_JSON_KEY;
}

static enum mglu_json_token read_number(struct mglu_json *json)
{
    size_t length = mglu_json_number_length(json->at, (size_t)(json->end - json->at));

    if (length == 0)
        return fail(json, "expected a number");
    json->length = length;
    json->at += length;
    return MGLU_JSON_NUMBER;
}

static enum mglu_json_token read_word(struct mglu_json *json, const char *word, enum mglu_json_token token)
{
    size_t length = strlen(word);

    if ((size_t)(json->end - json->at) < length || memcmp(json->at, word, length) != 0)
        return fail(json, "expected a value");
    json->length = length;
    json->at += length;
    return token;
}

/* The word for a number that is not finite, where `at` begins with one. */
static const char *nonfinite_word(const struct mglu_json *json)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};

    for (size_t i = 0; json->nonfinite && i < sizeof words / sizeof words[0]; i++)
        if (words[i][0] == *json->at && (*json->at != '-' || (json->end - json->at > 1 && json->at[1] == 'I')))
            return words[i];
    return NULL;
}

static enum mglu_json_token read_scalar(struct mglu_json *json)
{
    const char *word = nonfinite_word(json);

    json->expected = COMMA_OR_CLOSE;
    if (word)
        return read_word(json, word, MGLU_JSON_NONFINITE);
    switch (*json->at) {
    case '"':
        return read_string(json) ? MGLU_JSON_STRING : MGLU_JSON_FAULT;
    case 't':
        return read_word(json, "true", MGLU_JSON_TRUE);
    case 'f':
        return read_word(json, "false", MGLU_JSON_FALSE);
    case 'n':
        return read_word(json, "null", MGLU_JSON_NULL);
    default:
        if (*json->at == '-' || (*json->at >= '0' && *json->at <= '9'))
            return read_number(json);
        return fail(json, "expected a value");
    }
}

static enum mglu_json_token read_value(struct mglu_json *json)
{
    json->first = json->at;
    json->length = 1;
    if (json->at == json->end)
        return fail(json, "expected a value");
    if (*json->at == '{')
        return open_level(json, MGLU_JSON_OBJECT);
    if (*json->at == '[')
        return open_level(json, MGLU_JSON_ARRAY);
    return read_scalar(json);
}

/* After a value: the end of what it is in, or a comma and what comes next. */
static enum mglu_json_token read_on(struct mglu_json *json)
{
    int object = in_object(json);

    if (json->depth == 0)
        return json->at == json->end ? MGLU_JSON_END : fail(json, "text after the end");
    if (take(json, object ? '}' : ']'))
        return close_level(json);
    if (!take(json, ','))
        return fail(json, object ? "expected ',' or '}'" : "expected ',' or ']'");
    skip_space(json);
    return object ? read_key(json) : read_value(json);
}

static enum mglu_json_token read_token(struct mglu_json *json)
{
    int object = in_object(json);

    json->first = json->at;
    json->length = 1;
    if (json->expected == COMMA_OR_CLOSE)
        return read_on(json);
    if (json->expected == VALUE)
        return read_value(json);
    if (take(json, object ? '}' : ']'))
        return close_level(json);
    return object ? read_key(json) : read_value(json);
}

void mglu_json_begin(struct mglu_json *json, const char *text, size_t size)
{
    *json = (struct mglu_json){.text = text, .first = text, .at = text, .end = text + size, .expected = VALUE};
}

enum mglu_json_token mglu_json_next(struct mglu_json *json)
{
    if (json->fault)
        return MGLU_JSON_FAULT;
    skip_space(json);
    return json->token = read_token(json);
}

int mglu_json_skip(struct mglu_json *json)
{
    int depth = json->depth;

    if (json->token == MGLU_JSON_OBJECT || json->token == MGLU_JSON_ARRAY)
        while (json->depth >= depth && mglu_json_next(json) != MGLU_JSON_FAULT)
            continue;
    return json->token != MGLU_JSON_FAULT;
}

int mglu_json_depth(const struct mglu_json *json)
{
    return json->depth;
}

size_t mglu_json_offset(const struct mglu_json *json)
{
    return (size_t)(json->first - json->text);
}

void mglu_json_place(const struct mglu_json *json, size_t *line, size_t *column)
{
    const char *begin = json->text;

    *line = 1;
    for (const char *c = json->text; c < json->first; c++)
        if (*c == '\n') {
            begin = c + 1;
            ++*line;
        }
    *column = (size_t)(json->first - begin) + 1;
}
