/* SPDX-License-Identifier: MIT */
#include "common/json/text.h"

#include "common/json/json.h"

#include <string.h>

/* \uXXXX */
enum { UNICODE_ESCAPE = 6 };

size_t mglu_utf8_length(const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned lead = size ? bytes[0] : 0xff;
    size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    /* No overlong form, no surrogate, nothing above U+10FFFF. */
    unsigned low = lead == 0xe0   ? 0xa0
                   : lead == 0xf0 ? 0x90
                                  : 0x80,
             high = lead == 0xed   ? 0x9f
                    : lead == 0xf4 ? 0x8f
                                   : 0xbf;

    if (length > size)
        return 0;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf)
        if (bytes[i] < low || bytes[i] > high)
            return 0;
    return length;
}

int mglu_utf8_is_valid(const char *text, size_t size)
{
    while (size > 0) {
        size_t length = mglu_utf8_length(text, size);

        if (length == 0)
            return 0;
        text += length;
        size -= length;
    }
    return 1;
}

static size_t encode_utf8(unsigned code, char bytes[MGLU_JSON_CHARACTER])
{
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = length; i-- > 1; code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)(leads[length] | code);
    return length;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The number of a \uXXXX; -1 when there is none at `text`. */
static long unicode_escape(const char *text, size_t size)
{
    long code = 0;

    if (size < UNICODE_ESCAPE || text[0] != '\\' || text[1] != 'u')
        return -1;
    for (size_t i = 2; i < UNICODE_ESCAPE; i++) {
        int digit = hex_digit(text[i]);

        if (digit < 0)
            return -1;
        code = code << 4 | digit;
    }
    return code;
}

static size_t unicode_character(const char *text, size_t size, char decoded[MGLU_JSON_CHARACTER], size_t *used,
                                const char **fault)
{
    long code = unicode_escape(text, size), second;

    *fault = code < 0 ? "\\u needs four hexadecimal digits" : code == 0 ? "\\u0000 is not allowed" : NULL;
    if (*fault)
        return 0;
    *used = UNICODE_ESCAPE;
    if (code >= 0xd800 && code <= 0xdfff) {
        second = unicode_escape(text + UNICODE_ESCAPE, size - UNICODE_ESCAPE);
        *used = code < 0xdc00 && second >= 0xdc00 && second <= 0xdfff ? (size_t)2 * UNICODE_ESCAPE : 0;
        *fault = *used ? NULL : "half of a surrogate pair is no Unicode character";
        code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
    }
    return *used ? encode_utf8((unsigned)code, decoded) : 0;
}

size_t mglu_json_character(const char *text, size_t size, char decoded[MGLU_JSON_CHARACTER], size_t *used,
                           const char **fault)
{
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *escape;

    *used = 0;
    if (*text != '\\') {
        *fault = (unsigned char)*text < 0x20 ? "control character in a string" : "not UTF-8";
        *used = (unsigned char)*text < 0x20 ? 0 : mglu_utf8_length(text, size);
        return *used ? (memcpy(decoded, text, *used), *fault = NULL, *used) : 0;
    }
    if (size > 1 && text[1] == 'u')
        return unicode_character(text, size, decoded, used, fault);
    escape = size > 1 && text[1] ? strchr(escapes, text[1]) : NULL;
    *fault = escape ? NULL : size > 1 ? "unknown escape" : "string has no end";
    if (!escape)
        return 0;
    *used = 2;
    decoded[0] = meanings[escape - escapes];
    return 1;
}

static size_t digits(const char *text, size_t size)
{
    size_t count = 0;

    while (count < size && text[count] >= '0' && text[count] <= '9')
        count++;
    return count;
}

/* Adds `prefix` bytes and the digits behind them to the length; returns 0 when there are no digits. */
static int take_digits(const char *text, size_t size, size_t prefix, size_t *length)
{
    size_t count = digits(text + *length + prefix, size - *length - prefix);

    *length += prefix + count;
    return count > 0;
}

size_t mglu_json_number_length(const char *text, size_t size)
{
    size_t sign = size && text[0] == '-', length = 0;

    if (!take_digits(text, size, sign, &length) || (text[sign] == '0' && length > sign + 1))
        return 0;
    if (length < size && text[length] == '.' && !take_digits(text, size, 1, &length))
        return 0;
    if (length < size && (text[length] == 'e' || text[length] == 'E')) {
        size_t signs = length + 1 < size && (text[length + 1] == '+' || text[length + 1] == '-');

        if (!take_digits(text, size, 1 + signs, &length))
            return 0;
    }
    return length;
}
