/* SPDX-License-Identifier: MIT */
#ifndef MGLU_STATUS_H
#define MGLU_STATUS_H

/**
 * @file
 * The status that calls return, and the text of the last failure.
 */

#include <mglu/export.h>

MGLU_BEGIN_DECLS

/**
 * The result of every call that can fail. Values never change; new ones are only appended.
 *
 * A call that fails leaves its arguments and every existing object unchanged, unless the status says that an object is
 * no longer usable. It sets the text that mglu_last_error() returns.
 */
typedef enum MGLU_ENUM32(mglu_status) {
    MGLU_OK = 0,
    /** An argument violates the contract in these headers. Correct the call. */
    MGLU_ERROR_INVALID_ARGUMENT = 1,
    /** The call is legal, but this device or build does not support it. Use another device. */
    MGLU_ERROR_UNSUPPORTED = 2,
    /** No such device or backend. The text lists the existing ones. */
    MGLU_ERROR_NO_DEVICE = 3,
    /** The vendor's driver library is not installed. */
    MGLU_ERROR_DRIVER_MISSING = 4,
    /** The driver is older than the backend needs. The text names both versions. */
    MGLU_ERROR_DRIVER_TOO_OLD = 5,
    /** No kernel was built for this device. The text names the device's and the built architectures. */
    MGLU_ERROR_NO_KERNEL_FOR_DEVICE = 6,
    /** Host or device memory ran out. No object was changed; a retry may succeed. */
    MGLU_ERROR_OUT_OF_MEMORY = 7,
    /** The driver reported a failure; the text has its code. */
    MGLU_ERROR_DEVICE = 8,
    /** A file could not be opened, read or written; the text has the system's error message. */
    MGLU_ERROR_IO = 9,
    /** A file violates its format. The text names the file and the tensor. */
    MGLU_ERROR_CORRUPT_FILE = 10,
    /** A struct, plug-in or file of a version that this library does not know. */
    MGLU_ERROR_VERSION_MISMATCH = 11,
    /** The caller requested cancellation, by a callback or by mglu_queue_cancel_wait(). */
    MGLU_ERROR_CANCELLED = 12,
    /**
     * The device was lost, by a fault, by a kernel that the driver ended because it ran too long, or by a queue that
     * was destroyed before its work was done; its context is unusable and later calls on it fail at once.
     */
    MGLU_ERROR_DEVICE_LOST = 13,
    /** The work was not done within the time given to mglu_queue_wait_for(). It goes on, and all stays usable. */
    MGLU_ERROR_TIMEOUT = 14,
    /** A kernel could not be compiled; the text holds the end of the build log. */
    MGLU_ERROR_BUILD_FAILED = 15,
    /** The context was made in a parent process, and the device has a driver. Make a new context in the child. */
    MGLU_ERROR_AFTER_FORK = 16,
    /** A weight is NaN or infinite, or overflows in the stored dtype. The text names row and column. */
    MGLU_ERROR_NONFINITE = 17,
    /** A routing id was out of range in an earlier forward on this queue; that token's output is NaN. */
    MGLU_ERROR_BAD_ROUTING = 18
} mglu_status;

#if !defined(__cplusplus) && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(mglu_status) == 4, "mglu: enums must have 32 bits, as in the library: use no -fshort-enums");
#endif

/** Name of a status, as "invalid_argument"; "unknown_status" for a value not listed. Static storage. */
MGLU_API const char *mglu_status_string(mglu_status status);

/**
 * The reason for the calling thread's last failure: one line of text without a newline, naming the file, tensor, device
 * or driver code where there is one. Empty if no call has failed. Owned by the thread; valid until its next call.
 */
MGLU_API const char *mglu_last_error(void);

/**
 * Sets the text of mglu_last_error() for the calling thread, truncated to 511 bytes, and returns `status`. For
 * libraries built on this one, so that they report errors in the same way.
 */
MGLU_API mglu_status mglu_fail(mglu_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

MGLU_END_DECLS

#endif
