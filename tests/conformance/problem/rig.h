/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_RIG_H
#define MGLU_CONFORMANCE_RIG_H

#include "conformance.h"

/** A queue, weights, a layer and a workspace on one device; all NULL when not made. */
struct rig {
    mglu_device *device;
    mglu_queue *queue;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
};

/** Makes a rig; false and the outcome set when something failed. */
bool rig_open(struct rig *rig, mglu_device *device, const mglu_weights_desc *weights, const mglu_layer_desc *layer,
              struct outcome *outcome);
void rig_close(struct rig *rig);

#endif
