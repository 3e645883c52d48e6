/* SPDX-License-Identifier: MIT */
#include "pack_folder.h"

#include "files.h"
#include "tools/common/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG_LIMIT = 1 << 20 };

static bool write_copy(struct pack_folder *folder, const char *text, size_t size)
{
    folder->has_config = mglu_io_output_begin(&folder->config, folder->config_out) == MGLU_OK;
    return (folder->has_config && mglu_io_output_write(&folder->config, text, size) == MGLU_OK) || report_library(NULL);
}

static bool copy_config(struct pack_folder *folder, const char *input)
{
    char *text = NULL;
    size_t size;
    char *path = path_in(input, "config.json");
    if (!path)
        return false;
    const bool absent = access(path, F_OK) != 0;
    const bool done = absent || (text_load_regular(path, CONFIG_LIMIT, &text, &size) && write_copy(folder, text, size));
    free(text);
    free(path);
    return done;
}

static bool make_paths(struct pack_folder *folder)
{
    folder->model_out = path_in(folder->output, "model.safetensors");
    folder->config_out = folder->model_out ? path_in(folder->output, "config.json") : NULL;
    return folder->config_out != NULL;
}

static bool make_folder(struct pack_folder *folder)
{
    folder->created = mkdir(folder->output, 0777) == 0;
    if (!folder->created && errno != EEXIST)
        return report_failure("%s: %s", folder->output, strerror(errno));
    struct stat status;
    if (stat(folder->output, &status) != 0 || !S_ISDIR(status.st_mode))
        return report_failure("%s: not a directory", folder->output);
    folder->had_model = access(folder->model_out, F_OK) == 0;
    return true;
}

bool pack_folder_begin(struct pack_folder *folder, const char *input, const char *output)
{
    *folder = (struct pack_folder){.output = output};
    if (path_same(input, output))
        return report_failure("%s: the output would replace the input", output);
    if (make_paths(folder) && make_folder(folder) && copy_config(folder, input))
        return true;
    pack_folder_end(folder);
    return false;
}

bool pack_folder_finish(struct pack_folder *folder)
{
    folder->finished = !folder->has_config || mglu_io_output_commit(&folder->config) == MGLU_OK;
    folder->has_config = false;
    if (!folder->finished && !folder->had_model)
        unlink(folder->model_out);
    return folder->finished || report_library(NULL);
}

void pack_folder_end(struct pack_folder *folder)
{
    if (folder->has_config)
        mglu_io_output_discard(&folder->config);
    if (!folder->finished && folder->created)
        rmdir(folder->output);
    free(folder->model_out);
    free(folder->config_out);
}
