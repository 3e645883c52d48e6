/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"
#include "common/core/names.h"
#include "common/dispatch/objects.h"

#include <string.h>

/* Names of backends, in lists and in error texts. */

enum { MAX_NAMES = 32 }; /* in an error text */

static int is_builtin(const char *name, size_t length)
{
    for (size_t i = 0; mglu_builtin_backends[i]; i++) {
        const char *known = mglu_builtin_backends[i]->name;

        if (strlen(known) == length && strncmp(known, name, length) == 0)
            return 1;
    }
    return 0;
}

int mglu_is_builtin_name(const char *name)
{
    return is_builtin(name, strlen(name));
}

/* The length of the first name; *next is behind it, or NULL at the end of the list. */
static size_t first_name(const char *list, const char **next)
{
    const size_t length = strcspn(list, ",");

    *next = list[length] ? list + length + 1 : NULL;
    return length;
}

int mglu_names_include(const char *list, const char *name)
{
    const char *next;

    for (; list; list = next)
        if (first_name(list, &next) == strlen(name) && strncmp(list, name, strlen(name)) == 0)
            return 1;
    return 0;
}

static size_t list_builtin(const char *names[MAX_NAMES], size_t count)
{
    for (size_t i = 0; mglu_builtin_backends[i] && count < MAX_NAMES; i++)
        names[count++] = mglu_builtin_backends[i]->name;
    return count;
}

mglu_status mglu_names_check(const char *source, const char *list)
{
    const char *names[MAX_NAMES], *next;
    char known[256];

    for (; list; list = next) {
        const size_t length = first_name(list, &next);

        if (is_builtin(list, length))
            continue;
        mglu_name_list(names, list_builtin(names, 0), known, sizeof known);
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: unknown backend '%.*s'; known: %s", source,
                         (int)(length < sizeof known ? length : sizeof known), list, known);
    }
    return MGLU_OK;
}

void mglu_names_known(const mglu_context *context, char *text, size_t size)
{
    const char *names[MAX_NAMES] = {"auto", "host"};
    size_t count = list_builtin(names, 2);

    for (size_t i = 0; i < context->backends.count && count < MAX_NAMES; i++) {
        const char *name = ((const struct opened_backend *)context->backends.items[i])->fns->name;

        if (!mglu_is_builtin_name(name))
            names[count++] = name;
    }
    mglu_name_list(names, count, text, size);
}
