/* SPDX-License-Identifier: MIT */
#include "common/io/output.h"

#include "common/io/report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Number of names tried: earlier processes may have left temporary files. */
enum { MAX_ATTEMPTS = 1000 };

/* Links followed, as the kernel does. */
enum { MAX_LINKS = 40 };

/* Linux writes at most 2^31 - 4096 bytes at once. */
enum { WRITE_AT_ONCE = 1 << 30 };

/* Bytes of the folder at the start of a path, with its slash. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* Replaces a path that is a link by what the link says; returns 0 when out of memory. */
static int follow_link(char **path, const char *link)
{
    size_t folder = link[0] == '/' ? 0 : folder_length(*path), size = folder + strlen(link) + 1;
    char *followed = malloc(size);

    if (!followed)
        return 0;
    snprintf(followed, size, "%.*s%s", (int)folder, *path, link);
    free(*path);
    *path = followed;
    return 1;
}

/* Finds the file that `path` names, which need not exist. */
static mglu_status find_target(struct mglu_io_output *output)
{
    char link[PATH_MAX];

    output->target = strdup(output->path);
    for (int links = 0; output->target; links++) {
        ssize_t length = readlink(output->target, link, sizeof link - 1);

        output->name = output->target + folder_length(output->target);
        if (length < 0)
            return MGLU_OK;
        if (links == MAX_LINKS)
            return mglu_io_fail(MGLU_ERROR_IO, output->path, NULL, "cannot write: more than %d links", MAX_LINKS);
        link[length] = '\0';
        if (!follow_link(&output->target, link))
            break;
    }
    return mglu_io_out_of_memory(output->path);
}

static mglu_status open_folder(struct mglu_io_output *output)
{
    size_t length = folder_length(output->target);
    char *folder = length ? strndup(output->target, length) : strdup(".");

    if (!folder)
        return mglu_io_out_of_memory(output->path);
    do
        output->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (output->folder < 0 && errno == EINTR);
    free(folder);
    return output->folder < 0 ? mglu_io_system_error(output->path, "cannot create a file in its folder") : MGLU_OK;
}

/* The name by which a file without one can be linked. */
static void own_name(int descriptor, char text[32])
{
    snprintf(text, 32, "/proc/self/fd/%d", descriptor);
}

/* Returns 0 where the file system has no files without a name, or no way to name them later. */
static int create_unnamed(struct mglu_io_output *output, mode_t mode)
{
    char own[32];

    output->descriptor = openat(output->folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
    if (output->descriptor < 0)
        return 0;
    own_name(output->descriptor, own);
    if (access(own, F_OK) == 0)
        return 1;
    close(output->descriptor);
    output->descriptor = -1;
    return 0;
}

/* Calls create() with temporary names until it returns 0 or fails for another reason than an existing file. */
static int with_temporary_name(struct mglu_io_output *output, int (*create)(struct mglu_io_output *, mode_t),
                               mode_t mode)
{
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        snprintf(output->temporary, sizeof output->temporary, ".mglu-%ld-%d.tmp", (long)getpid(), attempt);
        if (create(output, mode) == 0)
            return 1;
        if (errno != EEXIST && errno != EINTR)
            break;
    }
    output->temporary[0] = '\0';
    return 0;
}

static int create_named(struct mglu_io_output *output, mode_t mode)
{
    output->descriptor = openat(output->folder, output->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    return output->descriptor < 0 ? -1 : 0;
}

static int link_unnamed(struct mglu_io_output *output, mode_t mode)
{
    char own[32];

    own_name(output->descriptor, own);
    return linkat(AT_FDCWD, own, output->folder, output->temporary, AT_SYMLINK_FOLLOW);
}

/* Owner first: changing it clears bits of the mode. */
static mglu_status keep_owner_and_mode(const struct mglu_io_output *output, const struct stat *older)
{
    struct stat own;

    if (fstat(output->descriptor, &own) != 0)
        return mglu_io_system_error(output->path, "cannot write");
    if ((own.st_uid != older->st_uid || own.st_gid != older->st_gid) &&
        fchown(output->descriptor, older->st_uid, older->st_gid) != 0)
        return mglu_io_system_error(output->path, "cannot keep the older file's owner; to replace it, remove it first");
    if (fchmod(output->descriptor, older->st_mode & 07777) != 0)
        return mglu_io_system_error(output->path, "cannot keep the older file's mode");
    return MGLU_OK;
}

/* Until the mode is known, nobody else opens a file that replaces another. */
static mglu_status create(struct mglu_io_output *output)
{
    struct stat older;
    mode_t mode;

    output->replaces = fstatat(output->folder, output->name, &older, AT_SYMLINK_NOFOLLOW) == 0;
    if (!output->replaces && errno != ENOENT)
        return mglu_io_system_error(output->path, "cannot write");
    if (output->replaces && !S_ISREG(older.st_mode))
        return mglu_io_fail(MGLU_ERROR_IO, output->path, NULL, "cannot write: not a regular file");
    mode = output->replaces ? 0600 : 0666;
    if (!create_unnamed(output, mode) && !with_temporary_name(output, create_named, mode))
        return mglu_io_system_error(output->path, "cannot create a file in its folder");
    return output->replaces ? keep_owner_and_mode(output, &older) : MGLU_OK;
}

mglu_status mglu_io_output_begin(struct mglu_io_output *output, const char *path)
{
    struct stat about;
    mglu_status status;

    *output = (struct mglu_io_output){.path = path, .folder = -1, .descriptor = -1};
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode))
        return mglu_io_fail(MGLU_ERROR_IO, path, NULL, "cannot write: not a regular file");
    status = find_target(output);
    if (status == MGLU_OK && *output->name == '\0')
        status = mglu_io_fail(MGLU_ERROR_IO, path, NULL, "cannot write: it ends without the name of a file");
    if (status == MGLU_OK)
        status = open_folder(output);
    if (status == MGLU_OK)
        status = create(output);
    if (status != MGLU_OK)
        mglu_io_output_discard(output);
    return status;
}

mglu_status mglu_io_output_write_at(struct mglu_io_output *output, uint64_t offset, const void *bytes, size_t count)
{
    const unsigned char *next = bytes;

    while (count > 0) {
        ssize_t written =
            pwrite(output->descriptor, next, count < WRITE_AT_ONCE ? count : WRITE_AT_ONCE, (off_t)offset);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return mglu_io_system_error(output->path, "cannot write");
        next += written;
        offset += (uint64_t)written;
        count -= (size_t)written;
    }
    return MGLU_OK;
}

mglu_status mglu_io_output_write(struct mglu_io_output *output, const void *bytes, size_t count)
{
    uint64_t offset = output->size;

    output->size += count;
    return mglu_io_output_write_at(output, offset, bytes, count);
}

void mglu_io_output_start_sync(struct mglu_io_output *output)
{
#ifdef SYNC_FILE_RANGE_WRITE
    sync_file_range(output->descriptor, 0, 0, SYNC_FILE_RANGE_WRITE); /* errors are those of the commit's fsync() */
#endif
}

/*
 * A file without a name can be given a new one; to replace another, which may have appeared meanwhile, it needs a
 * temporary one first.
 */
static mglu_status give_name(struct mglu_io_output *output)
{
    char own[32];

    own_name(output->descriptor, own);
    if (!output->temporary[0] && !output->replaces &&
        linkat(AT_FDCWD, own, output->folder, output->name, AT_SYMLINK_FOLLOW) == 0)
        return MGLU_OK;
    if (!output->temporary[0] && !output->replaces && errno != EEXIST && errno != EINTR)
        return mglu_io_system_error(output->path, "cannot give the new file its name");
    if (!output->temporary[0] && !with_temporary_name(output, link_unnamed, 0))
        return mglu_io_system_error(output->path, "cannot give the new file a name");
    if (renameat(output->folder, output->temporary, output->folder, output->name) != 0)
        return mglu_io_system_error(output->path, "cannot rename the new file to it");
    output->temporary[0] = '\0';
    return MGLU_OK;
}

/* Makes the name durable. Some file systems cannot; the file itself is already synced. */
static void sync_folder(int folder)
{
    int descriptor = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (descriptor >= 0) {
        fsync(descriptor);
        close(descriptor);
    }
}

mglu_status mglu_io_output_commit(struct mglu_io_output *output)
{
    mglu_status status = MGLU_OK;
    sigset_t all, before;

    if (fsync(output->descriptor) != 0)
        status = mglu_io_system_error(output->path, "cannot sync");
    if (status == MGLU_OK) {
        sigfillset(&all); /* so that no signal ends the process while the file has its temporary name */
        pthread_sigmask(SIG_SETMASK, &all, &before);
        status = give_name(output);
        if (status == MGLU_OK)
            sync_folder(output->folder);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    mglu_io_output_discard(output);
    return status;
}

void mglu_io_output_discard(struct mglu_io_output *output)
{
    if (output->descriptor >= 0)
        close(output->descriptor);
    if (output->temporary[0])
        unlinkat(output->folder, output->temporary, 0);
    if (output->folder >= 0)
        close(output->folder);
    free(output->target);
    *output = (struct mglu_io_output){.path = output->path, .folder = -1, .descriptor = -1};
}
