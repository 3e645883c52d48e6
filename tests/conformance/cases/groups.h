/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_GROUPS_H
#define MGLU_CONFORMANCE_GROUPS_H

#include "conformance.h"

extern const struct group group_grid, group_exact, group_long, group_probes, group_empty, group_determinism,
    group_metamorphic, group_special, group_arguments, group_train, group_golden;

#endif
