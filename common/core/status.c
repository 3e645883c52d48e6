/* SPDX-License-Identifier: MIT */
#include <mglu/status.h>

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_error[512];

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

mglu_status mglu_fail(mglu_status status, const char *format, ...)
{
    char text[sizeof last_error];
    va_list arguments;

    /* The arguments may point into last_error itself. */
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(last_error, sizeof last_error, "%s", text);
    return status;
}
