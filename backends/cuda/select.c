/* SPDX-License-Identifier: MIT */
#include "backends/cuda/select.h"
#include "backends/cuda/dispatch_table.h"

#include <stdlib.h>
#include <string.h>

static const char *ring_refusal(const struct mglu_cuda_request *request)
{
    const uint32_t warps = mglu_cuda_ring_warps(request->columns);

    if (request->ring.multiprocessors == 0)
        return "the ring is compiled for sm_90 and sm_120 only";
    if (mglu_cuda_ring_plan(request->ring, request->form, warps, request->block_bytes).depth == 0)
        return "two blocks of weights for each warp do not fit into shared memory";
    return NULL;
}

const char *mglu_cuda_refusal(const struct mglu_cuda_request *request, enum mglu_cuda_engine engine)
{
    const struct mglu_cuda_variant variant = {engine, request->weights, mglu_cuda_x_of(request->weights, request->x),
                                              request->form};

    if (engine == MGLU_CUDA_SIMT)
        return NULL;
    if (engine == MGLU_CUDA_RING)
        return ring_refusal(request);
    if (request->has_routing)
        return "the tensor core kernels have no routing";
    if (!mglu_cuda_variant_exists(variant))
        return "no tensor core kernel for these dtypes";
    /* Flipping the sign of an infinite weight does not exclude it from a sum; docs/semantics.md, row 4. */
    if (request->has_infinite && request->form != MGLU_CUDA_GLU)
        return "the tensor core kernels do not support infinite weights";
    return NULL;
}

static int is_allowed(const struct mglu_cuda_request *request, enum mglu_cuda_engine engine)
{
    return !mglu_cuda_refusal(request, engine);
}

static const struct mglu_cuda_dispatch_row *find_row(const struct mglu_cuda_request *request)
{
    const struct mglu_cuda_dispatch_row *found = NULL;

    for (size_t i = 0; i < sizeof mglu_cuda_dispatch_rows / sizeof mglu_cuda_dispatch_rows[0]; i++) {
        const struct mglu_cuda_dispatch_row *row = &mglu_cuda_dispatch_rows[i];

        if (row->form == request->form && (!found || row->architecture <= request->architecture))
            found = row;
    }
    return found;
}

/* One engine for every batch. */
static struct mglu_cuda_selection only(enum mglu_cuda_engine engine, uint32_t simt_warps, const char *reason)
{
    struct mglu_cuda_selection selection = {.simt_warps = simt_warps, .reason = reason};

    for (int i = 0; i < MGLU_CUDA_ENGINES; i++)
        selection.from_batch[i] = INT64_MAX;
    selection.from_batch[engine] = 1;
    return selection;
}

static struct mglu_cuda_selection by_table(const struct mglu_cuda_request *request,
                                           const struct mglu_cuda_dispatch_row *row)
{
    const char *no_mma = mglu_cuda_refusal(request, MGLU_CUDA_MMA8);
    struct mglu_cuda_selection selection =
        only(MGLU_CUDA_SIMT, row->simt_warps, no_mma ? no_mma : "selected by the dispatch table for this batch");

    if (row->mma8_from && is_allowed(request, MGLU_CUDA_MMA8))
        selection.from_batch[MGLU_CUDA_MMA8] = row->mma8_from;
    if (row->mma16_from && is_allowed(request, MGLU_CUDA_MMA16))
        selection.from_batch[MGLU_CUDA_MMA16] = row->mma16_from;
    return selection;
}

struct mglu_cuda_selection mglu_cuda_select(const struct mglu_cuda_request *request,
                                            const struct mglu_cuda_forced *forced)
{
    const struct mglu_cuda_dispatch_row *row = find_row(request);

    if (forced->is_forced && is_allowed(request, forced->engine))
        return only(forced->engine, forced->warps, "set by MGLU_CUDA_VARIANT");
    if (request->is_reproducible)
        return only(is_allowed(request, MGLU_CUDA_MMA8) ? MGLU_CUDA_MMA8 : MGLU_CUDA_SIMT, row->simt_warps,
                    "reproducible: one kernel for every batch");
    if (forced->is_forced)
        return only(MGLU_CUDA_SIMT, row->simt_warps, "the kernel set by MGLU_CUDA_VARIANT does not support this layer");
    return by_table(request, row);
}

enum mglu_cuda_engine mglu_cuda_engine_for(const struct mglu_cuda_selection *selection, int64_t batch)
{
    enum mglu_cuda_engine engine = MGLU_CUDA_ENGINES;

    while (engine > 0 && selection->from_batch[engine - 1] > batch)
        engine--;
    return engine > 0 ? engine - 1 : MGLU_CUDA_SIMT;
}

int mglu_cuda_read_forced(const char *text, struct mglu_cuda_forced *forced)
{
    *forced = (struct mglu_cuda_forced){0};
    if (!text || !text[0])
        return 1;
    for (int engine = 0; engine < MGLU_CUDA_ENGINES; engine++) {
        const char *name = mglu_cuda_engine_name((enum mglu_cuda_engine)engine);
        size_t length = strlen(name);
        const char *rest = text + length;

        if (strncmp(text, name, length) != 0)
            continue;
        *forced = (struct mglu_cuda_forced){.is_forced = 1, .engine = (enum mglu_cuda_engine)engine};
        if (!rest[0])
            return 1;
        forced->warps = (uint32_t)strtoul(rest + (rest[0] == ':'), NULL, 10);
        if (!strcmp(rest, ":4") || !strcmp(rest, ":8") || !strcmp(rest, ":16"))
            return 1;
    }
    return 0;
}
