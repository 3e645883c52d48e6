/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/hostile.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

void assert_refused(const char *name, const char *rule, mglu_status expected, const char *says)
{
    for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
        mglu_file *file;
        mglu_status status = mglu_file_open(scratch(name), flags, &file);
        const char *text = mglu_last_error(), *named = strstr(text, name);

        mglu_file_close(&file);
        if (status != expected || !named || strncmp(named + strlen(name), ": ", 2) != 0 || !strstr(text, says) ||
            strchr(text, '\n'))
            fail_msg("%s: %s (%s), expected %s with '%s'", rule, mglu_status_string(status), text,
                     mglu_status_string(expected), says);
    }
}

void use_everything(const mglu_file *file, const char *name)
{
    mglu_weights_desc weights = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer = MGLU_LAYER_DESC_INIT;
    volatile unsigned char sum = 0;

    for (size_t i = 0; i < mglu_file_tensor_count(file); i++) {
        const mglu_file_tensor *tensor = mglu_file_tensor_at(file, i);

        for (size_t k = 0; k < tensor->bytes; k++)
            sum = (unsigned char)(sum + ((const unsigned char *)tensor->data)[k]);
        assert_ptr_equal(mglu_file_find(file, tensor->name), tensor);
    }
    for (size_t i = 0; mglu_file_layer_at(file, i); i++)
        if (mglu_file_layer(file, mglu_file_layer_at(file, i), &weights, &layer, NULL) != MGLU_OK)
            assert_non_null(strstr(mglu_last_error(), name));
}

void assert_refused_when_cut(const char *name, const unsigned char *bytes, size_t size)
{
    for (size_t kept = 0; kept < size; kept++) {
        write_bytes(scratch(name), bytes, kept);
        assert_refused(name, "cut short", MGLU_ERROR_CORRUPT_FILE, "");
    }
}

void assert_harmless_when_flipped(const char *name, unsigned char *bytes, size_t size, size_t header, mglu_status other)
{
    for (size_t bit = 0; bit < 8 * header; bit++) {
        mglu_file *file;
        mglu_status status;

        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_bytes(scratch(name), bytes, size);
        status = mglu_file_open(scratch(name), 0, &file);
        if (status == MGLU_OK)
            use_everything(file, name);
        else if (status != MGLU_ERROR_CORRUPT_FILE && status != other)
            fail_msg("bit %zu: %s", bit, mglu_status_string(status));
        mglu_file_close(&file);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

/* The most memory that the process has had. */
static size_t peak_memory(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (size_t)usage.ru_maxrss * 1024;
}

/* CPU time of this program, which does not depend on the load of the machine. */
static double processor_seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

void assert_cheaply_refused(const char *name, const char *rule, mglu_status expected, size_t size)
{
    static size_t base;
    const double begin = processor_seconds();
    mglu_file *file;

    if (!base)
        base = peak_memory();
    assert_status(mglu_file_open(scratch(name), 0, &file), expected);
    if (processor_seconds() - begin > (double)(size >> 20))
        fail_msg("%s: %.1f s", rule, processor_seconds() - begin);
    if (!SANITIZED && peak_memory() - base > 2 * size + (16 << 20))
        fail_msg("%s: %zu MB", rule, (peak_memory() - base) >> 20);
}
