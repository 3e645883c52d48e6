/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

/* Where GEMM is done by tiles (Intel AMX), of bf16 as it is stored or of numbers in parts of bf16. */

/*
 * Smallest batch by tiles of bf16: with up to two masks, with more, and where fused kernels sum several tokens with
 * masks at once; measured on a Xeon.
 */
enum { TILE_TOKENS = 4, TILE_TOKENS_MANY_MASKS = 5, TILE_TOKENS_FUSED = 6 };

/*
 * The same of numbers in parts: weights in bf16, then others; without masks, with one, with more, and with
 * routing; measured on a Xeon.
 */
static const int8_t split_tokens[2][4] = {{5, 8, 12, 8}, {10, 12, 16, 8}};

static int64_t tile_tokens(const mglu_packed_weights *packed, const struct mglu_cpu_plan *plan)
{
    if (packed->n_masks > 0 && plan->project_fused)
        return TILE_TOKENS_FUSED;
    return plan->terms > 2 ? TILE_TOKENS_MANY_MASKS : TILE_TOKENS;
}

/* Asks for tiles only where they would be used: that the process may use them changes it, see kernels/tiles.c. */
static int takes_tiles(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                       const struct mglu_cpu_plan *plan)
{
    return isa->gemm_tiles && mglu_cpu_takes_bf16(isa, packed, desc) && desc->max_batch >= tile_tokens(packed, plan) &&
           (int64_t)mglu_format_groups((mglu_index)packed->hidden_size) >= isa->gemm_tiles->least_groups &&
           mglu_cpu_may_use_tiles();
}

static void select_tiles(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, struct mglu_cpu_plan *plan)
{
    plan->use_bf16 = plan->uses_tiles = 1;
    plan->project_gemm = isa->gemm_tiles->gemm;
    plan->project_batches = (struct mglu_cpu_gemm_batches){.least = tile_tokens(packed, plan)};
}

/* Parts of bf16 that have the bits of a dtype. */
static int32_t parts_of(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_F32 ? 3 : dtype == MGLU_DTYPE_F16 ? 2 : 1;
}

/* The kernel of GEMM by tiles for a batch of numbers in so many parts; NULL: none fits. */
static mglu_cpu_gemm_fn *split_gemm(const struct mglu_cpu_isa *isa, mglu_dtype dtype, int64_t columns, int64_t batch,
                                    int64_t least_batch, int32_t parts)
{
    const struct mglu_cpu_split_tiles *split = isa->gemm_split;
    const int64_t groups = (int64_t)mglu_format_groups((mglu_index)columns);

    if (!split || !split->gemm[dtype][parts - 1] || batch < least_batch || groups < split->least_groups ||
        groups > split->most_groups || !mglu_cpu_may_use_tiles())
        return NULL;
    return split->gemm[dtype][parts - 1];
}

static void split_x(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                    struct mglu_cpu_plan *plan)
{
    const int32_t parts = parts_of(desc->x_dtype), masks = packed->n_masks;
    const int8_t *by_masks = split_tokens[packed->dtype != MGLU_DTYPE_BF16];
    const int64_t least_batch = by_masks[desc->top_k ? 3 : masks < 2 ? masks : 2];
    mglu_cpu_gemm_fn *gemm = split_gemm(isa, packed->dtype, packed->hidden_size, desc->max_batch, least_batch, parts);

    if (!gemm)
        return;
    plan->uses_tiles = 1;
    plan->parts_of_x = parts;
    plan->project_gemm = gemm;
    plan->project_batches = (struct mglu_cpu_gemm_batches){.least = least_batch};
}

static void split_z(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                    struct mglu_cpu_plan *plan)
{
    const int32_t parts = parts_of(MGLU_DTYPE_F32);
    const int64_t least_batch = split_tokens[packed->dtype != MGLU_DTYPE_BF16][0];
    mglu_cpu_gemm_fn *gemm =
        split_gemm(isa, packed->dtype, packed->intermediate_size, desc->max_batch, least_batch, parts);

    if (!gemm)
        return;
    plan->parts_of_z = parts;
    plan->down_gemm = gemm;
    plan->down_batches = (struct mglu_cpu_gemm_batches){.least = least_batch};
}

void mglu_cpu_select_tiles(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                           const mglu_layer_desc *desc, struct mglu_cpu_plan *plan)
{
    if (takes_tiles(isa, packed, desc, plan))
        select_tiles(isa, packed, plan);
    else if (!plan->use_bf16)
        split_x(isa, packed, desc, plan);
    if (packed->output_size > 0)
        split_z(isa, packed, desc, plan);
}
