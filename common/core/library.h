/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_LIBRARY_H
#define MGLU_CORE_LIBRARY_H

/*
 * Opens a driver or a plug-in with dlopen(). NULL when it can't be opened, with the reason, which is valid until the
 * next call of a function of <dlfcn.h>, and errno of dlopen(), which alone tells that memory ended. A fully static
 * program opens none: drivers need a C library of their own beside the program's, and glibc's can't be in a process
 * twice (PoCL ends it with SIGSEGV).
 */
void *mglu_library_open(const char *name, const char **reason);

#endif
