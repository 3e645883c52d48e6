/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_TARGETS_H
#define MGLU_CONFORMANCE_TARGETS_H

#include "run/runner.h"

/**
 * Opens what the options name: the available devices of a backend or plug-in, or all devices, each in contexts of its
 * own.
 *
 * @return Number of reports in `*reports`, to be freed; 0 with a line on stderr when there is none.
 */
size_t open_targets(const struct options *options, struct device_report **reports);

#endif
