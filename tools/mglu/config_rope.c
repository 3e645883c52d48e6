/* SPDX-License-Identifier: MIT */
#include "config_rope.h"

#include <math.h>
#include <string.h>

static const double default_theta = 10000, most_theta = 1e30, most_factor = 1e6, most_positions = 1e12;

/** Keys of the object; others, as those of each kind of layer, are refused. */
static bool check_key(const struct config_object *object, const char *key, const struct mglu_json *value, void *context)
{
    static const char *const known[] = {"rope_type",
                                        "type",
                                        "rope_theta",
                                        "factor",
                                        "low_freq_factor",
                                        "high_freq_factor",
                                        "original_max_position_embeddings"};
    double one;
    (void)context;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i], key) == 0)
            return true;
    if (value->token == MGLU_JSON_NULL)
        return true;
    if (strcmp(key, "partial_rotary_factor") == 0 && mglu_json_double(value, &one) && one == 1)
        return true;
    return config_failure(object, key, "is not implemented");
}

static bool read_type(const struct config_object *object, enum rope_type *type)
{
    const char *key = config_has(object, "rope_type") ? "rope_type" : "type";
    char name[64], other[64], known[128] = "";
    if (!config_text(object, key, name, sizeof name) || !config_text(object, "type", other, sizeof other))
        return false;
    if (*other && strcmp(name, other) != 0)
        return config_failure(object, "type", "'%s', but %s is '%s'", other, key, name);
    for (int i = 0; i < ROPE_TYPES; i++) {
        *type = (enum rope_type)i;
        if (strcmp(rope_type_name(i), *name ? name : "default") == 0)
            return true;
        strcat(strcat(known, i ? ", " : ""), rope_type_name(i));
    }
    return config_failure(object, key, "'%s' is not implemented; expected one of %s", name, known);
}

static bool read_llama3(const struct config_object *object, struct rope *rope)
{
    const double most = most_factor;
    if (!config_real(object, "low_freq_factor", 1 / most, most, NAN, &rope->low_factor) ||
        !config_real(object, "high_freq_factor", 1 / most, most, NAN, &rope->high_factor) ||
        !config_real(object, "original_max_position_embeddings", 1, most_positions, NAN, &rope->original_positions))
        return false;
    return rope->high_factor > rope->low_factor ||
           config_failure(object, "high_freq_factor", "%g is not above low_freq_factor %g", rope->high_factor,
                          rope->low_factor);
}

static bool read_scaling(const struct config_object *object, struct rope *rope)
{
    if (!config_each(object, check_key, NULL) || !read_type(object, &rope->type))
        return false;
    if (!config_has(object, "rope_type") && !config_has(object, "type") && config_has(object, "factor"))
        return config_failure(object, "rope_type", "missing beside factor");
    if (rope->type == ROPE_DEFAULT)
        return true;
    return config_real(object, "factor", 1 / most_factor, most_factor, NAN, &rope->factor) &&
           (rope->type != ROPE_LLAMA3 || read_llama3(object, rope));
}

/** The theta of the outermost object, of the inner one, or the default; both may give the same. */
static bool read_theta(const struct config_object *root, const struct config_object *inner, double *theta)
{
    double other;
    if (!config_real(root, "rope_theta", 1, most_theta, -1, theta) ||
        !config_real(inner, "rope_theta", 1, most_theta, -1, &other))
        return false;
    if (*theta > 0 && other > 0 && *theta != other)
        return config_failure(inner, "rope_theta", "%g, but rope_theta outside is %g", other, *theta);
    *theta = other > 0 ? other : *theta > 0 ? *theta : default_theta;
    return true;
}

bool config_read_rope(const struct config_object *root, struct rope *rope)
{
    struct config_object inner = *root, other;
    bool has_scaling, has_parameters;
    *rope = (struct rope){.type = ROPE_DEFAULT};
    if (!config_child(root, "rope_scaling", &inner, &has_scaling) ||
        !config_child(root, "rope_parameters", &other, &has_parameters))
        return false;
    if (has_scaling && has_parameters)
        return config_failure(root, "rope_scaling", "given beside rope_parameters; expected one of them");
    if (has_parameters)
        inner = other;
    if ((has_scaling || has_parameters) && !read_scaling(&inner, rope))
        return false;
    return read_theta(root, &inner, &rope->theta);
}
