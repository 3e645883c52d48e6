/* SPDX-License-Identifier: MIT */
#include "layout_options.h"

#include "config_object.h"
#include "files.h"
#include "tools/common/arguments.h"
#include "tools/common/report.h"

#include <mglu/io.h>
#include <mglu/weights.h>

#include <stdlib.h>
#include <unistd.h>

enum { TYPE_SIZE = 128 };

/** Options without a letter: the commands have letters of their own. */
enum { FUSED = 0x100, IGNORE_UNREAD, MAP };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    static const char *const orders[] = {"halves", "interleaved"};
    uint32_t *flags = state->input;
    switch (key) {
    case FUSED:
        *flags &= ~(uint32_t)(MGLU_FILE_FUSED_HALVES | MGLU_FILE_FUSED_INTERLEAVED);
        *flags |= arguments_choice(state, "--fused", argument, orders, 2) ? MGLU_FILE_FUSED_INTERLEAVED
                                                                          : MGLU_FILE_FUSED_HALVES;
        return 0;
    case IGNORE_UNREAD:
        *flags |= MGLU_FILE_IGNORE_UNREAD;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option list[] = {
    {"fused", FUSED, "ORDER", 0,
     "Rows of gate and value in one matrix: halves or interleaved (default: as the file says, else as the "
     "model_type in a config.json beside it implies)",
     0},
    {"ignore-unread", IGNORE_UNREAD, NULL, 0, "Read layers although nothing reads some tensors beside theirs", 0},
    {0},
};

const struct argp layout_argp = {.options = list, .parser = parse};

static error_t parse_mapping(int key, char *argument, struct argp_state *state)
{
    uint32_t *flags = state->input;
    if (key != MAP)
        return ARGP_ERR_UNKNOWN;
    *flags |= MGLU_FILE_MMAP;
    return 0;
}

static const struct argp_option mapping_list[] = {
    {"mmap", MAP, NULL, 0,
     "Map files instead of reading them; the CPU then uses packed weights in place. Nobody may change a file "
     "meanwhile: "
     "one that is cut short ends the program (SIGBUS)",
     0},
    {0},
};

const struct argp mapping_argp = {.options = mapping_list, .parser = parse_mapping};

uint32_t mapping_weights_flags(uint32_t file_flags)
{
    return file_flags & MGLU_FILE_MMAP ? MGLU_WEIGHTS_BORROW : 0;
}

static bool apply_config(const struct config_object *config, uint32_t *flags)
{
    char type[TYPE_SIZE];
    uint32_t implied = 0;
    if (!config_text(config, "model_type", type, sizeof type))
        return false;
    if (mglu_file_model_flags(type, &implied) != MGLU_OK)
        return report_failure("%s: %s", config->path, mglu_last_error());
    if (!(*flags & (MGLU_FILE_FUSED_HALVES | MGLU_FILE_FUSED_INTERLEAVED)))
        *flags |= implied;
    return true;
}

static bool apply_file(const char *path, uint32_t *flags)
{
    struct config_file file;
    if (access(path, F_OK) != 0)
        return true;
    if (!config_open(path, &file))
        return false;
    const bool done = apply_config(&file.root, flags);
    config_close(&file);
    return done;
}

bool layout_complete_flags(const char *path, uint32_t *flags)
{
    char *config = path_beside(path, "config.json");
    const bool done = config && apply_file(config, flags);
    free(config);
    return done;
}
