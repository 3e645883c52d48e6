/* SPDX-License-Identifier: MIT */
/*
 * Tensor parallelism over MPI: each rank has a share of the rows of W and of its masks, and the columns of the
 * down-projection that belong to them. What the ranks compute is added by MPI_Allreduce. All ranks map one file, which
 * mglu pack made; but for the comparison at the end, each reads no more of it than its share.
 *
 *     mpicc main.c -o mpi-layer $(pkg-config --cflags --libs mglu-io)
 *     mpirun -n 4 ./mpi-layer packed.safetensors model.layers.0.mlp
 *
 * Every rank compares y with the exact result and its error bound (docs/semantics.md). For the model in
 * tests/data/licence-lm, packed, it prints:
 *     4 ranks, 512 rows, of which rank 0 has 128
 *     y = -1.717 -1.272 -2.263 ...
 *     within the bound on all ranks
 */
#include <math.h>
#include <mglu/io.h>
#include <mglu/mglu.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

/** A share begins at a multiple of this, which mglu_weights_desc_rows() accepts for every dtype. */
enum { GROUP = 32 };

struct share {
    int rank, ranks;
    int64_t first, count;
};

/** Ends all ranks where a call failed on one. */
static void require(mglu_status status)
{
    if (status == MGLU_OK)
        return;
    fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void *allocate(int64_t count, size_t size)
{
    void *memory = calloc((size_t)count + 1, size);
    if (!memory)
        MPI_Abort(MPI_COMM_WORLD, 1);
    return memory;
}

/** Rounded up, so that the first share is never empty. */
static int64_t first_row(int64_t rows, int rank, int ranks)
{
    const int64_t groups = (rows + GROUP - 1) / GROUP, first = (groups * rank + ranks - 1) / ranks * GROUP;
    return first < rows ? first : rows;
}

static struct share share_of_rank(int64_t rows)
{
    struct share share;
    MPI_Comm_rank(MPI_COMM_WORLD, &share.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &share.ranks);
    share.first = first_row(rows, share.rank, share.ranks);
    share.count = first_row(rows, share.rank + 1, share.ranks) - share.first;
    return share;
}

/** y = layer(x) of these weights. */
static void forward(mglu_device *device, const mglu_weights_desc *weights_desc, const mglu_layer_desc *layer_desc,
                    const float *x, float *y)
{
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x, .y.data = y};

    require(mglu_weights_create(device, weights_desc, &weights));
    require(mglu_layer_create(weights, layer_desc, &layer));
    require(mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace));
    args.workspace = mglu_memory_data(workspace);
    args.workspace_size = mglu_memory_size(workspace);
    require(mglu_forward(layer, NULL, &args));
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
}

/** Whether y is within the bound of the whole layer. */
static int is_right(mglu_device *reference, const mglu_weights_desc *all, const mglu_layer_desc *layer_desc,
                    const float *x, const float *y)
{
    double *want = allocate(all->output_size, sizeof *want), *bound = allocate(all->output_size, sizeof *bound);
    const mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x};
    mglu_weights *weights;
    mglu_layer *layer;
    int right = 1;

    require(mglu_weights_create(reference, all, &weights));
    require(mglu_layer_create(weights, layer_desc, &layer));
    require(mglu_forward_reference(layer, &args, MGLU_ACCURACY_A, want, bound));
    for (int64_t i = 0; i < all->output_size; i++)
        right &= fabs((double)y[i] - want[i]) <= bound[i];
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    free(want);
    free(bound);
    return right;
}

static void run(mglu_context *context, const mglu_weights_desc *all, const mglu_layer_desc *layer_desc)
{
    const struct share share = share_of_rank(all->intermediate_size);
    mglu_weights_desc mine = MGLU_WEIGHTS_DESC_INIT;
    float *x = allocate(all->hidden_size, sizeof *x), *y = allocate(all->output_size, sizeof *y);
    mglu_device *device, *reference;

    for (int64_t i = 0; i < all->hidden_size; i++)
        x[i] = (float)(i % 7 - 3);
    require(mglu_weights_desc_rows(all, share.first, share.count, &mine));
    require(mglu_device_pick(context, "host", &device));
    require(mglu_device_pick(context, "ref", &reference));
    forward(device, &mine, layer_desc, x, y);
    MPI_Allreduce(MPI_IN_PLACE, y, (int)all->output_size, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);

    int right = is_right(reference, all, layer_desc, x, y);
    MPI_Allreduce(MPI_IN_PLACE, &right, 1, MPI_INT, MPI_LAND, MPI_COMM_WORLD);
    if (share.rank == 0) {
        printf("%d ranks, %lld rows, of which rank 0 has %lld\n", share.ranks, (long long)all->intermediate_size,
               (long long)share.count);
        printf("y = %.3f %.3f %.3f ...\n", (double)y[0], (double)y[1], (double)y[2]);
        printf("%s the bound on all ranks\n", right ? "within" : "not within");
    }
    free(x);
    free(y);
    if (!right)
        MPI_Abort(MPI_COMM_WORLD, 1);
}

int main(int count, char **arguments)
{
    mglu_weights_desc weights = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer = MGLU_LAYER_DESC_INIT;
    mglu_context *context;
    mglu_file *file;

    MPI_Init(&count, &arguments);
    if (count != 3) {
        fprintf(stderr, "usage: %s FILE LAYER\n", arguments[0]);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    require(mglu_file_open(arguments[1], MGLU_FILE_MMAP, &file));
    require(mglu_file_layer(file, arguments[2], &weights, &layer, NULL));
    if (!weights.down.data) {
        fprintf(stderr, "%s has no down-projection: name a whole block, as model.layers.0.mlp\n", arguments[2]);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    weights.flags |= MGLU_WEIGHTS_BORROW;
    require(mglu_context_create(NULL, &context));
    run(context, &weights, &layer);
    mglu_context_destroy(&context);
    mglu_file_close(&file);
    MPI_Finalize();
    return 0;
}
