/* SPDX-License-Identifier: MIT */
#include "problem/grid_case.h"

#include <string.h>

static const char *const bias_names[] = {"none", "gate", "value", "both"};
static const char *const routing_names[] = {"off",  "k1",      "k2",      "all",      "twice",
                                            "zero", "router1", "router2", "routerall"};
static const char *const residual_names[] = {"no", "yes", "y"};
static const char *const placement_names[] = {"tight",         "padded",        "offset",
                                              "offset-padded", "ends-at-guard", "starts-at-guard"};
static const char *const bits_names[] = {"any", "same", "quantised-x"};
static const char *const fill_names[] = {"real", "positive", "wide", "exact", "probes"};

int32_t grid_top_k(const struct grid_case *test)
{
    switch (test->routing) {
    case ROUTING_OFF:
        return 0;
    case ROUTING_ONE:
    case ROUTING_ROUTER_ONE:
        return 1;
    case ROUTING_ALL:
    case ROUTING_ROUTER_ALL:
        return test->n_masks;
    default:
        return 2;
    }
}

int64_t grid_columns(const struct grid_case *test)
{
    return test->out ? test->out : test->d;
}

bool grid_is_exact(const struct grid_case *test)
{
    bool integers = test->fill >= FILL_EXACT;
    bool rational = test->activation == MGLU_ACTIVATION_IDENTITY || test->activation == MGLU_ACTIVATION_RELU;
    bool softmax = test->routing >= ROUTING_ROUTER_ONE && grid_top_k(test) > 1;

    return integers && rational && !softmax;
}

void grid_name(const struct grid_case *test, const char *group, char *name, size_t size)
{
    char activation[24];

    snprintf(activation, sizeof activation, "%s%.4g", mglu_activation_name(test->activation), (double)test->silu_beta);
    if (test->silu_beta == 0)
        activation[strlen(activation) - 1] = '\0';
    snprintf(name, size,
             "%s/%s_w=%s_x=%s_y=%s_nm=%d_act=%s_h=%lld_d=%lld_b=%lld_bias=%s_route=%s_down=%lld_res=%s_bits=%s"
             "_layout=%s_fill=%s",
             group, test->kind == MGLU_KIND_MASKED ? "mglu" : "glu", mglu_dtype_name(test->weight),
             mglu_dtype_name(test->x), mglu_dtype_name(test->y), test->n_masks, activation, (long long)test->h,
             (long long)test->d, (long long)test->batch, bias_names[test->bias], routing_names[test->routing],
             (long long)test->out, residual_names[test->residual], bits_names[test->bits],
             placement_names[test->placement], fill_names[test->fill]);
}

void grid_emit(const struct grid_case *test, const char *group, enum tier tier, case_sink *sink, void *user)
{
    struct test_case named = {.tier = tier, .data = test};

    grid_name(test, group, named.name, sizeof named.name);
    sink(user, &named);
}
