/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_TEXT_OUTPUT_H
#define MGLU_IO_TEXT_OUTPUT_H

#include "common/io/output.h"

#include <stdint.h>

/* Writing JSON, which is never in memory as a whole. Begin with zeros, an output and MGLU_OK; flush at the end. */
struct mglu_io_text {
    struct mglu_io_output *output; /* NULL: nowhere, it is only counted */
    mglu_status status;            /* of the first write that failed */
    uint64_t length;
    size_t used; /* of the buffer */
    char buffer[4096];
};

/* A short text. */
__attribute__((format(printf, 2, 3))) void mglu_io_text_put(struct mglu_io_text *text, const char *format, ...);

/* The inside of a JSON string, which is UTF-8. */
void mglu_io_text_put_escaped(struct mglu_io_text *text, const char *string);

void mglu_io_text_flush(struct mglu_io_text *text);

#endif
