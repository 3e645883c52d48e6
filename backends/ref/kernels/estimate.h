/* SPDX-License-Identifier: MIT */
#ifndef MGLU_REF_ESTIMATE_H
#define MGLU_REF_ESTIMATE_H

#include <float.h>
#include <math.h>
#include <stdint.h>

/* u of docs/semantics.md: half a unit in the last place of f32 at 1. */
#define UNIT (FLT_EPSILON / 2.0)

/* A number and the error bound of a conforming backend. */
struct estimate {
    double value, error;
};

/* Rounded once to a type with this unit. */
static inline struct estimate rounded(struct estimate a, double unit)
{
    return (struct estimate){a.value, a.error + unit * (fabs(a.value) + a.error) + (double)FLT_MIN};
}

static inline struct estimate sum_of(struct estimate a, struct estimate b)
{
    return rounded((struct estimate){a.value + b.value, a.error + b.error}, UNIT);
}

static inline struct estimate product_of(struct estimate a, struct estimate b)
{
    const double error = fabs(a.value) * b.error + fabs(b.value) * a.error + a.error * b.error;

    return rounded((struct estimate){a.value * b.value, error}, UNIT);
}

static inline struct estimate negative(struct estimate a)
{
    return (struct estimate){-a.value, a.error};
}

/* A sum of products in f32, in any order. */
struct dot {
    double value, carried, magnitude, flushed;
};

static inline void add_product(struct dot *dot, struct estimate a, struct estimate b)
{
    dot->value += a.value * b.value;
    dot->carried += fabs(a.value) * b.error + fabs(b.value) * a.error + a.error * b.error;
    dot->magnitude += (fabs(a.value) + a.error) * (fabs(b.value) + b.error);
    dot->flushed += (double)FLT_MIN * (1 + fabs(a.value) + fabs(b.value));
}

/* The sum of n products, with the error bound of class A. */
static inline struct estimate sum_of_products(const struct dot *dot, int64_t n)
{
    const double c = fmin((double)n, 8 + sqrt((double)n));

    return (struct estimate){dot->value, dot->carried + (2 * c + 2) * UNIT * dot->magnitude + dot->flushed};
}

/* The same of a few terms that are added one by one, in any order. */
static inline struct estimate sum_of_terms(const struct dot *dot, int64_t n)
{
    return (struct estimate){dot->value, dot->carried + (double)(n + 1) * UNIT * dot->magnitude + dot->flushed};
}

static inline void add_term(struct dot *dot, struct estimate term)
{
    add_product(dot, term, (struct estimate){1, 0});
}

#endif
