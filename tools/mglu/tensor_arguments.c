/* SPDX-License-Identifier: MIT */
#include "tensor_arguments.h"

#include "tools/common/report.h"

#include <stdlib.h>
#include <string.h>

void arguments_tensor(struct argp_state *state, const char *what, const char *text, struct tensor_name *name)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1])
        argp_error(state, "%s %s: not of the form FILE:TENSOR", what, text);
    free(name->path);
    name->path = strdup(text);
    if (!name->path) {
        report_failure("out of memory"); /* argp_failure() needs some for its text */
        exit(EXIT_FAILED);
    }
    name->path[colon - text] = '\0';
    name->tensor = name->path + (colon - text) + 1;
}

void arguments_release(struct tensor_name *name)
{
    free(name->path);
    *name = (struct tensor_name){0};
}
