/* SPDX-License-Identifier: MIT */
#include "layout_options.h"

#include "common/json/json.h"
#include "files.h"
#include "tools/common/arguments.h"
#include "tools/common/report.h"

#include <mglu/io.h>

#include <stdlib.h>
#include <unistd.h>

enum { CONFIG_LIMIT = 1 << 20, TYPE_SIZE = 64 };

/** Options without a letter: the commands have letters of their own. */
enum { FUSED = 0x100, IGNORE_UNREAD };

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
     "Rows of gate and value in one matrix: halves or interleaved (default: as the file says, else as the model_type "
     "in "
     "a config.json beside it implies)",
     0},
    {"ignore-unread", IGNORE_UNREAD, NULL, 0, "Read layers although nothing reads some tensors beside theirs", 0},
    {0},
};

const struct argp layout_argp = {.options = list, .parser = parse};

/** Finds model_type; `type` is empty when there is none that fits. */
static bool read_type(const char *path, const char *text, size_t size, char type[TYPE_SIZE])
{
    struct mglu_json json;
    *type = '\0';
    mglu_json_begin(&json, text, size);
    if (mglu_json_next(&json) == MGLU_JSON_OBJECT)
        while (mglu_json_next(&json) == MGLU_JSON_KEY) {
            const bool wanted = mglu_json_equals(&json, "model_type");
            mglu_json_next(&json);
            if (wanted && json.token == MGLU_JSON_STRING && json.length < TYPE_SIZE)
                mglu_json_decode(&json, type);
            mglu_json_skip(&json);
        }
    return json.token != MGLU_JSON_FAULT || report_failure("%s: %s", path, json.fault);
}

static bool apply_config(const char *path, uint32_t *flags)
{
    char *text, type[TYPE_SIZE];
    size_t size;
    uint32_t implied = 0;
    if (access(path, F_OK) != 0)
        return true;
    if (!text_load_regular(path, CONFIG_LIMIT, &text, &size))
        return false;
    bool done = read_type(path, text, size, type);
    free(text);
    if (done && mglu_file_model_flags(type, &implied) != MGLU_OK)
        done = report_failure("%s: %s", path, mglu_last_error());
    if (!(*flags & (MGLU_FILE_FUSED_HALVES | MGLU_FILE_FUSED_INTERLEAVED)))
        *flags |= implied;
    return done;
}

bool layout_complete_flags(const char *path, uint32_t *flags)
{
    char *config = path_beside(path, "config.json");
    const bool done = config && apply_config(config, flags);
    free(config);
    return done;
}
