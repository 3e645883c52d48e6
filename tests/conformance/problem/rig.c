/* SPDX-License-Identifier: MIT */
#include "problem/rig.h"

bool rig_open(struct rig *rig, mglu_device *device, const mglu_weights_desc *weights, const mglu_layer_desc *layer,
              struct outcome *outcome)
{
    *rig = (struct rig){.device = device};
    if (outcome_expect(outcome, "mglu_queue_create", mglu_queue_create(device, NULL, &rig->queue), MGLU_OK) &&
        outcome_expect(outcome, "mglu_weights_create", mglu_weights_create(device, weights, &rig->weights), MGLU_OK) &&
        outcome_expect(outcome, "mglu_layer_create", mglu_layer_create(rig->weights, layer, &rig->layer), MGLU_OK) &&
        outcome_expect(outcome, "mglu_memory_create",
                       mglu_memory_create(device, mglu_layer_workspace_size(rig->layer), &rig->workspace), MGLU_OK))
        return true;
    rig_close(rig);
    return false;
}

void rig_close(struct rig *rig)
{
    mglu_memory_destroy(&rig->workspace);
    mglu_layer_destroy(&rig->layer);
    mglu_weights_destroy(&rig->weights);
    mglu_queue_destroy(&rig->queue);
}
