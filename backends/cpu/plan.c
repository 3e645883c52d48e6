/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/describe.h"
#include "common/core/mask_format.h"

#include <stdio.h>

/* How a layer is computed: this file makes all such decisions of the backend, with their reasons. */

/* Maximum number of tokens per reading of the weights: by GEMV; by GEMM. */
enum { GEMV_CHUNK = 32, GEMM_CHUNK = 128 };

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

/* Bytes of weights that a task of GEMV should at least read, so that task overhead is negligible. */
#define TASK_BYTES ((size_t)64 << 10)

/* Reading less than this takes less time than waking other threads. */
#define PARALLEL_BYTES ((size_t)256 << 10)

static int is_reproducible(const mglu_layer_desc *desc)
{
    return (desc->flags & MGLU_LAYER_REPRODUCIBLE) != 0;
}

static int32_t count_terms(const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    if (packed->kind == MGLU_KIND_PLAIN)
        return 1;
    return desc->top_k ? desc->top_k : packed->n_masks;
}

int mglu_cpu_takes_bf16(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    return isa->gemv_bf16 && packed->dtype == MGLU_DTYPE_BF16 && desc->x_dtype == MGLU_DTYPE_BF16 &&
           !is_reproducible(desc);
}

static int takes_int8(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    return isa->int8 && isa->int8->gemv[packed->dtype] && desc->flags & MGLU_LAYER_ALLOW_QUANTISED_X &&
           !is_reproducible(desc);
}

/* Whether masks are summed by pairs of columns, in another summation order; four and more must be all masks. */
static int takes_pairs(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                       const struct mglu_cpu_plan *plan)
{
    return isa->gemv_pairs && isa->gemv_pairs[packed->dtype] && !plan->use_bf16 && !is_reproducible(desc) &&
           plan->terms >= MGLU_CPU_LEAST_PAIRS && (desc->top_k == 0 || plan->terms < MGLU_CPU_PAIRS_OF_ALL);
}

/* Whether all masks look up sums of columns, in another summation order. */
static int takes_lookup(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                        const struct mglu_cpu_plan *plan)
{
    return isa->gemv_lookup && !plan->gemv_bf16 && !is_reproducible(desc) && desc->top_k == 0 &&
           packed->n_masks >= MGLU_CPU_LEAST_LOOKUP;
}

/* Selects the kernel for one token, and for every token of a batch below plan->project_batches.least. */
static void select_gemv(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                        struct mglu_cpu_plan *plan)
{
    plan->project_gemv = plan->down_gemv = isa->gemv[packed->dtype];
    plan->gemv_name = "gemv";
    plan->gemv_reason = is_reproducible(desc) ? "reproducible: the summation order of all instruction sets"
                                              : "no faster kernel of this instruction set fits the layer";
    if (plan->gemv_bf16) {
        plan->project_gemv = isa->gemv_bf16;
        plan->gemv_name = "gemv_bf16dot";
        plan->gemv_reason = "weights and x are bf16";
    } else if (takes_pairs(isa, packed, desc, plan)) {
        plan->project_gemv = isa->gemv_pairs[packed->dtype];
        plan->gemv_name = "gemv_pairs";
        plan->gemv_reason = "several masks, any summation order";
    } else if (takes_lookup(isa, packed, desc, plan)) {
        plan->project_gemv = isa->gemv_lookup[packed->dtype];
        plan->gemv_name = "gemv_lookup";
        plan->gemv_reason = "many masks, any summation order";
    }
    if (plan->use_int8) {
        plan->gemv_name = "gemv_int8";
        plan->gemv_reason = "quantised weights, x may be quantised";
    }
}

/* The kernels for several tokens that sum this number of masks, if there are any. */
static const struct mglu_cpu_gemv_tokens *with_masks(const struct mglu_cpu_gemv_tokens *kernels, int32_t n_masks)
{
    return kernels && kernels->most_tokens[n_masks] > 0 ? kernels : NULL;
}

/* They need the same masks for each token. The fused ones round differently; some instruction sets have no others. */
static void select_tokens(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                          const mglu_layer_desc *desc, struct mglu_cpu_plan *plan)
{
    const struct mglu_cpu_gemv_tokens *fused = is_reproducible(desc) ? NULL : isa->gemv_fused;
    const struct mglu_cpu_gemv_tokens *tokens = isa->gemv_tokens ? isa->gemv_tokens : fused;

    if (plan->use_int8)
        return;
    plan->down_tokens = with_masks(tokens, 0);
    plan->down_fused = with_masks(fused, 0);
    if (plan->gemv_bf16 || desc->top_k > 0)
        return;
    plan->project_tokens = with_masks(tokens, packed->n_masks);
    plan->project_fused = with_masks(fused, packed->n_masks);
}

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

/* Whether batches are products of integers, for which no row is too short. */
static int multiplies_int8(const struct mglu_cpu_isa *isa, const struct mglu_cpu_plan *plan)
{
    return plan->use_int8 && isa->gemm_int8;
}

/* GEMM and GEMV have different summation orders, so reproducible layers do not use GEMM. */
static const char *reason_against_gemm(const struct mglu_cpu_isa *isa, const struct mglu_cpu_plan *plan,
                                       const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    if (!isa->gemm->gemm[packed->dtype])
        return "no kernel for such weights";
    if (is_reproducible(desc))
        return "reproducible";
    if (packed->hidden_size > MGLU_CPU_GEMM_COLUMNS ||
        (packed->output_size > 0 && packed->intermediate_size > MGLU_CPU_GEMM_COLUMNS))
        return "rows are too long";
    /* Int8 kernels are no slower than f32 GEMM, except for short rows, where the final reduction dominates. */
    if (plan->use_int8 && !multiplies_int8(isa, plan) && packed->hidden_size >= LEAST_INT8_COLUMNS)
        return "int8 is no slower";
    return NULL;
}

/*
 * Compared with pairs and with lookups, GEMM is faster with more tokens and slower with more masks: never with the
 * most. Measured on a Zen 3 and on a Xeon.
 */
static int64_t project_gemm_tokens(int takes_pairs, int takes_lookup, int32_t terms)
{
    const int64_t tokens = takes_pairs ? 2 * (int64_t)terms : takes_lookup ? 4 * ((int64_t)terms - 8) : 0;

    if (tokens > 0 && terms == MGLU_MAX_MASKS)
        return INT64_MAX;
    return tokens > GEMM_TOKENS ? tokens : GEMM_TOKENS;
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

static void select_gemm(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                        struct mglu_cpu_plan *plan)
{
    plan->no_gemm_reason = reason_against_gemm(isa, plan, packed, desc);
    plan->project_batches.least = plan->down_batches.least = INT64_MAX;
    plan->tile_rows = isa->gemm->tile_rows;
    plan->block_tokens = 1;
    if (plan->no_gemm_reason)
        return;
    if (multiplies_int8(isa, plan)) {
        select_int8_gemm(isa, packed, desc, plan);
        return;
    }
    plan->project_gemm = plan->use_bf16 ? isa->gemm_bf16 : isa->gemm->gemm[packed->dtype];
    plan->down_gemm = isa->gemm->gemm[packed->dtype]; /* z is f32 */
    plan->project_batches.least =
        project_gemm_tokens(takes_pairs(isa, packed, desc, plan), takes_lookup(isa, packed, desc, plan), plan->terms);
    plan->down_batches.least = GEMM_TOKENS;
    if (plan->project_tokens)
        plan->project_batches = batches_after_tokens(isa, packed->dtype, packed->n_masks);
    if (plan->down_tokens)
        plan->down_batches = batches_after_tokens(isa, packed->dtype, 0);
    mglu_cpu_select_tiles(isa, packed, desc, plan);
    const struct packing packing = packing_of_floats(isa, plan);
    select_packing(&packing, packed, desc, plan);
}

/* Tokens per chunk: for GEMM as many as have positions for their sums. */
static int32_t chunk_tokens(const struct mglu_cpu_plan *plan, const mglu_layer_desc *desc)
{
    const int32_t fitting = MGLU_CPU_MOST_POSITIONS / (1 + plan->terms);
    const int32_t most = plan->no_gemm_reason ? GEMV_CHUNK : fitting < GEMM_CHUNK ? fitting : GEMM_CHUNK;

    return desc->max_batch < most ? (int32_t)desc->max_batch : most;
}

static size_t row_bytes(const mglu_packed_matrix *matrix, int64_t columns, int32_t n_masks)
{
    return (columns ? matrix->stride_bytes : 0) + matrix->scale_stride_bytes +
           (size_t)mglu_format_groups((mglu_index)columns) * (size_t)n_masks * sizeof(uint32_t);
}

/* Rows per task of GEMV, in whole blocks. */
static struct mglu_cpu_tasks gemv_tasks(size_t bytes, int64_t rows)
{
    const size_t block_bytes = MGLU_CPU_BLOCK_ROWS * bytes;
    const int64_t blocks = block_bytes >= TASK_BYTES ? 1 : (int64_t)(TASK_BYTES / (block_bytes + 1) + 1);
    const int64_t task_rows = blocks * MGLU_CPU_BLOCK_ROWS;

    return (struct mglu_cpu_tasks){
        .rows = task_rows,
        .count = (rows + task_rows - 1) / task_rows,
        .bytes = (size_t)task_rows * bytes,
    };
}

/* Rows per task of GEMM: at least a whole cache line of y, even in 16 bits. */
static struct mglu_cpu_tasks gemm_tasks(size_t bytes, int64_t rows)
{
    const int64_t task_rows = 32;

    return (struct mglu_cpu_tasks){
        .rows = task_rows,
        .count = (rows + task_rows - 1) / task_rows,
        .bytes = (size_t)task_rows * bytes,
    };
}

struct mglu_cpu_plan mglu_cpu_make_plan(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                                        const mglu_layer_desc *desc)
{
    const int64_t h = packed->hidden_size, d = packed->intermediate_size, out = packed->output_size;
    struct mglu_cpu_plan plan = {
        .terms = count_terms(packed, desc),
        .gemv_bf16 = mglu_cpu_takes_bf16(isa, packed, desc) && mglu_cpu_this_machine()->bf16_dot_is_fast,
        .use_int8 = takes_int8(isa, packed, desc),
        .int8_tokens = desc->top_k ? 1 : mglu_cpu_int8_tokens_per_call(packed->n_masks),
        .gemv_project = gemv_tasks(row_bytes(&packed->weight, h, packed->n_masks), d),
        .gemv_down = gemv_tasks(row_bytes(&packed->down, d, 0), out),
        .gemm_project = gemm_tasks(h ? packed->weight.stride_bytes : 0, d),
        .gemm_down = gemm_tasks(d ? packed->down.stride_bytes : 0, out),
    };

    plan.use_bf16 = plan.gemv_bf16 && isa->gemm_bf16; /* with tiles always */
    select_gemv(isa, packed, desc, &plan);
    select_tokens(isa, packed, desc, &plan);
    select_gemm(isa, packed, desc, &plan);
    plan.chunk_tokens = chunk_tokens(&plan, desc);
    return plan;
}

/* The size of the next chunk: as few chunks as possible, of about equal size. */
int32_t mglu_cpu_next_chunk(const struct mglu_cpu_plan *plan, int64_t left)
{
    const int64_t chunks = (left + plan->chunk_tokens - 1) / plan->chunk_tokens;

    return (int32_t)((left + chunks - 1) / chunks);
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

int mglu_cpu_is_worth_threads(int64_t tasks, size_t bytes_per_task)
{
    return tasks > 1 && bytes_per_task > PARALLEL_BYTES / (size_t)tasks;
}

static void describe_gemm(const struct mglu_cpu_plan *plan, char *text, size_t size)
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

void mglu_cpu_log_plan(const struct mglu_cpu_backend *backend, const mglu_packed_weights *packed,
                       const mglu_layer_desc *desc, const struct mglu_cpu_plan *plan)
{
    char gemm[96], layer[MGLU_LAYER_TEXT_SIZE];

    describe_gemm(plan, gemm, sizeof gemm);
    mglu_describe_layer(packed, desc->max_batch, layer);
    backend->host->log(
        backend->host, MGLU_LOG_DEBUG,
        "cpu: %s: kernel %s, %s, weights in place, %d threads, tasks of %d rows, chunks of %d tokens: %s; %s", layer,
        plan->gemv_name, backend->isa->name, (int)backend->host->num_threads, (int)plan->gemv_project.rows,
        (int)plan->chunk_tokens, plan->gemv_reason, gemm);
}
