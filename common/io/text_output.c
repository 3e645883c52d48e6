/* SPDX-License-Identifier: MIT */
#include "common/io/text_output.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void mglu_io_text_flush(struct mglu_io_text *text)
{
    if (text->output && text->status == MGLU_OK)
        text->status = mglu_io_output_write(text->output, text->buffer, text->used);
    text->used = 0;
}

static void put(struct mglu_io_text *text, const char *bytes, size_t count)
{
    if (count > sizeof text->buffer - text->used)
        mglu_io_text_flush(text);
    memcpy(text->buffer + text->used, bytes, count);
    text->used += count;
    text->length += count;
}

void mglu_io_text_put(struct mglu_io_text *text, const char *format, ...)
{
    char bytes[120];
    va_list arguments;

    va_start(arguments, format);
    put(text, bytes, (size_t)vsnprintf(bytes, sizeof bytes, format, arguments));
    va_end(arguments);
}

void mglu_io_text_put_escaped(struct mglu_io_text *text, const char *string)
{
    for (; *string; string++) {
        if ((unsigned char)*string < 0x20)
            mglu_io_text_put(text, "\\u%04x", (unsigned)*string);
        else if (*string == '"' || *string == '\\')
            mglu_io_text_put(text, "\\%c", *string);
        else
            put(text, string, 1);
    }
}
