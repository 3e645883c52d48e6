/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/inputs.h"
#include "tests/unit/io/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * The operating system fails: this program's own system calls replace the C library's, and one of them fails as a test
 * requests.
 */

enum call { NONE, OPEN, READ, PREAD, WRITE, FSYNC, CLOSE, LINK, RENAME };

/* As on a file system without files that have no name. */
static int only_named;

static struct {
    enum call call;
    size_t number; /* which of its calls fails: 1, 2 ... */
    int error;     /* errno; 0: the call transfers one byte, or none with `none` */
    int none;
    size_t seen;
} fault;

/* Whether this call fails; errno is then set. */
static int hit(enum call call)
{
    if (fault.call != call || ++fault.seen != fault.number)
        return 0;
    errno = fault.error;
    return 1;
}

int open(const char *path, int flags, ...)
{
    return hit(OPEN) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0666);
}

int openat(int folder, const char *path, int flags, ...)
{
    if (only_named && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return hit(OPEN) ? -1 : (int)syscall(SYS_openat, folder, path, flags, 0666);
}

ssize_t read(int descriptor, void *bytes, size_t count)
{
    if (hit(READ)) {
        if (fault.error || fault.none)
            return fault.error ? -1 : 0;
        count = 1;
    }
    return syscall(SYS_read, descriptor, bytes, count);
}

ssize_t pread(int descriptor, void *bytes, size_t count, off_t offset)
{
    if (hit(PREAD)) {
        if (fault.error || fault.none)
            return fault.error ? -1 : 0;
        count = 1;
    }
    return syscall(SYS_pread64, descriptor, bytes, count, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset)
{
    if (hit(WRITE)) {
        if (fault.error)
            return -1;
        count = 1;
    }
    return syscall(SYS_pwrite64, descriptor, bytes, count, offset);
}

int fsync(int descriptor)
{
    return hit(FSYNC) ? -1 : (int)syscall(SYS_fsync, descriptor);
}

int close(int descriptor)
{
    int result = (int)syscall(SYS_close, descriptor);

    return hit(CLOSE) ? -1 : result;
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    return hit(LINK) ? -1 : (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return hit(RENAME) ? -1 : (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

static const struct {
    const char *name;
    enum call call;
    int error, none;
    mglu_status status; /* of packing; at least one of the calls fails with it */
    const char *says;
} cases[] = {
    {"open interrupted", OPEN, EINTR, 0, MGLU_OK, ""},
    {"open refused", OPEN, EACCES, 0, MGLU_ERROR_IO, "Permission denied"},
    {"no descriptors left", OPEN, EMFILE, 0, MGLU_ERROR_IO, "Too many open files"},
    {"read interrupted", READ, EINTR, 0, MGLU_OK, ""},
    {"read of one byte", READ, 0, 0, MGLU_OK, ""},
    {"read fails", READ, EIO, 0, MGLU_ERROR_IO, "in: cannot read: Input/output error"},
    {"input cut short meanwhile", READ, 0, 1, MGLU_ERROR_CORRUPT_FILE, "in: truncated while it was read"},
    {"read at a place interrupted", PREAD, EINTR, 0, MGLU_OK, ""},
    {"read at a place of one byte", PREAD, 0, 0, MGLU_OK, ""},
    {"read at a place fails", PREAD, EIO, 0, MGLU_ERROR_IO, ": cannot read: Input/output error"},
    {"cut short meanwhile at a place", PREAD, 0, 1, MGLU_ERROR_CORRUPT_FILE, ": truncated while it was read"},
    {"write interrupted", WRITE, EINTR, 0, MGLU_OK, ""},
    {"write of one byte", WRITE, 0, 0, MGLU_OK, ""},
    {"disk full", WRITE, ENOSPC, 0, MGLU_ERROR_IO, "out: cannot write: No space left on device"},
    {"sync fails", FSYNC, EIO, 0, MGLU_ERROR_IO, "out: cannot sync: Input/output error"},
    {"close fails after syncing", CLOSE, EIO, 0, MGLU_OK, ""},
    {"no link allowed", LINK, EPERM, 0, MGLU_ERROR_IO, "out: cannot give the new file"},
    {"link interrupted", LINK, EINTR, 0, MGLU_OK, ""},
    {"rename fails", RENAME, EACCES, 0, MGLU_ERROR_IO, "out: cannot rename the new file to it: Permission denied"},
};

static void write_gguf(void)
{
    write_gguf_input("in");
}

/* The inputs, and the formats that they are packed into. */
static const struct form {
    void (*write_input)(void);
    mglu_file_format format;
} forms[] = {
    {write_masked_input, MGLU_FILE_FORMAT_SAFETENSORS},
    {write_masked_input, MGLU_FILE_FORMAT_GGUF},
    {write_gguf, MGLU_FILE_FORMAT_SAFETENSORS},
};

/* The ways to write a file: over an older one or not, with or without a name from the beginning. */
static int over_older;

/* Packs with the fault at the n-th call. Returns whether there was an n-th call. */
static int pack_with_fault(const struct form *form, size_t i, size_t number, size_t *failures)
{
    const mglu_file_pack_options options = {.struct_size = sizeof options, .format = form->format};
    mglu_status status;
    unsigned char *bytes;
    size_t size;

    remove(scratch("out"));
    if (over_older)
        write_bytes(scratch("out"), "older", 5);
    memset(&fault, 0, sizeof fault);
    fault.number = number;
    fault.error = cases[i].error;
    fault.none = cases[i].none;
    fault.call = cases[i].call;
    status = mglu_file_pack(scratch("in"), scratch("out"), &options);
    fault.call = NONE;
    if (status != MGLU_OK) {
        *failures += 1;
        if (status != cases[i].status || !strstr(mglu_last_error(), cases[i].says))
            fail_msg("%s, call %zu: %s (%s)", cases[i].name, number, mglu_status_string(status), mglu_last_error());
        assert_int_equal(scratch_count(), 1 + over_older);
        if (!over_older)
            return fault.seen >= number;
    }
    bytes = read_bytes(scratch("out"), &size);
    /* opening a file without a name, closing and syncing the folder may fail without an error: the output is complete
     */
    assert_true(status == MGLU_OK ? size > 5 : size == 5 && memcmp(bytes, "older", 5) == 0);
    free(bytes);
    assert_int_equal(scratch_count(), 2);
    return fault.seen >= number;
}

/* Whether the file system has files without a name. */
static int has_unnamed(void)
{
    int descriptor = open(scratch("."), O_TMPFILE | O_WRONLY);

    if (descriptor >= 0)
        close(descriptor);
    return descriptor >= 0 && !only_named;
}

/* Whether packing in the present way makes calls of this kind. A GGUF file is read at places only. */
static int makes(const struct form *form, enum call call)
{
    if (call == READ && form->write_input == write_gguf)
        return 0;
    return call == LINK ? has_unnamed() : call == RENAME ? over_older || !has_unnamed() : 1;
}

static void a_failing_system_call_is_reported_and_leaves_the_older_file(void **state)
{
    for (int way = 0; way < 4 * (int)COUNT(forms); way++) {
        const struct form *form = &forms[way / 4];

        form->write_input();
        only_named = way & 1;
        over_older = way >> 1 & 1;
        for (size_t i = 0; i < COUNT(cases); i++) {
            size_t failures = 0, number = 1;

            while (pack_with_fault(form, i, number, &failures))
                number++;
            if (makes(form, cases[i].call) && (number == 1 || (failures > 0) != (cases[i].status != MGLU_OK)))
                fail_msg("way %d, %s: %zu calls, %zu failures", way, cases[i].name, number - 1, failures);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_failing_system_call_is_reported_and_leaves_the_older_file, make_scratch,
                                        remove_scratch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
