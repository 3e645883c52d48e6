/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "backends/opencl/cache.h"
#include "fake_driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The input is an entry of the cache of compiled programs and of the tuner, from the host's hook or from a file: as it
 * is, damaged after it was stored, or whole with any content. Nothing but what was stored may be returned, and the
 * tuner must not select what its kernels cannot run. The driver computes nothing.
 */

static const char key[MGLU_OPENCL_KEY_SIZE] = "0123456789abcdef0123456789abcdef";

/*
 * What the host's hook returns: `entry`; of `size` bytes when asked for the size, `filled` when for the content. With
 * `payload`, a whole entry of any key that has it as its content.
 */
static struct {
    unsigned char entry[1 << 16];
    size_t size, filled;
    const unsigned char *payload;
    size_t payload_size;
} stored;

static void seal_payload(const char *name);

static size_t load(void *user, const char *name, void *data, size_t capacity)
{
    if (!data && stored.payload)
        seal_payload(name);
    if (!data)
        return stored.size;
    memcpy(data, stored.entry, capacity < stored.filled ? capacity : stored.filled);
    return stored.filled;
}

static void save(void *user, const char *name, const void *data, size_t size)
{
    if (size > sizeof stored.entry)
        return;
    memcpy(stored.entry, data, size);
    stored.size = stored.filled = size;
}

static void no_log(const mglu_host *host, mglu_log_level level, const char *format, ...)
{
}

static void *allocate(void *user, size_t size, size_t alignment)
{
    return malloc(size);
}

static void release(void *user, void *memory, size_t size, size_t alignment)
{
    free(memory);
}

static mglu_host host = {
    .struct_size = sizeof(mglu_host),
    .num_threads = 1,
    .allocator = {.allocate = allocate, .release = release},
    .fail = mglu_fail,
    .log = no_log,
    .program_cache = {.load = load, .store = save},
};

static struct mglu_opencl_cache cache = {.host = &host};

static void seal_payload(const char *name)
{
    mglu_opencl_cache_store(&cache, name, stored.payload, stored.payload_size);
}

static struct mglu_opencl_device *open_device(void)
{
    static struct mglu_opencl_device *device;
    void *backend;

    memset(fake.calls, 0, sizeof fake.calls);
    if (device)
        return device;
    fake_reset();
    fuzz_require(mglu_opencl_open_with(&host, &fake_driver, NULL, &backend) == MGLU_OK, "the driver does not open");
    device = ((struct mglu_opencl_backend *)backend)->devices;
    fuzz_require(mglu_opencl_device_start(device, NULL) == MGLU_OK, "the device does not start");
    return device;
}

/* Loads, and requires that only `program` can be the result. */
static int load_program(const void *program, size_t size)
{
    size_t found_size = 0;
    void *found = mglu_opencl_cache_load(&cache, key, &found_size);

    if (!found)
        return 0;
    fuzz_require(found_size == size && memcmp(found, program, size) == 0, "an entry became another program");
    mglu_opencl_release(&host, found, found_size);
    return 1;
}

/* The bytes as they are, as the host or a file has them. They are no entry unless their hash is right. */
static void try_raw(struct fuzz_stream *stream)
{
    static char folder[256];
    size_t size = 0;
    uint8_t choice = fuzz_byte(stream);
    void *found;

    save(NULL, key, stream->at, fuzz_left(stream));
    if (choice & 1)
        stored.size = fuzz_number(stream, 3);
    if (choice & 2)
        stored.filled = fuzz_number(stream, 2);
    if (choice & 4) {
        snprintf(folder, sizeof folder, "%s.mglucl", key);
        fuzz_file(0, folder, stream->at, fuzz_left(stream));
        snprintf(folder, sizeof folder, "%s", fuzz_folder());
        host.cache_dir = folder;
        host.program_cache = (mglu_program_cache){0};
    }
    found = mglu_opencl_cache_load(&cache, key, &size);
    host.cache_dir = NULL;
    host.program_cache = (mglu_program_cache){.load = load, .store = save};
    fuzz_require(!found || size < sizeof stored.entry, "a program larger than its entry");
    mglu_opencl_release(&host, found, size);
}

/* An entry that was stored, damaged in one byte. */
static void try_damaged(struct fuzz_stream *stream)
{
    const size_t at = fuzz_number(stream, 2);
    const uint8_t damage = fuzz_byte(stream), cut = fuzz_byte(stream) % 64;
    const size_t size = fuzz_left(stream);

    if (size == 0 || size > sizeof stored.entry / 2)
        return;
    mglu_opencl_cache_store(&cache, key, stream->at, size);
    fuzz_require(load_program(stream->at, size), "a stored program cannot be loaded");
    stored.entry[at % stored.size] ^= damage;
    stored.size -= cut; /* the entry's head alone is longer */
    stored.filled = stored.size;
    if (load_program(stream->at, size))
        fuzz_require(cut == 0, "an entry without its end was accepted");
}

/* Whether the kernels have such a variant, and the device can run it. */
static int is_valid(const struct mglu_opencl_device *device, const struct mglu_opencl_variant *variant)
{
    const int32_t lines = variant->lines;

    return (lines == 1 || lines == 2 || lines == 4 || lines == 8) && variant->mask_form >= 0 &&
           variant->mask_form <= 3 && (variant->half_form == 0 || variant->half_form == 1) && variant->slices >= 1 &&
           (size_t)(lines * variant->slices) <= device->most_items;
}

/* A whole entry with any content, where the tuner looks for a selection of its own. */
static void try_selection(struct fuzz_stream *stream)
{
    struct mglu_opencl_device *device = open_device();
    struct mglu_opencl_part part = {.rows = 1 << 12};
    const int quantised = fuzz_byte(stream) & 1, masks = (int)fuzz_below(stream, MGLU_MAX_MASKS + 1);
    struct mglu_opencl_variant variant = {.weight = quantised ? MGLU_DTYPE_Q8_0 : MGLU_DTYPE_F16,
                                          .matrices = masks ? 1 : 2,
                                          .masks = masks,
                                          .is_glu = 1,
                                          .tokens = 1};
    const struct mglu_opencl_matrix matrix = {.parts = &part,
                                              .count = 1,
                                              .dtype = variant.weight,
                                              .rows = part.rows,
                                              .columns = 1 << 11,
                                              .n_masks = masks,
                                              .matrices = variant.matrices,
                                              .stride_bytes = quantised ? 1 << 11 : 1 << 12};

    stored.payload_size = fuzz_left(stream);
    stored.payload = stored.payload_size < sizeof stored.entry / 2 ? stream->at : NULL;
    mglu_opencl_select(device, &matrix, &variant);
    stored.payload = NULL;
    fuzz_require(is_valid(device, &variant), "the tuner selects a variant that does not exist");
    mglu_opencl_selections_free(device);
    mglu_opencl_programs_free(device);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_stream stream = {bytes, bytes + size};

    switch (fuzz_byte(&stream) % 3) {
    case 0:
        try_raw(&stream);
        break;
    case 1:
        try_damaged(&stream);
        break;
    default:
        try_selection(&stream);
    }
    return 0;
}
