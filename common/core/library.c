/* SPDX-License-Identifier: MIT */
#include "common/core/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stddef.h>

/* Called for the program itself first; its segments name the dynamic loader, if it has one. */
static int find_loader(struct dl_phdr_info *program, size_t size, void *has_loader)
{
    for (int i = 0; i < program->dlpi_phnum; i++)
        if (program->dlpi_phdr[i].p_type == PT_INTERP)
            *(int *)has_loader = 1;
    return 1;
}

static int is_static_program(void)
{
    int has_loader = 0;

    dl_iterate_phdr(find_loader, &has_loader);
    return !has_loader;
}

void *mglu_library_open(const char *name, const char **reason)
{
    void *library;

    if (is_static_program()) {
        *reason = "the program is linked statically (-static), so it can load no library";
        return NULL;
    }
    library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const int error = errno;

        *reason = dlerror();
        errno = error;
    }
    return library;
}
