/* SPDX-License-Identifier: MIT */
#include <mglu/status.h>

#include "common/core/static_tls.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_SIZE = 512 };

/* The text of mglu_last_error(): the thread's own memory, which its first failure allocates, or a constant. */
static MGLU_THREAD_LOCAL const char *last_error = "";
static MGLU_THREAD_LOCAL char *own_text;

/* Its destructor frees own_text when the thread ends. */
static pthread_key_t own_text_key;
static pthread_once_t own_text_once = PTHREAD_ONCE_INIT;
static int has_own_text_key;

static const char *const status_names[] = {
    [MGLU_OK] = "ok",
    [MGLU_ERROR_INVALID_ARGUMENT] = "invalid_argument",
    [MGLU_ERROR_UNSUPPORTED] = "unsupported",
    [MGLU_ERROR_NO_DEVICE] = "no_device",
    [MGLU_ERROR_DRIVER_MISSING] = "driver_missing",
    [MGLU_ERROR_DRIVER_TOO_OLD] = "driver_too_old",
    [MGLU_ERROR_NO_KERNEL_FOR_DEVICE] = "no_kernel_for_device",
    [MGLU_ERROR_OUT_OF_MEMORY] = "out_of_memory",
    [MGLU_ERROR_DEVICE] = "device_error",
    [MGLU_ERROR_IO] = "io",
    [MGLU_ERROR_CORRUPT_FILE] = "corrupt_file",
    [MGLU_ERROR_VERSION_MISMATCH] = "version_mismatch",
    [MGLU_ERROR_CANCELLED] = "cancelled",
    [MGLU_ERROR_DEVICE_LOST] = "device_lost",
    [MGLU_ERROR_TIMEOUT] = "timeout",
    [MGLU_ERROR_BUILD_FAILED] = "build_failed",
    [MGLU_ERROR_AFTER_FORK] = "after_fork",
    [MGLU_ERROR_NONFINITE] = "nonfinite",
    [MGLU_ERROR_BAD_ROUTING] = "bad_routing",
};

const char *mglu_status_string(mglu_status status)
{
    size_t count = sizeof status_names / sizeof status_names[0];

    return (size_t)status < count ? status_names[status] : "unknown_status";
}

const char *mglu_last_error(void)
{
    return last_error;
}

static void free_own_text(void *text)
{
    last_error = "";
    own_text = NULL;
    free(text);
}

static void make_own_text_key(void)
{
    has_own_text_key = pthread_key_create(&own_text_key, free_own_text) == 0;
}

/* NULL when there is no memory; the next failure tries again. */
static char *get_own_text(void)
{
    char *text = own_text;

    if (text)
        return text;
    pthread_once(&own_text_once, make_own_text_key);
    text = has_own_text_key ? malloc(TEXT_SIZE) : NULL;
    if (text && pthread_setspecific(own_text_key, text) != 0) {
        free(text);
        text = NULL;
    }
    own_text = text;
    return text;
}

/* Names that a caller or a file gives may have newlines. */
static void make_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

mglu_status mglu_fail(mglu_status status, const char *format, ...)
{
    char text[TEXT_SIZE], *target = get_own_text();
    va_list arguments;

    last_error = "out of memory: the text of this error could not be stored";
    if (!target)
        return status;
    /* The arguments may point into the target itself. */
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    make_one_line(text);
    snprintf(target, TEXT_SIZE, "%s", text);
    last_error = target;
    return status;
}
