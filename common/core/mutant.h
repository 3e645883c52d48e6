/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_MUTANT_H
#define MGLU_CORE_MUTANT_H

/*
 * Seeded faults for the mutation test: each is a mistake that a good test suite must notice. tests/mutation/faults.json
 * lists them. They exist only in a build with -Dmutants=true, where the environment variable MGLU_MUTANT chooses one by
 * its number; every other build has the right code alone.
 *
 *   MUT(n, good, bad)       an expression, and what takes its place
 *   MUT_WRAP(n, spoil, good) an expression, and the function of it that takes its place
 *   MUT_DO(n, bad)          what is done where the right code does nothing
 */

#ifndef MGLU_MUTANTS

#define MUT(n, good, bad)        (good)
#define MUT_WRAP(n, spoil, good) (good)
#define MUT_DO(n, bad)           ((void)0)

#else

#include <stdlib.h>

static int mglu_mutant;

/* Read before main(), so that no kernel pays for more than a comparison. */
__attribute__((constructor)) static void mglu_mutant_read(void)
{
    const char *text = getenv("MGLU_MUTANT");

    mglu_mutant = text ? atoi(text) : 0;
}

#define MUT(n, good, bad)        (mglu_mutant == (n) ? (bad) : (good))
#define MUT_WRAP(n, spoil, good) (mglu_mutant == (n) ? spoil(good) : (good))
#define MUT_DO(n, bad)           (mglu_mutant == (n) ? (void)(bad) : (void)0)

#endif

#endif
