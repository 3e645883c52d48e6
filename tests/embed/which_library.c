/* SPDX-License-Identifier: MIT */
#include <mglu/version.h>

#include <dlfcn.h>

/* The file with the mglu_version() that this library calls. */
const char *LIBRARY(void)
{
    Dl_info info;
    const char *(*called)(void) = mglu_version;

    return dladdr(*(void **)&called, &info) ? info.dli_fname : "none";
}
