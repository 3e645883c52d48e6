/* SPDX-License-Identifier: MIT */
#include "folders.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Models in shards that packing writes, and what it leaves where it fails. */

/* Tensors that packing makes of the same ones in one file. */
static mglu_file *pack_whole(const mglu_file_pack_options *options)
{
    mglu_file *want;

    write_whole(scratch("whole"));
    assert_ok(mglu_file_pack(scratch("whole"), scratch("packed"), options));
    assert_ok(mglu_file_open(scratch("packed"), 0, &want));
    return want;
}

static void packed_shards_have_the_tensors_of_a_packed_file(void **state)
{
    static const struct {
        uint64_t shard_size;
        const char *files[4]; /* of the output; an index is one more */
        int indexed;
    } cases[] = {
        {0, {"a.safetensors", "b.safetensors"}, 1},
        {1 << 20, {"model.safetensors"}, 0},
        {24,
         {"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors",
          "model-00004-of-00004.safetensors"},
         1},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file_pack_options options = {.struct_size = sizeof options};
        mglu_file *want, *got;
        char path[64];

        write_shards();
        want = pack_whole(&options);
        options.shard_size = cases[i].shard_size;
        assert_ok(mglu_file_pack_folder(scratch_folder(), scratch("out"), &options));
        got = open_folder(scratch("out"), 0);
        assert_same_tensors(got, want);
        assert_string_equal(mglu_file_metadata(got, "mglu.activation"), "silu");
        assert_string_equal(mglu_file_metadata(got, "mglu.version"), "1");
        mglu_file_close(&got);
        mglu_file_close(&want);
        assert_int_equal(access(scratch("out/" INDEX), F_OK) == 0, cases[i].indexed);
        remove(scratch("out/" INDEX));
        for (size_t k = 0; k < COUNT(cases[i].files) && cases[i].files[k]; k++) {
            snprintf(path, sizeof path, "out/%s", cases[i].files[k]);
            assert_int_equal(remove(scratch(path)), 0);
        }
        assert_int_equal(rmdir(scratch("out")), 0); /* nothing else was in it */
        assert_int_equal(mkdir(scratch("out"), 0777), 0);
    }
}

static void the_index_has_the_size_of_all_tensors(void **state)
{
    static const char want[] = "{\n  \"metadata\": {\n    \"total_size\": 76\n  },\n  \"weight_map\": {\n";
    size_t size;
    unsigned char *text;

    write_shards();
    assert_ok(mglu_file_pack_folder(scratch_folder(), scratch("out"), NULL));
    text = read_bytes(scratch("out/" INDEX), &size);
    assert_true(size > sizeof want);
    assert_memory_equal(text, want, sizeof want - 1);
    free(text);
}

static int cancel_late(void *user, size_t done, size_t total)
{
    return done == total;
}

static void failed_packing_leaves_nothing(void **state)
{
    static const float nan_weights[6] = {0, 0, 0.0f / 0.0f};
    mglu_file_pack_options cancelled = {.struct_size = sizeof cancelled, .progress = cancel_late};

    write_shards();
    assert_status(mglu_file_pack_folder(scratch_folder(), scratch("out"), &cancelled), MGLU_ERROR_CANCELLED);
    assert_int_equal(rmdir(scratch("out")), 0);
    assert_status(mglu_file_pack_folder(scratch_folder(), scratch("out"), NULL), MGLU_ERROR_IO);
    assert_int_equal(mkdir(scratch("out"), 0777), 0);
    write_parts(scratch("b.safetensors"), NULL,
                (const struct part[]){second_shard[0], {"m.down_proj.weight", "F32", "3, 2", nan_weights, 24}}, 2);
    assert_status(mglu_file_pack_folder(scratch_folder(), scratch("out"), NULL), MGLU_ERROR_NONFINITE);
    assert_error_says("tensor 'm.down_proj.weight': element [1, 0] is not finite");
    assert_int_equal(rmdir(scratch("out")), 0);
}

/* Puts a folder in the place of a shard, so that it can't be replaced. */
static int move_a_shard(void *user, size_t done, size_t total)
{
    if (done == total && access(scratch("kept"), F_OK) != 0) {
        assert_int_equal(rename(scratch("out/b.safetensors"), scratch("kept")), 0);
        assert_int_equal(mkdir(scratch("out/b.safetensors"), 0777), 0);
    }
    return 0;
}

static void shards_of_two_outputs_have_no_index(void **state)
{
    mglu_file_pack_options options = {.struct_size = sizeof options, .progress = move_a_shard};
    mglu_file *file;

    write_shards();
    assert_ok(mglu_file_pack_folder(scratch_folder(), scratch("out"), NULL));
    assert_status(mglu_file_pack_folder(scratch_folder(), scratch("out"), &options), MGLU_ERROR_IO);
    assert_int_equal(rmdir(scratch("out/b.safetensors")), 0);
    assert_int_equal(rename(scratch("kept"), scratch("out/b.safetensors")), 0);
    assert_status(mglu_file_open_folder(scratch("out"), 0, &file), MGLU_ERROR_IO);
    assert_ok(mglu_file_pack_folder(scratch_folder(), scratch("out"), NULL));
    file = open_folder(scratch("out"), 0);
    mglu_file_close(&file);
}

static void a_model_of_the_other_form_is_not_written_beside(void **state)
{
    mglu_file_pack_options options = {.struct_size = sizeof options};

    write_shards();
    write_text("out/model.safetensors", "older");
    assert_status(mglu_file_pack_folder(scratch_folder(), scratch("out"), NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("out/model.safetensors: is there already");
    remove(scratch("out/model.safetensors"));
    write_text("out/" INDEX, "older");
    options.shard_size = 1 << 20;
    assert_status(mglu_file_pack_folder(scratch_folder(), scratch("out"), &options), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("out/model.safetensors.index.json: is there already");
    options.shard_size = 0; /* the same form replaces it */
    assert_ok(mglu_file_pack_folder(scratch_folder(), scratch("out"), &options));
    assert_ok(mglu_file_pack_folder(scratch("out"), scratch("out"), &options));
}

int main(void)
{
#define IN_FOLDERS(test) cmocka_unit_test_setup_teardown(test, make_folders, remove_folders)
    const struct CMUnitTest tests[] = {
        IN_FOLDERS(packed_shards_have_the_tensors_of_a_packed_file),
        IN_FOLDERS(the_index_has_the_size_of_all_tensors),
        IN_FOLDERS(failed_packing_leaves_nothing),
        IN_FOLDERS(shards_of_two_outputs_have_no_index),
        IN_FOLDERS(a_model_of_the_other_form_is_not_written_beside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
