/* SPDX-License-Identifier: MIT */
#include "folders.h"

#include <unistd.h>

/* Models in shards that are read, and faults of their index. */

static void shards_are_read_as_one_file(void **state)
{
    static const uint32_t flags[] = {0, MGLU_FILE_MMAP, MGLU_FILE_HEADER};
    mglu_file *want;

    write_shards();
    write_whole(scratch("whole"));
    assert_ok(mglu_file_open(scratch("whole"), 0, &want));
    for (size_t i = 0; i < COUNT(flags); i++) {
        mglu_file *got = open_folder(scratch_folder(), flags[i]);
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc layer = {.struct_size = sizeof layer};

        assert_same_tensors(got, want);
        assert_string_equal(mglu_file_metadata(got, "mglu.activation"), "silu");
        assert_string_equal(mglu_file_metadata(got, "note"), "of b");
        assert_string_equal(mglu_file_metadata(got, "format"), "pt");
        assert_string_equal(mglu_file_layer_at(got, 0), "m.up_proj");
        assert_ok(mglu_file_layer(got, "m", &weights, &layer, NULL));
        assert_int_equal(weights.n_masks, 2);
        assert_int_equal(weights.output_size, 3);
        mglu_file_close(&got);
    }
    mglu_file_close(&want);
}

static void model_safetensors_is_read_before_an_index(void **state)
{
    mglu_file *file;

    assert_status(mglu_file_open_folder(scratch_folder(), 0, &file), MGLU_ERROR_IO);
    assert_error_says("has neither model.safetensors nor model.safetensors.index.json");
    write_text(INDEX, "not read");
    write_whole(scratch("model.safetensors"));
    file = open_folder(scratch_folder(), 0);
    assert_int_equal(mglu_file_tensor_count(file), 4);
    assert_non_null(strstr(mglu_file_path(file), "/model.safetensors"));
    mglu_file_close(&file);
}

static void parts_of_tensors_are_read(void **state)
{
    const mglu_file_tensor other = {.name = "absent"};
    const mglu_file_tensor *mask;
    mglu_file *file;
    float got[2];

    write_shards();
    file = open_folder(scratch_folder(), MGLU_FILE_HEADER);
    mask = mglu_file_find(file, "m.up_proj.mask");
    assert_null(mask->data);
    assert_ok(mglu_file_read(file, mask, 40, got, 8));
    assert_memory_equal(got, (const char *)second_shard[0].data + 40, 8);
    assert_ok(mglu_file_read(file, mask, 48, NULL, 0));
    assert_status(mglu_file_read(file, mask, 41, got, 8), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("8 bytes from byte 41 on are to be read, it has 48");
    assert_status(mglu_file_read(file, mask, 49, got, 0), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_read(file, &other, 0, got, 0), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_read(file, NULL, 0, got, 0), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_read(NULL, mask, 0, got, 0), MGLU_ERROR_INVALID_ARGUMENT);
    assert_int_equal(truncate(scratch("b.safetensors"), 100), 0);
    assert_status(mglu_file_read(file, mask, 0, got, 8), MGLU_ERROR_CORRUPT_FILE);
    assert_error_says("truncated while it was read");
    mglu_file_close(&file);
}

#define MAP(inside) "{\"weight_map\":{" inside "}}"
#define A_MAP       "\"m.up_proj.weight\":\"a.safetensors\",\"norm\":\"a.safetensors\""
#define B_MAP       "\"m.up_proj.mask\":\"b.safetensors\",\"m.down_proj.weight\":\"b.safetensors\""

static void faults_of_an_index_are_named(void **state)
{
    static const struct {
        const char *index;
        mglu_status status;
        const char *says;
    } cases[] = {
        {"", MGLU_ERROR_CORRUPT_FILE, "byte 0: "},
        {"[]", MGLU_ERROR_CORRUPT_FILE, "not a JSON object"},
        {"{}", MGLU_ERROR_CORRUPT_FILE, "has no weight_map, or an empty one"},
        {MAP(""), MGLU_ERROR_CORRUPT_FILE, "has no weight_map, or an empty one"},
        {"{\"weight_map\":[]}", MGLU_ERROR_CORRUPT_FILE, "weight_map is not an object"},
        {"{\"weight_map\":{" A_MAP "},\"weight_map\":{" B_MAP "}}", MGLU_ERROR_CORRUPT_FILE,
         "weight_map appears twice"},
        {MAP(A_MAP "," B_MAP) "x", MGLU_ERROR_CORRUPT_FILE, INDEX ": byte 144: "},
        {MAP(A_MAP "," B_MAP ","), MGLU_ERROR_CORRUPT_FILE, INDEX ": byte 143: "},
        {MAP("\"norm\":3"), MGLU_ERROR_CORRUPT_FILE, "tensor 'norm': its shard is not a string"},
        {MAP("\"norm\":\"../a.safetensors\""), MGLU_ERROR_CORRUPT_FILE,
         "tensor 'norm': its shard is '../a.safetensors'"},
        {MAP("\"norm\":\"/etc/passwd\""), MGLU_ERROR_CORRUPT_FILE, "expected the name of a file in the same folder"},
        {MAP("\"norm\":\"..\""), MGLU_ERROR_CORRUPT_FILE, "its shard is '..'"},
        {MAP("\"norm\":\"\""), MGLU_ERROR_CORRUPT_FILE, "its shard is ''"},
        {MAP(A_MAP "," B_MAP ",\"norm\":\"a.safetensors\""), MGLU_ERROR_CORRUPT_FILE, "tensor 'norm': appears twice"},
        {MAP(A_MAP "," B_MAP ",\"x\":\"c.safetensors\""), MGLU_ERROR_IO, "shard 'c.safetensors': is not in the folder"},
        {MAP(A_MAP ",\"m.up_proj.mask\":\"b.safetensors\""), MGLU_ERROR_CORRUPT_FILE,
         "tensor 'm.down_proj.weight': is in shard 'b.safetensors', but not in the index"},
        {MAP(A_MAP "," B_MAP ",\"x\":\"b.safetensors\""), MGLU_ERROR_CORRUPT_FILE,
         "tensor 'x': is not in shard 'b.safetensors', where the index has it"},
        {MAP("\"m.up_proj.weight\":\"a.safetensors\",\"norm\":\"b.safetensors\"," B_MAP), MGLU_ERROR_CORRUPT_FILE,
         "tensor 'norm': is in shard 'a.safetensors', but in 'b.safetensors' by the index"},
        {MAP("\"norm\":\"" INDEX "\""), MGLU_ERROR_CORRUPT_FILE, "an index of shards, not a model"},
    };
    mglu_file *file;

    write_shards();
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_text(INDEX, cases[i].index);
        assert_status(mglu_file_open_folder(scratch_folder(), 0, &file), cases[i].status);
        assert_null(file);
        assert_error_says(cases[i].says);
    }
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    mglu_file *file;

    write_shards();
    write_parts(scratch("b.safetensors"), NULL, (const struct part[]){second_shard[0], second_shard[1], first_shard[1]},
                3);
    assert_status(mglu_file_open_folder(scratch_folder(), 0, &file), MGLU_ERROR_CORRUPT_FILE);
    assert_error_says("tensor 'norm': is in shard 'b.safetensors', but in 'a.safetensors' by the index");
}

static void shards_must_agree_on_what_layers_compute(void **state)
{
    static const struct {
        const char *metadata, *says; /* NULL: accepted */
    } cases[] = {
        {"{\"mglu.activation\":\"silu\",\"mglu.producer\":\"another\",\"format\":\"np\"}", NULL},
        {"{\"mglu.activation\":\"relu\"}", "metadata 'mglu.activation' is '"},
        {"{\"mglu.version\":\"2\",\"mglu.activation\":\"silu\"}", NULL},
    };
    mglu_file *file;

    write_shards();
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_parts(scratch("b.safetensors"), cases[i].metadata, second_shard, COUNT(second_shard));
        if (!cases[i].says) {
            file = open_folder(scratch_folder(), 0);
            mglu_file_close(&file);
            continue;
        }
        assert_status(mglu_file_open_folder(scratch_folder(), 0, &file), MGLU_ERROR_CORRUPT_FILE);
        assert_error_says(cases[i].says);
    }
}

static void arguments_are_checked(void **state)
{
    mglu_file_pack_options options = {.struct_size = sizeof options, .format = MGLU_FILE_FORMAT_GGUF};
    mglu_file *file;

    assert_status(mglu_file_open_folder(NULL, 0, &file), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_open_folder("x", 0, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_open_folder("x", 0x20, &file), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_pack_folder(NULL, "x", NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_pack_folder("x", NULL, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_pack_folder("x", "x", &options), MGLU_ERROR_INVALID_ARGUMENT);
    options = (mglu_file_pack_options){.struct_size = sizeof options, .shard_size = 1};
    assert_status(mglu_file_pack("x", scratch("y"), &options), MGLU_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
#define IN_FOLDERS(test) cmocka_unit_test_setup_teardown(test, make_folders, remove_folders)
    const struct CMUnitTest tests[] = {
        IN_FOLDERS(shards_are_read_as_one_file),
        IN_FOLDERS(model_safetensors_is_read_before_an_index),
        IN_FOLDERS(parts_of_tensors_are_read),
        IN_FOLDERS(faults_of_an_index_are_named),
        IN_FOLDERS(a_tensor_in_two_shards_is_refused),
        IN_FOLDERS(shards_must_agree_on_what_layers_compute),
        IN_FOLDERS(arguments_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
