/* SPDX-License-Identifier: MIT */
#include "common/dispatch/objects.h"

#include <mglu/version.h>

#define TEXT_(number) #number
#define TEXT(number)  TEXT_(number)

const char *mglu_version(void)
{
    return TEXT(MGLU_VERSION_MAJOR) "." TEXT(MGLU_VERSION_MINOR) "." TEXT(MGLU_VERSION_PATCH);
}

const char *mglu_build_info(void)
{
    return MGLU_BUILD_INFO;
}
