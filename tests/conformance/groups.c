/* SPDX-License-Identifier: MIT */
#include "groups.h"

#include "grid.h"

const struct group group_grid = {"grid", "all pairs (full: triples) of the axes, within the promised error", grid_list,
                                 grid_run};
const struct group group_exact = {"exact", "the same on integers that no right order of sums rounds", exact_list,
                                  grid_run};

const struct group *const all_groups[] = {
    &group_grid,    &group_exact,     &group_probes, &group_empty, &group_determinism, &group_metamorphic,
    &group_special, &group_arguments,
#ifdef MGLU_GOLDEN_DIR
    &group_golden,
#endif
    NULL,
};
