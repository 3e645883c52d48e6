/* SPDX-License-Identifier: MIT */
#include "folders.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Finite in F32 and in F16, and both signs of logits. */
static const float numbers[64] = {1, -2, 3, -4, 5, -6, 7, 8, -9, 10, -11, 12, 13, -14, 15, -16, 17, -18, 19, 20};

const struct part first_shard[2] = {
    {"m.up_proj.weight", "F32", "2, 3", numbers, 24},
    {"norm", "F32", "3", numbers + 5, 12},
};
const struct part second_shard[2] = {
    {"m.up_proj.mask", "F32", "2, 2, 3", numbers + 3, 48},
    {"m.down_proj.weight", "F32", "3, 2", numbers + 1, 24},
};

static const char good_map[] = "{\"metadata\":{\"total_size\":108},\"weight_map\":{"
                               "\"m.up_proj.weight\":\"a.safetensors\",\"norm\":\"a.safetensors\","
                               "\"m.up_proj.mask\":\"b.safetensors\",\"m.down_proj.weight\":\"b.safetensors\"}}";

const char *scratch_folder(void)
{
    static char path[600];

    snprintf(path, sizeof path, "%s", scratch(""));
    path[strlen(path) - 1] = '\0';
    return path;
}

void write_text(const char *name, const char *text)
{
    write_bytes(scratch(name), text, strlen(text));
}

void write_shards(void)
{
    write_parts(scratch("a.safetensors"), "{\"format\":\"pt\",\"mglu.activation\":\"silu\"}", first_shard,
                COUNT(first_shard));
    write_parts(scratch("b.safetensors"), "{\"format\":\"pt\",\"note\":\"of b\"}", second_shard, COUNT(second_shard));
    write_text(INDEX, good_map);
}

void write_whole(const char *path)
{
    struct part all[4];

    memcpy(all, first_shard, sizeof first_shard);
    memcpy(all + 2, second_shard, sizeof second_shard);
    write_parts(path, "{\"mglu.activation\":\"silu\"}", all, COUNT(all));
}

int make_folders(void **state)
{
    int made = make_scratch(state);

    return made == 0 ? mkdir(scratch("out"), 0777) : made;
}

int remove_folders(void **state)
{
    static const char *const names[] = {"model.safetensors",
                                        INDEX,
                                        "a.safetensors",
                                        "b.safetensors",
                                        "model-00001-of-00004.safetensors",
                                        "model-00002-of-00004.safetensors",
                                        "model-00003-of-00004.safetensors",
                                        "model-00004-of-00004.safetensors"};
    char path[64];

    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof path, "out/%s", names[i]);
        remove(scratch(path));
    }
    return remove_scratch(state);
}

mglu_file *open_folder(const char *path, uint32_t flags)
{
    mglu_file *file;

    assert_ok(mglu_file_open_folder(path, flags, &file));
    return file;
}

void assert_same_tensors(const mglu_file *got, const mglu_file *want)
{
    assert_int_equal(mglu_file_tensor_count(got), mglu_file_tensor_count(want));
    for (size_t i = 0; i < mglu_file_tensor_count(want); i++) {
        const mglu_file_tensor *a = mglu_file_tensor_at(want, i), *b = mglu_file_find(got, a->name);
        unsigned char *bytes = malloc(a->bytes + 1);

        assert_non_null(b);
        assert_int_equal(b->dtype, a->dtype);
        assert_int_equal(b->rank, a->rank);
        assert_memory_equal(b->shape, a->shape, (size_t)a->rank * sizeof *a->shape);
        assert_int_equal(b->bytes, a->bytes);
        assert_ok(mglu_file_read(got, b, 0, bytes, b->bytes));
        assert_memory_equal(bytes, a->data, a->bytes);
        free(bytes);
    }
}
