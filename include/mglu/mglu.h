/* SPDX-License-Identifier: MIT */
#ifndef MGLU_MGLU_H
#define MGLU_MGLU_H

/**
 * @file
 * Gated linear units, masked (arXiv 2506.23225) and plain, on any device. This header includes the whole library except
 * files (mglu/io.h), interoperation with CUDA and OpenCL, and the interface for new backends (mglu/backend.h).
 *
 * In every public struct that is given to a call the first member is struct_size: set it to sizeof of the struct, and
 * the other members to zero where no value is wanted. MGLU_LAYER_DESC_INIT and the like do both, in C and in C++. A
 * library newer than the caller uses defaults for members that the caller does not have; an older one refuses members
 * that it does not have when they are not zero
 * (MGLU_ERROR_VERSION_MISMATCH), and in a struct that it fills leaves them as they are. A struct_size below that of the
 * struct's first version or above MGLU_MAX_STRUCT_SIZE gives MGLU_ERROR_INVALID_ARGUMENT, and nothing more of the
 * struct is read or written.
 */

#include <mglu/context.h>
#include <mglu/device.h>
#include <mglu/layer.h>
#include <mglu/pack.h>
#include <mglu/status.h>
#include <mglu/train.h>
#include <mglu/types.h>
#include <mglu/version.h>
#include <mglu/weights.h>

#endif
