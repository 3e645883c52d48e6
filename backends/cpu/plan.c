/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/describe.h"
#include "common/core/mask_format.h"

#include <stdio.h>

/* How a layer is computed: decided when it is created, with the reasons. What concerns GEMM is in plan_gemm.c. */

/* Maximum number of tokens per reading of the weights: by GEMV; by GEMM. */
enum { GEMV_CHUNK = 32, GEMM_CHUNK = 128 };

/* Bytes of weights that a task of GEMV should at least read, so that task overhead is negligible. */
#define TASK_BYTES ((size_t)64 << 10)

/* Reading less than this takes less time than waking other threads. */
#define PARALLEL_BYTES ((size_t)256 << 10)

static int32_t count_terms(const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    if (packed->kind == MGLU_KIND_PLAIN)
        return 1;
    return desc->top_k ? desc->top_k : packed->n_masks;
}

int mglu_cpu_takes_bf16(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    return isa->gemv_bf16 && packed->dtype == MGLU_DTYPE_BF16 && desc->x_dtype == MGLU_DTYPE_BF16 &&
           !mglu_cpu_is_reproducible(desc);
}

static int takes_int8(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc)
{
    return isa->int8 && isa->int8->gemv[packed->dtype] && desc->flags & MGLU_LAYER_ALLOW_QUANTISED_X &&
           !mglu_cpu_is_reproducible(desc);
}

/* Whether masks are summed by pairs of columns, in another summation order; four and more must be all masks. */
static int takes_pairs(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                       const struct mglu_cpu_plan *plan)
{
    return isa->gemv_pairs && isa->gemv_pairs[packed->dtype] && !plan->use_bf16 && !mglu_cpu_is_reproducible(desc) &&
           plan->terms >= MGLU_CPU_LEAST_PAIRS && (desc->top_k == 0 || plan->terms < MGLU_CPU_PAIRS_OF_ALL);
}

/* Whether all masks look up sums of columns, in another summation order. */
static int takes_lookup(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                        const struct mglu_cpu_plan *plan)
{
    return isa->gemv_lookup && !plan->gemv_bf16 && !mglu_cpu_is_reproducible(desc) && desc->top_k == 0 &&
           packed->n_masks >= MGLU_CPU_LEAST_LOOKUP;
}

/* Selects the kernel for one token, and for every token of a batch below plan->project_batches.least. */
static void select_gemv(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc,
                        struct mglu_cpu_plan *plan)
{
    plan->project_gemv = plan->down_gemv = isa->gemv[packed->dtype];
    plan->gemv_name = "gemv";
    plan->gemv_reason = mglu_cpu_is_reproducible(desc) ? "reproducible: the summation order of all instruction sets"
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
    const struct mglu_cpu_gemv_tokens *fused = mglu_cpu_is_reproducible(desc) ? NULL : isa->gemv_fused;
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
    mglu_cpu_select_gemm(isa, packed, desc, &plan);
    plan.chunk_tokens = chunk_tokens(&plan, desc);
    return plan;
}

/* The size of the next chunk: as few chunks as possible, of about equal size. */
int32_t mglu_cpu_next_chunk(const struct mglu_cpu_plan *plan, int64_t left)
{
    const int64_t chunks = (left + plan->chunk_tokens - 1) / plan->chunk_tokens;

    return (int32_t)((left + chunks - 1) / chunks);
}

int mglu_cpu_is_worth_threads(int64_t tasks, size_t bytes_per_task)
{
    return tasks > 1 && bytes_per_task > PARALLEL_BYTES / (size_t)tasks;
}

void mglu_cpu_log_plan(const struct mglu_cpu_backend *backend, const mglu_packed_weights *packed,
                       const mglu_layer_desc *desc, const struct mglu_cpu_plan *plan)
{
    char gemm[96], layer[MGLU_LAYER_TEXT_SIZE];

    mglu_cpu_describe_gemm(plan, gemm, sizeof gemm);
    mglu_describe_layer(packed, desc->max_batch, layer);
    backend->host->log(
        backend->host, MGLU_LOG_DEBUG,
        "cpu: %s: kernel %s, %s, weights in place, %d threads, tasks of %d rows, chunks of %d tokens: %s; %s", layer,
        plan->gemv_name, backend->isa->name, (int)backend->host->num_threads, (int)plan->gemv_project.rows,
        (int)plan->chunk_tokens, plan->gemv_reason, gemm);
}
