/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

#include <stdio.h>

/* Which batches of a layer are computed by GEMM, and with which kernels. */

/* Smallest batch for which GEMM is faster than GEMV; measured on a Zen 3. */
enum { GEMM_TOKENS = 8 };

/* The same where several tokens are summed at once, by the number of masks; measured on a Xeon. */
static const int8_t after_tokens[1 + MGLU_MAX_MASKS] = {10, 13, 22, 26, 32, 28, 28, 28, 28};

/* The same by panels, with masks: without, 8 tokens fill a block of GEMM. */
enum { AFTER_PANELS = 13 };

/*
 * A last block of GEMM with so few tokens takes as long as a full one: up to so many tokens in all, GEMV of several
 * tokens is faster. Unpacking makes it slower without masks. Measured on a Xeon.
 */
enum { FEW_TOKENS = 4, MOST_PARTLY_FILLED = 20, MOST_PARTLY_FILLED_UNPACKED = 12 };

/* Columns from which on int8 kernels are used for large batches too; measured on a Zen 3. */
enum { LEAST_INT8_COLUMNS = 512 };

/* The batches for which GEMM is faster than these kernels. */
static struct mglu_cpu_gemm_batches batches_after_tokens(const struct mglu_cpu_isa *isa, mglu_dtype dtype,
                                                         int32_t n_masks)
{
    const int unpacks = n_masks == 0 && mglu_dtype_is_quantised(dtype);

    return (struct mglu_cpu_gemm_batches){
        .least = isa->gemv_tokens ? after_tokens[n_masks]
                 : n_masks > 0    ? AFTER_PANELS
                                  : GEMM_TOKENS,
        .most_partly_filled = unpacks ? MOST_PARTLY_FILLED_UNPACKED : MOST_PARTLY_FILLED,
    };
}

int mglu_cpu_uses_gemm(const struct mglu_cpu_plan *plan, const struct mglu_cpu_gemm_batches *batches, int64_t batch)
{
    const int64_t in_last_block = (batch - 1) % plan->block_tokens + 1;

    return batch >= batches->least && (batch > batches->most_partly_filled || in_last_block > FEW_TOKENS);
}

/* Whether batches are products of integers. */
static int multiplies_int8(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                           const struct mglu_cpu_plan *plan)
{
    return plan->use_int8 && isa->gemm_int8 && isa->gemm_int8->gemm[packed->dtype] &&
           packed->hidden_size >= isa->gemm_int8->least_columns;
}

/* GEMM and GEMV have different summation orders, so reproducible layers do not use GEMM. */
static const char *reason_against_gemm(const struct mglu_cpu_isa *isa, const struct mglu_cpu_plan *plan,
                                       const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    if (!isa->gemm->gemm[packed->dtype])
        return "no kernel for such weights";
    if (mglu_cpu_is_reproducible(desc))
        return "reproducible";
    if (packed->hidden_size > MGLU_CPU_GEMM_COLUMNS ||
        (packed->output_size > 0 && packed->intermediate_size > MGLU_CPU_GEMM_COLUMNS))
        return "rows are too long";
    if (plan->use_int8 && !multiplies_int8(isa, packed, plan) && !isa->f32_after_int8 &&
        packed->hidden_size >= LEAST_INT8_COLUMNS)
        return "int8 is no slower";
    return NULL;
}

/*
 * Compared with pairs and with lookups, GEMM is faster with more tokens and slower with more masks: never with the
 * most. Measured on a Zen 3 and on a Xeon.
 */
static int64_t tokens_after_gemv(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                                 const struct mglu_cpu_plan *plan)
{
    const int by_pairs = isa->gemv_pairs && plan->project_gemv == isa->gemv_pairs[packed->dtype];
    const int by_lookup = isa->gemv_lookup && plan->project_gemv == isa->gemv_lookup[packed->dtype];
    const int64_t terms = plan->terms, tokens = by_pairs ? 2 * terms : by_lookup ? 4 * (terms - 8) : 0;

    if (tokens > 0 && terms == MGLU_MAX_MASKS)
        return INT64_MAX;
    return tokens > GEMM_TOKENS ? tokens : GEMM_TOKENS;
}

/* In short rows, the final reduction dominates the time of GEMV of integers. */
static int64_t tokens_after_int8(const struct mglu_cpu_isa *isa, int64_t columns)
{
    return columns < LEAST_INT8_COLUMNS || !isa->f32_after_int8 ? GEMM_TOKENS : isa->f32_after_int8;
}

/* How x and z are packed, in so many words of 32 bits for a group of columns of a token. */
struct packing {
    mglu_cpu_pack_x_fn *pack_x, *pack_z;
    int32_t block_tokens;
    int32_t words_of_x, words_of_z;
};

static void select_packing(const struct packing *packing, const mglu_packed_weights *packed,
                           const mglu_layer_desc *desc, struct mglu_cpu_plan *plan)
{
    plan->pack_x = packing->pack_x;
    plan->pack_z = packing->pack_z;
    plan->block_tokens = packing->block_tokens;
    plan->project_words = (int64_t)mglu_format_groups((mglu_index)packed->hidden_size) * packing->words_of_x;
    plan->down_words = (int64_t)mglu_format_groups((mglu_index)packed->intermediate_size) * packing->words_of_z;
    plan->routed_masks = desc->top_k ? packed->n_masks : 0;
}

/* A column of bf16 takes half a word. */
static struct packing packing_of_floats(const struct mglu_cpu_isa *isa, const struct mglu_cpu_plan *plan)
{
    const int32_t x = plan->parts_of_x, z = plan->parts_of_z, words_of_part = MGLU_GROUP_COLUMNS / 2;

    return (struct packing){
        .pack_x = x ? isa->gemm_split->pack_x[x - 1] : isa->gemm->pack_x,
        .pack_z = z ? isa->gemm_split->pack_x[z - 1] : isa->gemm->pack_x,
        .block_tokens = isa->gemm->block_tokens,
        .words_of_x = x                ? x * words_of_part
                      : plan->use_bf16 ? words_of_part
                                       : MGLU_GROUP_COLUMNS,
        .words_of_z = z ? z * words_of_part : MGLU_GROUP_COLUMNS,
    };
}

/* The GEMV of integers, which sums so many tokens at once, is slow in short rows. */
static int64_t int8_gemm_tokens(const struct mglu_cpu_isa *isa, mglu_dtype dtype, int64_t columns, int32_t at_once,
                                int32_t n_masks)
{
    const struct mglu_cpu_gemm_int8_kernels *kernels = isa->gemm_int8;
    const int is_short = columns < LEAST_INT8_COLUMNS;
    int32_t tokens = kernels->least_tokens[dtype];

    if (at_once == 2 && tokens < kernels->least_after_pairs)
        tokens = kernels->least_after_pairs;
    if (n_masks == 0 && dtype == MGLU_DTYPE_Q4_0 && !is_short && tokens < kernels->least_plain_q4_0)
        tokens = kernels->least_plain_q4_0;
    return is_short && tokens > GEMM_TOKENS ? GEMM_TOKENS : tokens;
}

static void select_int8_gemm(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                             const mglu_layer_desc *desc, struct mglu_cpu_plan *plan)
{
    const struct mglu_cpu_packed_gemm_int8 *on_packed = isa->gemm_int8_packed;

    plan->gemm_int8 = isa->gemm_int8->gemm[packed->dtype];
    plan->tile_rows = isa->gemm_int8->tile_rows;
    plan->project_batches.least =
        int8_gemm_tokens(isa, packed->dtype, packed->hidden_size, plan->int8_tokens, packed->n_masks);
    plan->down_batches.least =
        int8_gemm_tokens(isa, packed->dtype, packed->intermediate_size, mglu_cpu_int8_tokens_per_call(0), 0);
    if (!on_packed)
        return;
    plan->gemm_int8_packed = on_packed->gemm[packed->dtype];
    plan->least_blocks = on_packed->least_blocks[packed->dtype];
    select_packing(&(struct packing){on_packed->pack_x, on_packed->pack_x, on_packed->block_tokens,
                                     on_packed->group_words, on_packed->group_words},
                   packed, desc, plan);
}

static void select_batches(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                           struct mglu_cpu_plan *plan)
{
    plan->project_batches.least = tokens_after_gemv(isa, packed, plan);
    plan->down_batches.least = GEMM_TOKENS;
    if (plan->project_tokens)
        plan->project_batches = batches_after_tokens(isa, packed->dtype, packed->n_masks);
    if (plan->down_tokens)
        plan->down_batches = batches_after_tokens(isa, packed->dtype, 0);
}

void mglu_cpu_select_gemm(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                          const mglu_layer_desc *desc, struct mglu_cpu_plan *plan)
{
    plan->no_gemm_reason = reason_against_gemm(isa, plan, packed, desc);
    plan->project_batches.least = plan->down_batches.least = INT64_MAX;
    plan->tile_rows = isa->gemm->tile_rows;
    plan->block_tokens = 1;
    if (plan->no_gemm_reason)
        return;
    if (multiplies_int8(isa, packed, plan)) {
        select_int8_gemm(isa, packed, desc, plan);
        return;
    }
    plan->project_gemm = plan->use_bf16 ? isa->gemm_bf16 : isa->gemm->gemm[packed->dtype];
    plan->down_gemm = isa->gemm->gemm[packed->dtype]; /* z is f32 */
    if (plan->use_int8) {
        plan->project_batches.least = tokens_after_int8(isa, packed->hidden_size);
        plan->down_batches.least = tokens_after_int8(isa, packed->intermediate_size);
    } else {
        select_batches(isa, packed, plan);
    }
    mglu_cpu_select_tiles(isa, packed, desc, plan);
    const struct packing packing = packing_of_floats(isa, plan);
    select_packing(&packing, packed, desc, plan);
}

/*
 * Whether the x of the tokens of some lists is packed in so many blocks: floats always. Of integers the kernel of
 * blocks is faster, with the same bits, where few lanes are empty and there are few masks for so many blocks, which all
 * use the same tokens. Measured on a Xeon.
 */
int mglu_cpu_packs_blocks(const struct mglu_cpu_plan *plan, int32_t terms, int32_t lists, int32_t tokens,
                          int32_t blocks)
{
    const int32_t lanes = blocks * plan->block_tokens, empty = lanes - tokens;

    return !plan->gemm_int8 ||
           (lists == 1 && blocks >= plan->least_blocks && terms < 2 * blocks && empty <= lanes / 16);
}

void mglu_cpu_describe_gemm(const struct mglu_cpu_plan *plan, char *text, size_t size)
{
    const char *name = plan->gemm_int8 ? "gemm_int8" : plan->uses_tiles ? "gemm by tiles" : "gemm";
    const struct mglu_cpu_gemm_batches *batches = &plan->project_batches;

    if (plan->no_gemm_reason)
        snprintf(text, size, "no gemm: %s", plan->no_gemm_reason);
    else if (batches->least == INT64_MAX)
        snprintf(text, size, "gemm never: gemv is faster with %d masks", (int)plan->terms);
    else if (batches->most_partly_filled > batches->least)
        snprintf(text, size, "%s from %d tokens, up to %d where its last block of %d has more than %d", name,
                 (int)batches->least, (int)batches->most_partly_filled, (int)plan->block_tokens, FEW_TOKENS);
    else
        snprintf(text, size, "%s from %d tokens", name, (int)batches->least);
}
