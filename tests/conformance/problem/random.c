/* SPDX-License-Identifier: MIT */
#include "problem/random.h"

#include <string.h>
#include <xxhash.h>

struct random random_for(const struct target *target, const char *case_name, const char *purpose)
{
    XXH64_hash_t name = XXH3_64bits_withSeed(case_name, strlen(case_name), target->seed);

    return (struct random){.key = XXH3_64bits_withSeed(purpose, strlen(purpose), name)};
}

uint64_t random_u64(struct random *random)
{
    uint64_t counter = random->counter++;

    return XXH3_64bits_withSeed(&counter, sizeof counter, random->key);
}

float random_unit(struct random *random)
{
    return (float)((int64_t)(random_u64(random) >> 40) - (1 << 23)) * 0x1p-23f;
}
