/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_VARIABLE_H
#define MGLU_CORE_VARIABLE_H

#include <stdlib.h>
#include <unistd.h>

/*
 * The only place where the library reads the environment: NULL in a process that runs with more rights than the user
 * who set it. The fallback knows set-user-ID and set-group-ID programs, secure_getenv() those with capabilities too.
 */
static inline const char *mglu_secure_getenv(const char *name)
{
#ifdef MGLU_HAS_SECURE_GETENV
    return secure_getenv(name);
#else
    return getuid() == geteuid() && getgid() == getegid() ? getenv(name) : NULL;
#endif
}

/* An empty variable counts as not set, the usual intent of `NAME= command`. */
static inline const char *mglu_variable(const char *name)
{
    const char *value = mglu_secure_getenv(name);

    return value && value[0] ? value : NULL;
}

#endif
