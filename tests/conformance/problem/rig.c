/* SPDX-License-Identifier: MIT */
#include "problem/rig.h"

/* The size that is known before there are weights must be that of the layer. */
static bool check_workspace(const struct rig *rig, const mglu_weights_desc *weights, const mglu_layer_desc *layer,
                            struct outcome *outcome)
{
    const size_t size = mglu_layer_workspace_size(rig->layer);
    size_t planned = 0;

    if (!outcome_expect(outcome, "mglu_workspace_size",
                        mglu_workspace_size(rig->device, weights, layer, layer->max_batch, &planned), MGLU_OK))
        return false;
    if (planned != size)
        outcome_set(outcome, VERDICT_FAIL, "the layer's workspace has %zu bytes, before there are weights %zu", size,
                    planned);
    return planned == size;
}

bool rig_open(struct rig *rig, mglu_device *device, const mglu_weights_desc *weights, const mglu_layer_desc *layer,
              struct outcome *outcome)
{
    *rig = (struct rig){.device = device};
    if (outcome_expect(outcome, "mglu_queue_create", mglu_queue_create(device, NULL, &rig->queue), MGLU_OK) &&
        outcome_expect(outcome, "mglu_weights_create", mglu_weights_create(device, weights, &rig->weights), MGLU_OK) &&
        outcome_expect(outcome, "mglu_layer_create", mglu_layer_create(rig->weights, layer, &rig->layer), MGLU_OK) &&
        check_workspace(rig, weights, layer, outcome) &&
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
