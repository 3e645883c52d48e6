/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Folders with a model in shards: one is the scratch folder, another "out" in it. */

#define INDEX "model.safetensors.index.json"

/* Finite in F32 and in F16, and both signs of logits. */
static const float numbers[64] = {1, -2, 3, -4, 5, -6, 7, 8, -9, 10, -11, 12, 13, -14, 15, -16, 17, -18, 19, 20};

static const struct part in_first[] = {
    {"m.up_proj.weight", "F32", "2, 3", numbers, 24},
    {"norm", "F32", "3", numbers + 5, 12},
};
static const struct part in_second[] = {
    {"m.up_proj.mask", "F32", "2, 2, 3", numbers + 3, 48},
    {"m.down_proj.weight", "F32", "3, 2", numbers + 1, 24},
};

static const char good_map[] = "{\"metadata\":{\"total_size\":108},\"weight_map\":{"
                               "\"m.up_proj.weight\":\"a.safetensors\",\"norm\":\"a.safetensors\","
                               "\"m.up_proj.mask\":\"b.safetensors\",\"m.down_proj.weight\":\"b.safetensors\"}}";

static const char *folder(void)
{
    static char path[600];

    snprintf(path, sizeof path, "%s", scratch(""));
    path[strlen(path) - 1] = '\0';
    return path;
}

static void write_text(const char *name, const char *text)
{
    write_bytes(scratch(name), text, strlen(text));
}

static void write_shards(void)
{
    write_parts(scratch("a.safetensors"), "{\"format\":\"pt\",\"mglu.activation\":\"silu\"}", in_first,
                COUNT(in_first));
    write_parts(scratch("b.safetensors"), "{\"format\":\"pt\",\"note\":\"of b\"}", in_second, COUNT(in_second));
    write_text(INDEX, good_map);
}

/* The same tensors in one file. */
static void write_whole(const char *path)
{
    struct part all[4];

    memcpy(all, in_first, sizeof in_first);
    memcpy(all + 2, in_second, sizeof in_second);
    write_parts(path, "{\"mglu.activation\":\"silu\"}", all, COUNT(all));
}

static int make_both(void **state)
{
    int made = make_scratch(state);

    return made == 0 ? mkdir(scratch("out"), 0777) : made;
}

static int remove_both(void **state)
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

static mglu_file *open_ok(const char *path, uint32_t flags)
{
    mglu_file *file;

    assert_ok(mglu_file_open_folder(path, flags, &file));
    return file;
}

/* Both have the same tensors, wherever those are. */
static void assert_same_tensors(const mglu_file *got, const mglu_file *want)
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

static void shards_are_read_as_one_file(void **state)
{
    static const uint32_t flags[] = {0, MGLU_FILE_MMAP, MGLU_FILE_HEADER};
    mglu_file *want;

    write_shards();
    write_whole(scratch("whole"));
    assert_ok(mglu_file_open(scratch("whole"), 0, &want));
    for (size_t i = 0; i < COUNT(flags); i++) {
        mglu_file *got = open_ok(folder(), flags[i]);
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

    assert_status(mglu_file_open_folder(folder(), 0, &file), MGLU_ERROR_IO);
    assert_error_says("has neither model.safetensors nor model.safetensors.index.json");
    write_text(INDEX, "not read");
    write_whole(scratch("model.safetensors"));
    file = open_ok(folder(), 0);
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
    file = open_ok(folder(), MGLU_FILE_HEADER);
    mask = mglu_file_find(file, "m.up_proj.mask");
    assert_null(mask->data);
    assert_ok(mglu_file_read(file, mask, 40, got, 8));
    assert_memory_equal(got, numbers + 13, 8);
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
        assert_status(mglu_file_open_folder(folder(), 0, &file), cases[i].status);
        assert_null(file);
        assert_error_says(cases[i].says);
    }
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    mglu_file *file;

    write_shards();
    write_parts(scratch("b.safetensors"), NULL, (const struct part[]){in_second[0], in_second[1], in_first[1]}, 3);
    assert_status(mglu_file_open_folder(folder(), 0, &file), MGLU_ERROR_CORRUPT_FILE);
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
        write_parts(scratch("b.safetensors"), cases[i].metadata, in_second, COUNT(in_second));
        if (!cases[i].says) {
            file = open_ok(folder(), 0);
            mglu_file_close(&file);
            continue;
        }
        assert_status(mglu_file_open_folder(folder(), 0, &file), MGLU_ERROR_CORRUPT_FILE);
        assert_error_says(cases[i].says);
    }
}

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
        assert_ok(mglu_file_pack_folder(folder(), scratch("out"), &options));
        got = open_ok(scratch("out"), 0);
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
    assert_ok(mglu_file_pack_folder(folder(), scratch("out"), NULL));
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
    assert_status(mglu_file_pack_folder(folder(), scratch("out"), &cancelled), MGLU_ERROR_CANCELLED);
    assert_int_equal(rmdir(scratch("out")), 0);
    assert_status(mglu_file_pack_folder(folder(), scratch("out"), NULL), MGLU_ERROR_IO);
    assert_int_equal(mkdir(scratch("out"), 0777), 0);
    write_parts(scratch("b.safetensors"), NULL,
                (const struct part[]){in_second[0], {"m.down_proj.weight", "F32", "3, 2", nan_weights, 24}}, 2);
    assert_status(mglu_file_pack_folder(folder(), scratch("out"), NULL), MGLU_ERROR_NONFINITE);
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
    assert_ok(mglu_file_pack_folder(folder(), scratch("out"), NULL));
    assert_status(mglu_file_pack_folder(folder(), scratch("out"), &options), MGLU_ERROR_IO);
    assert_int_equal(rmdir(scratch("out/b.safetensors")), 0);
    assert_int_equal(rename(scratch("kept"), scratch("out/b.safetensors")), 0);
    assert_status(mglu_file_open_folder(scratch("out"), 0, &file), MGLU_ERROR_IO);
    assert_ok(mglu_file_pack_folder(folder(), scratch("out"), NULL));
    file = open_ok(scratch("out"), 0);
    mglu_file_close(&file);
}

static void a_model_of_the_other_form_is_not_written_beside(void **state)
{
    mglu_file_pack_options options = {.struct_size = sizeof options};

    write_shards();
    write_text("out/model.safetensors", "older");
    assert_status(mglu_file_pack_folder(folder(), scratch("out"), NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("out/model.safetensors: is there already");
    remove(scratch("out/model.safetensors"));
    write_text("out/" INDEX, "older");
    options.shard_size = 1 << 20;
    assert_status(mglu_file_pack_folder(folder(), scratch("out"), &options), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("out/model.safetensors.index.json: is there already");
    options.shard_size = 0; /* the same form replaces it */
    assert_ok(mglu_file_pack_folder(folder(), scratch("out"), &options));
    assert_ok(mglu_file_pack_folder(scratch("out"), scratch("out"), &options));
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
#define IN_FOLDERS(test) cmocka_unit_test_setup_teardown(test, make_both, remove_both)
    const struct CMUnitTest tests[] = {
        IN_FOLDERS(shards_are_read_as_one_file),
        IN_FOLDERS(model_safetensors_is_read_before_an_index),
        IN_FOLDERS(parts_of_tensors_are_read),
        IN_FOLDERS(faults_of_an_index_are_named),
        IN_FOLDERS(a_tensor_in_two_shards_is_refused),
        IN_FOLDERS(shards_must_agree_on_what_layers_compute),
        IN_FOLDERS(packed_shards_have_the_tensors_of_a_packed_file),
        IN_FOLDERS(the_index_has_the_size_of_all_tensors),
        IN_FOLDERS(failed_packing_leaves_nothing),
        IN_FOLDERS(shards_of_two_outputs_have_no_index),
        IN_FOLDERS(a_model_of_the_other_form_is_not_written_beside),
        IN_FOLDERS(arguments_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
