/* SPDX-License-Identifier: MIT */
#include "config_object.h"

#include "files.h"
#include "tools/common/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Larger than any config.json, so that a wrong file is not read completely. */
enum { CONFIG_LIMIT = 1 << 20, MOST_KEYS = 1000 };

static bool report_fault(const char *path, const struct mglu_json *json)
{
    size_t line, column;
    mglu_json_place(json, &line, &column);
    return report_failure("%s: line %zu, column %zu: %s", path, line, column, json->fault);
}

bool config_failure(const struct config_object *object, const char *key, const char *format, ...)
{
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return report_failure("%s: %s%s%s: %s", object->path, object->name ? object->name : "", object->name ? "." : "",
                          key, reason);
}

/** Moves to the next key's value; false at the object's end. */
static bool next_value(struct mglu_json *json, struct mglu_json *key)
{
    if (json->token == MGLU_JSON_FAULT || !mglu_json_skip(json) || mglu_json_next(json) != MGLU_JSON_KEY)
        return false;
    *key = *json;
    return mglu_json_next(json) != MGLU_JSON_FAULT;
}

/** Starts before an object's first key. */
static struct mglu_json begin(const struct config_object *object)
{
    struct mglu_json json;
    mglu_json_begin(&json, object->text, object->size);
    json.nonfinite = true;
    mglu_json_next(&json);
    /* What next_value() skips before the first key is no value. */
    json.token = MGLU_JSON_NULL;
    return json;
}

static bool is_first(const struct config_object *object, const char *key, const struct mglu_json *value)
{
    struct mglu_json json = begin(object), name;
    while (next_value(&json, &name))
        if (mglu_json_equals(&name, key))
            return json.first == value->first;
    return false;
}

static bool check_key(const struct config_object *object, const char *key, const struct mglu_json *value, void *context)
{
    int *count = context;
    if (++*count > MOST_KEYS)
        return report_failure("%s: more than %d keys", object->path, MOST_KEYS);
    return is_first(object, key, value) || config_failure(object, key, "duplicate key");
}

static bool check_keys(const struct config_object *object)
{
    int count = 0;
    return config_each(object, check_key, &count);
}

static bool check_text(const char *path, const char *text, size_t size)
{
    struct mglu_json json;
    mglu_json_begin(&json, text, size);
    json.nonfinite = true;
    if (mglu_json_next(&json) != MGLU_JSON_OBJECT && json.token != MGLU_JSON_FAULT)
        return report_failure("%s: not a JSON object", path);
    while (json.token != MGLU_JSON_FAULT && json.token != MGLU_JSON_END)
        mglu_json_next(&json);
    return json.token == MGLU_JSON_END || report_fault(path, &json);
}

bool config_open(const char *path, struct config_file *file)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t size, skipped;
    if (!text_load_regular(path, CONFIG_LIMIT, &file->text, &size))
        return false;
    skipped = strncmp(file->text, mark, strlen(mark)) == 0 ? strlen(mark) : 0;
    file->root = (struct config_object){.path = path, .text = file->text + skipped, .size = size - skipped};
    if (check_text(path, file->root.text, file->root.size) && check_keys(&file->root))
        return true;
    config_close(file);
    return false;
}

void config_close(struct config_file *file)
{
    free(file->text);
    *file = (struct config_file){0};
}

static bool find_any(const struct config_object *object, const char *key, struct mglu_json *value)
{
    struct mglu_json name;
    *value = begin(object);
    while (next_value(value, &name))
        if (mglu_json_equals(&name, key))
            return true;
    return false;
}

bool config_has(const struct config_object *object, const char *key)
{
    struct mglu_json value;
    return find_any(object, key, &value);
}

bool config_find(const struct config_object *object, const char *key, struct mglu_json *value)
{
    return find_any(object, key, value) && value->token != MGLU_JSON_NULL;
}

bool config_child(const struct config_object *object, const char *key, struct config_object *child, bool *found)
{
    struct mglu_json value;
    *found = config_find(object, key, &value);
    if (!*found)
        return true;
    if (value.token != MGLU_JSON_OBJECT)
        return config_failure(object, key, "not an object");
    *child = (struct config_object){.path = object->path, .name = key, .text = value.first};
    child->size = object->size - (size_t)(value.first - object->text);
    return check_keys(child);
}

/** The digits of a whole number that fits; one with a fraction is none. */
static bool to_whole(const struct mglu_json *json, int64_t *value)
{
    struct mglu_json digits = *json;
    const bool negative = digits.first[0] == '-';
    uint64_t size;
    digits.first += negative;
    digits.length -= negative;
    if (json->token != MGLU_JSON_NUMBER || !mglu_json_uint64(&digits, &size) || size > INT64_MAX)
        return false;
    *value = negative ? -(int64_t)size : (int64_t)size;
    return true;
}

bool config_whole(const struct config_object *object, const char *key, int64_t lowest, int64_t highest, int64_t missing,
                  int64_t *value)
{
    struct mglu_json found;
    *value = missing;
    if (!config_find(object, key, &found))
        return missing != CONFIG_REQUIRED || config_failure(object, key, "missing");
    if (!to_whole(&found, value))
        return config_failure(object, key, "not a whole number");
    if (*value < lowest || *value > highest)
        return config_failure(object, key, "%lld is not in %lld..%lld", (long long)*value, (long long)lowest,
                              (long long)highest);
    return true;
}

bool config_real(const struct config_object *object, const char *key, double lowest, double highest, double missing,
                 double *value)
{
    struct mglu_json found;
    *value = missing;
    if (!config_find(object, key, &found))
        return missing == missing || config_failure(object, key, "missing");
    if (found.token != MGLU_JSON_NUMBER)
        return config_failure(object, key, "not a number");
    if (!mglu_json_double(&found, value))
        return config_failure(object, key, "too large");
    if (!(*value >= lowest && *value <= highest))
        return config_failure(object, key, "%g is not in %g..%g", *value, lowest, highest);
    return true;
}

bool config_flag(const struct config_object *object, const char *key, bool missing, bool *value)
{
    struct mglu_json found;
    *value = missing;
    if (!config_find(object, key, &found))
        return true;
    if (found.token != MGLU_JSON_TRUE && found.token != MGLU_JSON_FALSE)
        return config_failure(object, key, "neither true nor false");
    *value = found.token == MGLU_JSON_TRUE;
    return true;
}

bool config_text(const struct config_object *object, const char *key, char *value, size_t size)
{
    struct mglu_json found;
    *value = '\0';
    if (!config_find(object, key, &found))
        return true;
    if (found.token != MGLU_JSON_STRING)
        return config_failure(object, key, "not a text");
    if (found.length >= size)
        return config_failure(object, key, "longer than %zu bytes", size - 1);
    mglu_json_decode(&found, value);
    return true;
}

bool config_each(const struct config_object *object, config_visit *visit, void *context)
{
    struct mglu_json value = begin(object), name;
    while (next_value(&value, &name)) {
        char key[CONFIG_KEY_SIZE];
        if (name.length >= sizeof key)
            return report_failure("%s: a key of %zu bytes", object->path, name.length);
        mglu_json_decode(&name, key);
        if (!visit(object, key, &value, context))
            return false;
    }
    return true;
}
