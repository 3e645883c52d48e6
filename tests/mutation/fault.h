/* SPDX-License-Identifier: MIT */
#ifndef MGLU_MUTATION_FAULT_H
#define MGLU_MUTATION_FAULT_H

/* The number of the fault that the environment variable MGLU_MUTANT selects; 0: none. In every file with a fault. */

#include <stdlib.h>

static int mglu_fault;

/* Read before main(), so that a kernel pays for a comparison only. */
__attribute__((constructor)) static void mglu_read_fault(void)
{
    const char *text = getenv("MGLU_MUTANT");

    mglu_fault = text ? atoi(text) : 0;
}

#endif
