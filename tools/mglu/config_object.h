/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_CONFIG_OBJECT_H
#define MGLU_TOOLS_CONFIG_OBJECT_H

/**
 * @file
 * Objects of a config.json and the values of their keys. A key whose value is null counts as absent, since
 * transformers writes null for it. Functions that fail have reported the file, the key and why.
 */

#include "common/json/json.h"

#include <stdbool.h>

/** Longer keys are nobody's. */
enum { CONFIG_KEY_SIZE = 128 };

struct config_object {
    const char *path; /**< the file */
    const char *name; /**< its key, NULL for the outermost object */
    const char *text; /**< from its brace on */
    size_t size;
};

struct config_file {
    char *text;
    struct config_object root;
};

/** Reads and checks a whole file: one object, no key twice in it. A byte order mark before it is skipped. */
bool config_open(const char *path, struct config_file *file);
void config_close(struct config_file *file);

/** Whether a key is there, be it null. */
bool config_has(const struct config_object *object, const char *key);

/** Sets `value` to the value's first token; false for an absent key. Reports nothing. */
bool config_find(const struct config_object *object, const char *key, struct mglu_json *value);

/** The object that is a key's value. */
bool config_child(const struct config_object *object, const char *key, struct config_object *child, bool *found);

/** A whole number; `missing` is its value when absent, CONFIG_REQUIRED an error then. */
#define CONFIG_REQUIRED INT64_MIN
bool config_whole(const struct config_object *object, const char *key, int64_t lowest, int64_t highest, int64_t missing,
                  int64_t *value);

/** A number; NaN for `missing` is an error when it is absent. */
bool config_real(const struct config_object *object, const char *key, double lowest, double highest, double missing,
                 double *value);

bool config_flag(const struct config_object *object, const char *key, bool missing, bool *value);

/** A text shorter than `size`; "" when absent. */
bool config_text(const struct config_object *object, const char *key, char *value, size_t size);

/** Fails with "path: key: reason". */
bool config_failure(const struct config_object *object, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Calls visit(object, key, value, context) for each key, until one fails. */
typedef bool config_visit(const struct config_object *object, const char *key, const struct mglu_json *value,
                          void *context);
bool config_each(const struct config_object *object, config_visit *visit, void *context);

#endif
