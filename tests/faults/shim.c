/* SPDX-License-Identifier: MIT */
#undef _FILE_OFFSET_BITS /* it renames open() to open64() in the headers; both are replaced here */
#include "shim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The functions of the C library beneath those that are replaced here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

const struct fault faults[] = {
    {"malloc", FAULT_MALLOC, ENOMEM, 0, 0},
    {"malloc-on", FAULT_MALLOC, ENOMEM, 1, 0},
    {"mmap", FAULT_MMAP, ENOMEM, 0, 0},
    {"open", FAULT_OPEN, EMFILE, 0, 0},
    {"read", FAULT_READ, EIO, 0, 0},
    {"read-eintr", FAULT_READ, EINTR, 0, 1},
    {"read-short", FAULT_READ, 0, 0, 1},
    {"write", FAULT_WRITE, ENOSPC, 0, 0},
    {"write-eintr", FAULT_WRITE, EINTR, 0, 1},
    {"write-short", FAULT_WRITE, 0, 0, 1},
    {"fsync", FAULT_FSYNC, EIO, 0, 0},
    {"rename", FAULT_RENAME, EACCES, 0, 0},
    {"link", FAULT_LINK, EACCES, 0, 0},
    {"close", FAULT_CLOSE, EIO, 0, 0},
    {"thread", FAULT_THREAD, EAGAIN, 0, 0},
    {"thread-on", FAULT_THREAD, EAGAIN, 1, 0},
    {NULL, FAULT_KINDS, 0, 0, 0},
};

static struct fault armed = {.kind = FAULT_KINDS};
static long armed_at;
static atomic_long calls, hits, live;

void fault_arm(const struct fault *fault, long at)
{
    armed_at = at;
    atomic_store(&calls, 0);
    atomic_store(&hits, 0);
    armed = *fault;
}

long fault_disarm(void)
{
    armed.kind = FAULT_KINDS;
    return atomic_load(&hits);
}

long fault_live_allocations(void)
{
    return atomic_load(&live);
}

static volatile int *openmp_failed;

void fault_watch_openmp(volatile int *flag)
{
    void *frame;

    backtrace(&frame, 1); /* the first call opens a library */
    openmp_failed = flag;
}

/* Whether OpenMP's runtime made this call: it, not libmglu, is the nearest caller of the two. */
static int is_openmps(void)
{
    void *frames[32];
    const int count = backtrace(frames, sizeof frames / sizeof frames[0]);
    Dl_info object;

    for (int i = 0; i < count; i++) {
        if (!dladdr(frames[i], &object))
            continue;
        if (strstr(object.dli_fname, "libmglu"))
            return 0;
        if (strstr(object.dli_fname, "libgomp") || strstr(object.dli_fname, "libomp"))
            return 1;
    }
    return 0;
}

/* Whether this call is one that fails; errno is then set. */
static int fails(enum fault_kind kind)
{
    long number;

    if (kind != armed.kind)
        return 0;
    number = 1 + atomic_fetch_add(&calls, 1);
    if (number != armed_at && !(armed.persists && number > armed_at))
        return 0;
    atomic_fetch_add(&hits, 1);
    if (openmp_failed && is_openmps())
        *openmp_failed = 1;
    errno = armed.error;
    return 1;
}

/* A preloaded shim: MGLU_FAULT=NAME:NUMBER; the number of calls that failed is written to the file MGLU_FAULT_HITS. */
__attribute__((constructor)) static void read_environment(void)
{
    const char *order = getenv("MGLU_FAULT"), *number = order ? strchr(order, ':') : NULL;

    for (const struct fault *fault = faults; number && fault->name; fault++)
        if (strncmp(fault->name, order, (size_t)(number - order)) == 0 && !fault->name[number - order])
            fault_arm(fault, atol(number + 1));
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("MGLU_FAULT_HITS");
    char text[32];
    long file, length = snprintf(text, sizeof text, "%ld", fault_disarm());

    if (!path)
        return;
    file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    syscall(SYS_write, file, text, length);
    syscall(SYS_close, file);
}

static void *counted(void *memory)
{
    if (memory)
        atomic_fetch_add(&live, 1);
    return memory;
}

void *malloc(size_t size)
{
    return fails(FAULT_MALLOC) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails(FAULT_MALLOC) ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    void *moved;

    if (fails(FAULT_MALLOC))
        return NULL;
    moved = __libc_realloc(memory, size);
    if (memory && !moved && size == 0) /* freed */
        atomic_fetch_sub(&live, 1);
    return memory ? moved : counted(moved);
}

void *memalign(size_t alignment, size_t size)
{
    return fails(FAULT_MALLOC) ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    int callers = errno;
    void *made = memalign(alignment, size);

    errno = callers;
    if (made)
        *memory = made;
    return made ? 0 : ENOMEM;
}

void free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&live, 1);
    __libc_free(memory);
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    if (fails(FAULT_MMAP))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    return mmap(address, length, protection, flags, file, offset);
}

int openat(int folder, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list arguments;

    va_start(arguments, flags);
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
        mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return fails(FAULT_OPEN) ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
}

int openat64(int, const char *, int, ...) __attribute__((alias("openat")));

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list arguments;

    va_start(arguments, flags);
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
        mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return openat(AT_FDCWD, path, flags, mode);
}

int open64(const char *, int, ...) __attribute__((alias("open")));

/* The next definition of a function, that of the C library. */
static void *next(const char *name)
{
    struct fault order = armed;
    void *function;

    armed.kind = FAULT_KINDS; /* the look-up itself does not count */
    function = dlsym(RTLD_NEXT, name);
    armed = order;
    return function;
}

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *);

    *(void **)&real = next("fopen");
    return fails(FAULT_OPEN) ? NULL : real(path, mode);
}

FILE *fopen64(const char *, const char *) __attribute__((alias("fopen")));

DIR *opendir(const char *path)
{
    DIR *(*real)(const char *);

    *(void **)&real = next("opendir");
    return fails(FAULT_OPEN) ? NULL : real(path);
}

int mkostemp(char *path, int flags)
{
    int (*real)(char *, int);

    *(void **)&real = next("mkostemp");
    return fails(FAULT_OPEN) ? -1 : real(path, flags);
}

int mkstemp(char *path)
{
    return mkostemp(path, 0);
}

int mkostemp64(char *, int) __attribute__((alias("mkostemp")));
int mkstemp64(char *) __attribute__((alias("mkstemp")));

/* One byte instead of all of them, or a failure. */
static int transfer_fails(enum fault_kind kind, size_t *size)
{
    if (*size == 0 || !fails(kind))
        return 0;
    *size = 1;
    return armed.error != 0;
}

ssize_t read(int file, void *data, size_t size)
{
    return transfer_fails(FAULT_READ, &size) ? -1 : syscall(SYS_read, file, data, size);
}

ssize_t pread(int file, void *data, size_t size, off_t at)
{
    return transfer_fails(FAULT_READ, &size) ? -1 : syscall(SYS_pread64, file, data, size, at);
}

ssize_t pread64(int, void *, size_t, off_t) __attribute__((alias("pread")));

ssize_t write(int file, const void *data, size_t size)
{
    return transfer_fails(FAULT_WRITE, &size) ? -1 : syscall(SYS_write, file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    return transfer_fails(FAULT_WRITE, &size) ? -1 : syscall(SYS_pwrite64, file, data, size, at);
}

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));

int fsync(int file)
{
    return fails(FAULT_FSYNC) ? -1 : (int)syscall(SYS_fsync, file);
}

int fdatasync(int file)
{
    return fails(FAULT_FSYNC) ? -1 : (int)syscall(SYS_fdatasync, file);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return fails(FAULT_RENAME) ? -1 : (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    return fails(FAULT_RENAME) ? -1 : (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    return fails(FAULT_LINK) ? -1 : (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int close(int file)
{
    int result = (int)syscall(SYS_close, file);

    return result == 0 && fails(FAULT_CLOSE) ? -1 : result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    *(void **)&real = next("pthread_create");
    return fails(FAULT_THREAD) ? armed.error : real(thread, attributes, start, argument);
}
