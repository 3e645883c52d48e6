/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"

const struct group *const all_groups[] = {
    &group_grid,    &group_exact,     &group_long,  &group_probes, &group_empty, &group_determinism, &group_metamorphic,
    &group_special, &group_arguments, &group_train,
#ifdef MGLU_GOLDEN_DIR
    &group_golden,
#endif
    NULL,
};
