/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_TENSOR_ARGUMENTS_H
#define MGLU_TOOLS_TENSOR_ARGUMENTS_H

#include "files.h"

#include <argp.h>

/** Splits FILE:TENSOR at the last colon. Released with arguments_release(). */
void arguments_tensor(struct argp_state *state, const char *what, const char *text, struct tensor_name *name);
void arguments_release(struct tensor_name *name);

#endif
