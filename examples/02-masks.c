/* SPDX-License-Identifier: MIT */
/*
 * Masks in the forms that the library reads. Training has a logit for each weight and mask, and the mask is logit > 0;
 * other programs have bytes, or bits. All are packed to the same words, of which the layer is made. It has two masks,
 * and its y is compared with the formula.
 *
 *     cc 02-masks.c -o 02-masks $(pkg-config --cflags --libs mglu) -lm
 *
 * It prints:
 *     row 0: mask 0 = 1010, mask 1 = 0011
 *     row 1: mask 0 = 0110, mask 1 = 1000
 *     logits, bytes and bits give the same words
 *     y       = -26.9205 17.8608
 *     formula = -26.9205 17.8608
 */
#include <math.h>
#include <mglu/mglu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 4, INTERMEDIATE = 2, MASKS = 2, WORDS = INTERMEDIATE * MASKS };

static const float weight[INTERMEDIATE][HIDDEN] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
static const float x[HIDDEN] = {0.5f, -1, 2, -0.25f};

/* All masks of the first row, then of the second, and so on: [mask][row][column]. */
static const float logits[MASKS][INTERMEDIATE][HIDDEN] = {{{0.3f, -2, 1, -1}, {-1, 4, 0.1f, 0}},
                                                          {{-1, -0.5f, 2, 3}, {1, -3, -2, -0.1f}}};
static const uint8_t bytes[MASKS][INTERMEDIATE][HIDDEN] = {{{1, 0, 1, 0}, {0, 1, 1, 0}}, {{0, 0, 1, 1}, {1, 0, 0, 0}}};
static const uint8_t bits[MASKS][INTERMEDIATE][1] = {{{0x5}, {0x6}}, {{0xC}, {0x1}}}; /* column 0 is the lowest bit */

/** Ends the program where a call failed. */
static void require(mglu_status status)
{
    if (status == MGLU_OK)
        return;
    fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    exit(1);
}

static void pack(const void *data, mglu_mask_form form, uint32_t words[WORDS])
{
    const mglu_mask_array source = {.data = data, .form = form};
    require(mglu_pack_masks(&source, MASKS, INTERMEDIATE, HIDDEN, words));
}

static int mask_at(const uint32_t *words, int mask, int row, int column)
{
    const size_t offset = mglu_packed_mask_offset(MASKS, HIDDEN, row, column, mask);
    return words[offset / sizeof *words] >> column % 32 & 1;
}

static void print_masks(const uint32_t *words)
{
    for (int row = 0; row < INTERMEDIATE; row++) {
        printf("row %d:", row);
        for (int mask = 0; mask < MASKS; mask++) {
            printf("%s mask %d = ", mask ? "," : "", mask);
            for (int column = 0; column < HIDDEN; column++)
                printf("%d", mask_at(words, mask, row, column));
        }
        printf("\n");
    }
}

/** One element of y: the sum over all masks of silu(gate) * value. */
static double formula(int row)
{
    double y = 0;
    for (int mask = 0; mask < MASKS; mask++) {
        double gate = 0, value = 0;
        for (int column = 0; column < HIDDEN; column++)
            *(bytes[mask][row][column] ? &gate : &value) += weight[row][column] * x[column];
        y += gate / (1 + exp(-gate)) * value;
    }
    return y;
}

static void forward(const uint32_t *words, float y[INTERMEDIATE])
{
    mglu_context *context;
    mglu_device *device;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
    const mglu_weights_desc weights_desc = {.struct_size = sizeof weights_desc,
                                            .hidden_size = HIDDEN,
                                            .intermediate_size = INTERMEDIATE,
                                            .n_masks = MASKS,
                                            .weight = {.data = weight, .dtype = MGLU_DTYPE_F32},
                                            .masks = {.data = words, .form = MGLU_MASK_WORDS}};
    const mglu_layer_desc layer_desc = {.struct_size = sizeof layer_desc, .max_batch = 1};
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x, .y.data = y};

    require(mglu_context_create(NULL, &context));
    require(mglu_device_pick(context, "host", &device));
    require(mglu_weights_create(device, &weights_desc, &weights));
    require(mglu_layer_create(weights, &layer_desc, &layer));
    require(mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace));
    args.workspace = mglu_memory_data(workspace);
    args.workspace_size = mglu_memory_size(workspace);
    require(mglu_forward(layer, NULL, &args));
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    mglu_context_destroy(&context);
}

int main(void)
{
    uint32_t words[WORDS], others[WORDS];
    float y[INTERMEDIATE];

    pack(logits, MGLU_MASK_LOGITS_F32, words);
    print_masks(words);
    pack(bytes, MGLU_MASK_BYTES, others);
    int is_same = memcmp(words, others, sizeof words) == 0;
    pack(bits, MGLU_MASK_BITS, others);
    is_same &= memcmp(words, others, sizeof words) == 0;
    printf("logits, bytes and bits give %s words\n", is_same ? "the same" : "different");

    forward(words, y);
    printf("y       = %.4f %.4f\n", (double)y[0], (double)y[1]);
    printf("formula = %.4f %.4f\n", formula(0), formula(1));
    return 0;
}
