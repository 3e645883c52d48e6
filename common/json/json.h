/* SPDX-License-Identifier: MIT */
#ifndef MGLU_JSON_H
#define MGLU_JSON_H

#include <stddef.h>
#include <stdint.h>

/*
 * Reads JSON (RFC 8259) token by token from a text in memory. It allocates nothing, so it fails for no other reason
 * than the text. Strict: UTF-8 only, no byte order mark, no comments, no NaN unless permitted. U+0000 in a string is
 * refused, since strings end with it here. Duplicate keys are the caller's matter.
 */

enum { MGLU_JSON_MAX_DEPTH = 128 };

enum mglu_json_token {
    MGLU_JSON_FAULT, /* `fault` says why; every further token is this one */
    MGLU_JSON_END,   /* of the text */
    MGLU_JSON_OBJECT,
    MGLU_JSON_OBJECT_END,
    MGLU_JSON_ARRAY,
    MGLU_JSON_ARRAY_END,
    MGLU_JSON_KEY,
    MGLU_JSON_STRING,
    MGLU_JSON_NUMBER,
    MGLU_JSON_TRUE,
    MGLU_JSON_FALSE,
    MGLU_JSON_NULL,
    MGLU_JSON_NONFINITE /* NaN, Infinity or -Infinity; only where `nonfinite` permits it */
};

/* A copy of it reads on from the same place. */
struct mglu_json {
    enum mglu_json_token token; /* the last one read */
    const char *first;          /* its text; of keys and strings what is between the quotes, with its escapes */
    size_t length;
    const char *fault; /* NULL: none */
    int nonfinite;     /* set it after mglu_json_begin() to read what Python writes for such numbers */

    /* private */
    const char *text, *at, *end;
    int expected, depth;
    unsigned char objects[MGLU_JSON_MAX_DEPTH / 8]; /* a bit per level: 1 for an object, 0 for an array */
};

void mglu_json_begin(struct mglu_json *json, const char *text, size_t size);

/* Reads the next token. After a key comes its value; commas and colons are no tokens. */
enum mglu_json_token mglu_json_next(struct mglu_json *json);

/* Reads to the end of the value that the last token begins. Returns 0 for a fault. */
int mglu_json_skip(struct mglu_json *json);

/* Number of objects and arrays around the next token. */
int mglu_json_depth(const struct mglu_json *json);

/* Where the last token, or the fault, is: a byte of the text from 0; line and column of it from 1. */
size_t mglu_json_offset(const struct mglu_json *json);
void mglu_json_place(const struct mglu_json *json, size_t *line, size_t *column);

/*
 * Decodes a key or string into `buffer` and appends a NUL; returns its length, which is at most json->length. The
 * buffer may begin at json->first itself, in a text that is not read again.
 */
size_t mglu_json_decode(const struct mglu_json *json, char *buffer);

/* Whether a key or string is `text`. */
int mglu_json_equals(const struct mglu_json *json, const char *text);

/* Whether a number has neither fraction nor exponent. */
int mglu_json_is_integer(const struct mglu_json *json);

/* The value of such a number that is not negative. Returns 0 when it has a sign or does not fit. */
int mglu_json_uint64(const struct mglu_json *json, uint64_t *value);

/*
 * The double nearest to a number, in any locale. Returns 0 when it is too large for one, or has more than 1000
 * characters.
 */
int mglu_json_double(const struct mglu_json *json, double *value);

/* Bytes of the valid UTF-8 character at `text`; 0 when there is none. */
size_t mglu_utf8_length(const char *text, size_t size);

/* Whether all characters of a text are valid. */
int mglu_utf8_is_valid(const char *text, size_t size);

#endif
