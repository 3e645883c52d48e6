/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_H
#define MGLU_CPU_H

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/kernels/train.h"

#include <mglu/backend.h>

#include <stdatomic.h>

/* The CPU backend: one set of kernels per instruction set, on the packed weights in place. */

/* kernels/isa.c: an instruction set with compiled kernels. */
struct mglu_cpu_isa {
    const char *name;
    int (*is_available)(void);     /* on this machine */
    mglu_cpu_gemv_fn *const *gemv; /* for each dtype of weights */
    const struct mglu_cpu_gemm_kernels *gemm;
    const struct mglu_cpu_elementwise *elementwise;
    const struct mglu_cpu_int8 *int8;                         /* NULL: none */
    const struct mglu_cpu_gemm_int8_kernels *gemm_int8;       /* of that x; NULL: none */
    const struct mglu_cpu_packed_gemm_int8 *gemm_int8_packed; /* NULL: none */
    int32_t f32_after_int8; /* where gemm_int8 has no kernel, smallest batch that `gemm` computes faster; 0: none */
    mglu_cpu_gemv_fn *const *gemv_pairs;            /* for each dtype, for several masks; NULL: none */
    mglu_cpu_gemv_fn *const *gemv_lookup;           /* for each dtype, for many masks; NULL: none */
    mglu_cpu_gemv_fn *gemv_bf16;                    /* on x in bf16; NULL: none */
    const struct mglu_cpu_gemv_tokens *gemv_tokens; /* NULL: none */
    const struct mglu_cpu_gemv_tokens *gemv_fused;  /* NULL: none */
    mglu_cpu_gemm_fn *gemm_bf16;
    const struct mglu_cpu_tiles *gemm_tiles;       /* on weights and x in bf16; NULL: none */
    const struct mglu_cpu_split_tiles *gemm_split; /* on others; NULL: none */
    const struct mglu_cpu_train_blocks *train_blocks;
    const struct mglu_cpu_train_gates *train_gates;
    const struct mglu_cpu_train_panels *train_f32;
    const struct mglu_cpu_train_panels *train_bf16;  /* NULL: bf16 is converted to f32 */
    const struct mglu_cpu_train_panels *train_tiles; /* of bf16, where tiles may be used; NULL: none */
};

/* kernels/machine.c: what is fastest on this processor, beyond its instruction set. */
struct mglu_cpu_machine {
    struct mglu_cpu_streams streams;
    int bf16_dot_is_fast; /* a vdpbf16ps takes no longer than two multiply-adds of f32 */
};

const struct mglu_cpu_machine *mglu_cpu_this_machine(void);

/*
 * In ascending order of speed. Each includes the ones before it, except that machines with avx512 may lack avx2-vnni.
 * The last has no name. This is the only list of instruction sets: all other code reads that of the device
 * (mglu_device_info.instruction_sets).
 */
enum { MGLU_CPU_MAX_ISAS = 15 };

extern const struct mglu_cpu_isa mglu_cpu_isas[];

/*
 * kernels/tiles.c: tiles (Intel AMX) with products of bf16 and of int8. A layer, or training, that would use them must
 * first ask, and use other kernels where it may not. The answer is the same for the life of the process.
 */
int mglu_cpu_has_tiles(void);     /* unless it asked and was refused; has no effects */
int mglu_cpu_may_use_tiles(void); /* asks the system */

struct mglu_cpu_backend {
    const mglu_host *host;
    const struct mglu_cpu_isa *isa;
    uint64_t memory_bytes;
    char name[64];
    char details[64];
    const char *instruction_sets[MGLU_CPU_MAX_ISAS + 1];
};

struct mglu_cpu_queue {
    atomic_int bad_routing; /* sticky until the next wait */
};

struct mglu_cpu_weights {
    mglu_packed_weights packed;
    struct mglu_cpu_matrix weight; /* with the masks; plain: the gate's */
    struct mglu_cpu_matrix value;  /* plain only */
    struct mglu_cpu_matrix router; /* f32 */
    struct mglu_cpu_matrix down;
};

/* The division of rows into tasks. */
struct mglu_cpu_tasks {
    int64_t rows; /* per task */
    int64_t count;
    size_t bytes; /* read by a task for one token */
};

/* The batches that use GEMM. */
struct mglu_cpu_gemm_batches {
    int64_t least;              /* INT64_MAX: none */
    int32_t most_partly_filled; /* up to it, not those with few tokens in their last block; 0: all */
};

/* plan.c: how a layer is computed, determined when it is created. */
struct mglu_cpu_plan {
    int32_t terms; /* summed per token: n_m, top_k, or 1 when plain */
    int use_bf16;  /* GEMM of the projection takes x in bf16 */
    int gemv_bf16; /* GEMV of the projection does too */
    int use_int8;  /* x and z are quantised to 8 bits where they can be */
    mglu_cpu_gemv_fn *project_gemv, *down_gemv;
    const struct mglu_cpu_gemv_tokens *project_tokens, *down_tokens; /* for several; NULL: each is summed alone */
    const struct mglu_cpu_gemv_tokens *project_fused, *down_fused;   /* in their place in larger batches; NULL: none */
    mglu_cpu_gemm_fn *project_gemm, *down_gemm; /* NULL: batches are computed one token after the other */
    mglu_cpu_gemm_int8_fn *gemm_int8;           /* of both, in place of these; NULL: none */
    mglu_cpu_gemm_int8_fn *gemm_int8_packed;    /* of both, where x is packed; NULL: none */
    int uses_tiles;                             /* project_gemm does */
    int32_t parts_of_x, parts_of_z;             /* of bf16, into which GEMM splits them; 0: it does not */
    mglu_cpu_pack_x_fn *pack_x, *pack_z;        /* NULL: integers are multiplied, and not packed */
    int32_t block_tokens;                       /* of packed x; else 1 */
    int32_t least_blocks;                       /* of integers, for which packing is faster */
    int64_t project_words, down_words;          /* of 32 bits, of a token's packed x and z */
    int32_t routed_masks;                       /* with lists of tokens of their own; 0: each token uses them all */
    struct mglu_cpu_gemm_batches project_batches, down_batches;
    int32_t tile_rows;    /* of GEMM */
    int32_t chunk_tokens; /* at most */
    int32_t int8_tokens;  /* per call of an int8 kernel of the projection, at most */
    struct mglu_cpu_tasks gemv_project, gemv_down, gemm_project, gemm_down;
    const char *gemv_name, *gemv_reason;
    const char *no_gemm_reason; /* NULL: GEMM is used */
};

/* Offsets in bytes of one token's data in the workspace. */
struct mglu_cpu_workspace_layout {
    size_t x, x_bf16, quantised_x, mask_ids, p, z, quantised_z;
    size_t size;
};

/* The buffers for GEMM's sums in the workspace of a forward, behind its tokens; then packed x, and later packed z. */
struct mglu_cpu_sum_buffers {
    size_t offset;
    int32_t count;
    size_t bytes;  /* of each */
    size_t packed; /* offset */
    size_t size;   /* of the workspace */
};

struct mglu_cpu_layer {
    const struct mglu_cpu_backend *backend;
    const struct mglu_cpu_weights *weights;
    mglu_layer_desc desc;
    struct mglu_cpu_plan plan;
    struct mglu_cpu_workspace_layout layout;
};

/* One token's part of the workspace. */
struct mglu_cpu_token_workspace {
    float *x;         /* [h_pad], padded with zeros like all rows here; where only x_bf16 is used, for a router alone */
    uint16_t *x_bf16; /* [h_pad], with gemv_bf16 or use_bf16 */
    void *quantised_x; /* input of the int8 kernels, with use_int8 */
    int32_t *mask_ids; /* [terms], in the order of the sum */
    float *p;          /* [terms] */
    float *z;          /* [d_pad], with a down-projection */
    void *quantised_z; /* with both */
};

/*
 * Sums of a row in a chunk of GEMM, one per token and one per token and mask: enough for 64 tokens with 8 masks. Those
 * of a block of rows are in the workspace, where each task that runs takes a buffer of up to 82 KiB, since the stack of
 * a task has a panel of 16 KiB already; with more tasks at a time, some wait.
 */
enum { MGLU_CPU_MOST_POSITIONS = 640, MGLU_CPU_MOST_SUM_BUFFERS = 64 };

/*
 * The tokens that use each mask, in a chunk of GEMM. Each sum of a token has a position: list 0 has the total of each
 * token, list 1 + i the gates of mask i, one for each token that uses it. A plain layer's second list has the values.
 */
struct mglu_cpu_tokens_by_mask {
    int32_t count;
    int32_t first[MGLU_MAX_MASKS + 2]; /* list k: positions first[k] to first[k + 1] - 1 */
    int32_t tokens[MGLU_CPU_MOST_POSITIONS];
    float p[MGLU_CPU_MOST_POSITIONS];           /* weights of the gates; undefined for totals */
    int32_t positions[MGLU_CPU_MOST_POSITIONS]; /* [token][term] */
    int32_t first_block[MGLU_MAX_MASKS + 2];    /* of packed x, as `first`; lists of all tokens share those of list 0 */
    int32_t packed_lists;                       /* that have blocks of their own; 0: x is not packed */
};

/* The terms of the sum over masks for a block of rows, [term][row]. */
struct mglu_cpu_block {
    int64_t row;
    int32_t rows;
    float gates[MGLU_MAX_MASKS][MGLU_CPU_BLOCK_ROWS];
    float values[MGLU_MAX_MASKS][MGLU_CPU_BLOCK_ROWS];
};

/* What GEMM multiplies, x or z, before it is packed. */
struct mglu_cpu_unpacked {
    mglu_cpu_pack_x_fn *pack;
    const void *x; /* of token 0 */
    int64_t words; /* of 32 bits, of a token */
};

/* A forward computes its tokens in chunks, so that the workspace is bounded and weights are read once per chunk. */
struct mglu_cpu_chunk {
    const struct mglu_cpu_layer *layer;
    const mglu_forward_args *args;
    struct mglu_cpu_queue *queue;
    int64_t first_token;
    int32_t tokens;
    struct mglu_cpu_sum_buffers sum_buffers;
    const struct mglu_cpu_tokens_by_mask *by_mask; /* of GEMM */
    struct mglu_cpu_unpacked unpacked;             /* of GEMM */
    _Atomic uint64_t *taken_buffers;               /* of GEMM: bit i for sum buffer i */
};

static inline void *mglu_cpu_allocate(const mglu_host *host, size_t size)
{
    return host->allocator.allocate(host->allocator.user, size, _Alignof(max_align_t));
}

static inline void mglu_cpu_release(const mglu_host *host, void *memory, size_t size)
{
    host->allocator.release(host->allocator.user, memory, size, _Alignof(max_align_t));
}

/* Appends `bytes` to a workspace of `*size` bytes, whose parts are aligned, and returns their offset. */
static inline size_t mglu_cpu_reserve(size_t *size, size_t bytes)
{
    enum { ALIGNMENT = 64 };
    const size_t offset = *size;

    *size += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return offset;
}

/* Address of element [row][column] of an input or output. */
static inline char *mglu_cpu_element(const void *data, size_t byte_offset, int64_t row_stride, int64_t row,
                                     int64_t column, size_t element_bytes)
{
    return (char *)((uintptr_t)data + byte_offset + (size_t)(row * row_stride + column) * element_bytes);
}

/* device.c */
mglu_status mglu_cpu_open(const mglu_host *host, void **backend);
void mglu_cpu_close(void *backend);
int32_t mglu_cpu_device_count(void *backend);
mglu_status mglu_cpu_device_info(void *backend, int32_t ordinal, mglu_backend_device *info);
mglu_status mglu_cpu_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue);
mglu_status mglu_cpu_queue_wait(void *backend, void *queue);
mglu_status mglu_cpu_queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user);
void mglu_cpu_queue_destroy(void *backend, void *queue);

/* weights.c */
mglu_status mglu_cpu_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights);
void mglu_cpu_weights_destroy(void *backend, void *weights);
uint64_t mglu_cpu_weights_bytes(void *backend, const void *weights);

/* layer.c */
mglu_status mglu_cpu_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan);
mglu_status mglu_cpu_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                  void **layer);
void mglu_cpu_layer_destroy(void *backend, void *layer);
mglu_accuracy mglu_cpu_layer_accuracy(void *backend, const void *layer);

static inline int mglu_cpu_is_reproducible(const mglu_layer_desc *desc)
{
    return (desc->flags & MGLU_LAYER_REPRODUCIBLE) != 0;
}

/* plan.c */
struct mglu_cpu_plan mglu_cpu_make_plan(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                                        const mglu_layer_desc *desc);
int mglu_cpu_takes_bf16(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed, const mglu_layer_desc *desc);
int32_t mglu_cpu_next_chunk(const struct mglu_cpu_plan *plan, int64_t left);
int mglu_cpu_is_worth_threads(int64_t tasks, size_t bytes_per_task);
void mglu_cpu_log_plan(const struct mglu_cpu_backend *backend, const mglu_packed_weights *packed,
                       const mglu_layer_desc *desc, const struct mglu_cpu_plan *plan);

/* plan_gemm.c */
void mglu_cpu_select_gemm(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                          const mglu_layer_desc *desc, struct mglu_cpu_plan *plan);
int mglu_cpu_uses_gemm(const struct mglu_cpu_plan *plan, const struct mglu_cpu_gemm_batches *batches, int64_t batch);
int mglu_cpu_packs_blocks(const struct mglu_cpu_plan *plan, int32_t terms, int32_t lists, int32_t tokens,
                          int32_t blocks);
void mglu_cpu_describe_gemm(const struct mglu_cpu_plan *plan, char *text, size_t size);

/* plan_tiles.c */
void mglu_cpu_select_tiles(const struct mglu_cpu_isa *isa, const mglu_packed_weights *packed,
                           const mglu_layer_desc *desc, struct mglu_cpu_plan *plan);

/* workspace.c */
struct mglu_cpu_workspace_layout mglu_cpu_lay_out_workspace(const mglu_packed_weights *packed,
                                                            const struct mglu_cpu_plan *plan);
struct mglu_cpu_sum_buffers mglu_cpu_lay_out_sums(const struct mglu_cpu_plan *plan,
                                                  const struct mglu_cpu_workspace_layout *layout, int64_t batch);
size_t mglu_cpu_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch);
struct mglu_cpu_token_workspace mglu_cpu_token_workspace(const struct mglu_cpu_chunk *chunk, int64_t token);
float *mglu_cpu_sum_buffer(const struct mglu_cpu_chunk *chunk, int32_t index);
size_t mglu_cpu_packed_block_bytes(const struct mglu_cpu_chunk *chunk);
float *mglu_cpu_packed_block(const struct mglu_cpu_chunk *chunk, int32_t block);

/* parallel.c */
void mglu_cpu_run_tasks(const mglu_parallel *parallel, int64_t count, int use_threads,
                        void (*body)(void *argument, int64_t index), void *argument);
void mglu_cpu_parallel(const struct mglu_cpu_chunk *chunk, int64_t count, size_t bytes_per_task,
                       void (*body)(const struct mglu_cpu_chunk *chunk, int64_t index));

/* kernels/routing.c */
void mglu_cpu_route(const struct mglu_cpu_chunk *chunk, int64_t token);
void mglu_cpu_route_by_logits(const float *logits, int32_t n_masks, int32_t terms, int32_t *mask_ids, float *p);

/* gemv.c: the projections of a chunk, token by token. The block functions return the number of tokens computed. */
void mglu_cpu_project_by_gemv(const struct mglu_cpu_chunk *chunk);
void mglu_cpu_down_by_gemv(const struct mglu_cpu_chunk *chunk);
int32_t mglu_cpu_project_block(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows);
int32_t mglu_cpu_down_block(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows);

/* gemv_tokens.c: the same for several tokens at once. */
int32_t mglu_cpu_project_tokens(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows);
int32_t mglu_cpu_down_tokens(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows);

/* gemm_mend.c: sums of GEMM that are not finite, in the rows from `row` on whose bits are set. */
void mglu_cpu_mend_sums(const struct mglu_cpu_chunk *chunk, int64_t row, uint32_t rows, float *sums);
void mglu_cpu_mend_down(const struct mglu_cpu_chunk *chunk, int64_t row, uint32_t rows, float *sums);

/* gemv_int8.c: the same for tokens whose x or z is quantised. Where the layer has no int8 kernels, none is quantised.
 */
void mglu_cpu_quantise_x(const struct mglu_cpu_chunk *chunk);
void mglu_cpu_quantise_z(const struct mglu_cpu_chunk *chunk);
int32_t mglu_cpu_project_int8(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows);
int32_t mglu_cpu_down_int8(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows);

/* gemm.c: the projections of a chunk, all tokens at once. */
void mglu_cpu_project_by_gemm(struct mglu_cpu_chunk *chunk);
void mglu_cpu_down_by_gemm(struct mglu_cpu_chunk *chunk);

/* gemm_int8.c: all sums of a block of rows for tokens whose x or z is quantised. */
void mglu_cpu_project_sums_int8(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums);
void mglu_cpu_down_sums_int8(const struct mglu_cpu_chunk *chunk, int64_t row, int32_t rows, float *sums);

/* epilogue.c: from sums to z and y. */
void mglu_cpu_begin_block(const struct mglu_cpu_layer *layer, int64_t row, int32_t rows, struct mglu_cpu_block *block);
void mglu_cpu_split_totals(const struct mglu_cpu_layer *layer, const float *totals, struct mglu_cpu_block *block);
void mglu_cpu_finish_rows(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows, float *z);
void mglu_cpu_finish_block(const struct mglu_cpu_chunk *chunk, int64_t token, struct mglu_cpu_block *block);
void mglu_cpu_finish_down(const struct mglu_cpu_chunk *chunk, int64_t token, int64_t row, int32_t rows, float *values);

/* forward.c */
mglu_status mglu_cpu_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args);

#endif
