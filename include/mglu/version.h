/* SPDX-License-Identifier: MIT */
#ifndef MGLU_VERSION_H
#define MGLU_VERSION_H

/**
 * @file
 * Versions of the headers and of the library.
 */

#include <mglu/export.h>

MGLU_BEGIN_DECLS

/** Version of these headers. The build reads the library's version and soversion from here. */
#define MGLU_VERSION_MAJOR 0
/** Minor version. */
#define MGLU_VERSION_MINOR 1
/** Patch version. */
#define MGLU_VERSION_PATCH 0

/** ABI number: increased when programs built against older headers must be rebuilt. */
#define MGLU_SOVERSION 0

/** Version of the library that is running, as "major.minor.patch". Static storage. */
MGLU_API const char *mglu_version(void);

/** What the running library was built with, as "key=value" words. Static storage. */
MGLU_API const char *mglu_build_info(void);

MGLU_END_DECLS

#endif
