/* SPDX-License-Identifier: MIT */
#include "problem/fills.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The mask of a token's term; each token begins elsewhere. */
static int32_t draw_id(const struct grid_case *test, int32_t first, int32_t second, int32_t term)
{
    if (test->routing == ROUTING_DUPLICATES)
        return first;
    if (test->routing == ROUTING_ALL)
        return (first + term) % test->n_masks;
    return term == 0 ? first : second;
}

static float draw_weight(const struct grid_case *test, int64_t token, int32_t term, struct random *random)
{
    uint64_t bits = random_u64(random);
    float p;

    if (test->routing == ROUTING_ZERO && term == token % 2)
        return 0;
    if (test->fill >= FILL_EXACT)
        return ldexpf(1, (int)(bits % 3) - 1);
    p = 0.25f + (float)(bits >> 40) * 0x1p-24f;
    return bits % 4 || test->fill == FILL_POSITIVE ? p : -p;
}

void draw_routing(const struct grid_case *test, struct rows *ids, struct rows *p, struct random *random)
{
    for (int64_t token = 0; token < ids->count; token++) {
        int32_t first = (int32_t)(random_u64(random) % (uint64_t)test->n_masks), second = 0;

        if (test->n_masks > 1)
            second = (first + 1 + (int32_t)(random_u64(random) % (uint64_t)(test->n_masks - 1))) % test->n_masks;
        for (int32_t term = 0; term < ids->columns; term++) {
            int32_t id = draw_id(test, first, second, term);
            float weight = draw_weight(test, token, term, random);

            memcpy(rows_at(ids, token) + (size_t)term * sizeof id, &id, sizeof id);
            memcpy(rows_at(p, token) + (size_t)term * sizeof weight, &weight, sizeof weight);
        }
    }
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x < y) - (x > y);
}

/* Logits of one token in falling order, and the largest error that any accuracy class allows them. */
static double sorted_logits(const struct grid_case *test, const float *x, const float *router, double *logits)
{
    double error = 0, h = (double)test->h, c = fmin(h, fmax(8 + sqrt(h), 16 + h / 64));

    for (int32_t i = 0; i < test->n_masks; i++) {
        double magnitude = 0;

        logits[i] = 0;
        for (int64_t k = 0; k < test->h; k++) {
            double product = (double)router[i * test->h + k] * (double)x[k];
            logits[i] += product;
            magnitude += fabs(product);
        }
        error = fmax(error, (2 * c + 2) * (double)FLT_EPSILON * magnitude);
    }
    qsort(logits, (size_t)test->n_masks, sizeof *logits, descending);
    return error;
}

bool router_is_clear(const struct grid_case *test, const float *x, const float *router)
{
    int32_t top_k = grid_top_k(test);
    double logits[MGLU_MAX_MASKS];

    if (test->fill >= FILL_EXACT || top_k >= test->n_masks)
        return true;
    for (int64_t token = 0; token < test->batch; token++) {
        double error = sorted_logits(test, x + token * test->h, router, logits);
        if (logits[top_k - 1] - logits[top_k] <= 2 * error)
            return false;
    }
    return true;
}
