/* SPDX-License-Identifier: MIT */
#include "problem/axes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Computes the rows of the grid and prints them as C: first rows in which every allowed pair of values of two axes
 * occurs, then more until every allowed triple does. Greedy: each row starts from a combination not seen yet and takes,
 * axis by axis, the value that adds most. The same rows on every machine.
 *
 * Not every device has quantised weights: the float dtypes are covered without them, and the pairs with them come
 * after. Other kernels run where x may be quantised: last come all pairs among the rows that allow it.
 */

enum { MAX_VALUES = 32, MAX_ROWS = 20000, CANDIDATES = 3, MAX_SETS = AXES * AXES * AXES };

static const int64_t pair_limit = INT64_C(1) << 20, triple_limit = INT64_C(1) << 22;

/* Three axes whose values are to be combined; for pairs the third is the second again. */
struct set {
    int axes[3];
    int open; /* combinations not seen yet */
    unsigned char wanted[MAX_VALUES][MAX_VALUES][MAX_VALUES];
};

static struct set sets[MAX_SETS];
static int set_count;
static int64_t limit;
static int sizes[AXES];       /* how many values of each axis are used */
static signed char bits = -1; /* the value that all rows have on that axis; -1: any */
static signed char rows[MAX_ROWS][AXES];
static int row_count;
static uint64_t state = 20250623;

static int random_below(int count)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)((state >> 33) % (uint64_t)count);
}

static unsigned char *wanted_at(struct set *set, const signed char row[AXES])
{
    return &set->wanted[(int)row[set->axes[0]]][(int)row[set->axes[1]]][(int)row[set->axes[2]]];
}

static void clear_row(signed char row[AXES])
{
    memset(row, -1, AXES);
    row[AXIS_BITS] = bits;
}

static void assign(signed char row[AXES], const struct set *set, int a, int b, int c)
{
    row[set->axes[0]] = (signed char)a;
    row[set->axes[1]] = (signed char)b;
    row[set->axes[2]] = (signed char)c;
}

/* Marks the allowed combinations of one set. */
static void open_set(int first, int second, int third)
{
    struct set *set = &sets[set_count++];
    signed char row[AXES];

    *set = (struct set){.axes = {first, second, third}};
    clear_row(row);
    for (int a = 0; a < sizes[first]; a++)
        for (int b = 0; b < sizes[second]; b++)
            for (int c = third == second ? b : 0; c < (third == second ? b + 1 : sizes[third]); c++) {
                assign(row, set, a, b, c);
                set->wanted[a][b][c] = axes_allow(row, limit);
                set->open += set->wanted[a][b][c];
            }
}

static void open_sets(int strength)
{
    set_count = 0;
    for (int a = 0; a < AXES; a++)
        for (int b = a + 1; b < AXES; b++) {
            if (bits >= 0 && (a == AXIS_BITS || b == AXIS_BITS))
                continue;
            if (strength == 2)
                open_set(a, b, b);
            for (int c = b + 1; c < AXES && strength == 3; c++)
                open_set(a, b, c);
        }
}

/* How many combinations are new once `axis` has its value; counts only combinations whose axes all have a value. */
static int gain(const signed char row[AXES], int axis)
{
    int count = 0;

    for (int i = 0; i < set_count; i++) {
        const int *axes = sets[i].axes;
        if ((axes[0] == axis || axes[1] == axis || axes[2] == axis) && row[axes[0]] >= 0 && row[axes[1]] >= 0 &&
            row[axes[2]] >= 0)
            count += *wanted_at(&sets[i], row);
    }
    return count;
}

/* The value that covers most; false when none is allowed with the others. */
static bool assign_best_value(signed char row[AXES], int axis)
{
    int best = -1, best_gain = -1, first = random_below(sizes[axis]);

    for (int i = 0; i < sizes[axis]; i++) {
        row[axis] = (signed char)((first + i) % sizes[axis]);
        int now = axes_allow(row, limit) ? gain(row, axis) : -1;
        if (now > best_gain) {
            best = row[axis];
            best_gain = now;
        }
    }
    row[axis] = (signed char)best;
    return best >= 0;
}

/* Gives the remaining axes values in random order; false when no value is allowed. */
static bool complete(signed char row[AXES])
{
    int order[AXES];

    for (int i = 0; i < AXES; i++) {
        int at = random_below(i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    for (int i = 0; i < AXES; i++)
        if (row[order[i]] < 0 && !assign_best_value(row, order[i]))
            return false;
    return true;
}

/* A combination not seen yet, of the set that has most of them; false when none is left. */
static bool start(signed char row[AXES])
{
    struct set *most = &sets[0];
    int left;

    for (int i = 1; i < set_count; i++)
        if (sets[i].open > most->open)
            most = &sets[i];
    if (most->open == 0)
        return false;
    left = random_below(most->open);
    for (int a = 0; a < MAX_VALUES; a++)
        for (int b = 0; b < MAX_VALUES; b++)
            for (int c = 0; c < MAX_VALUES; c++)
                if (most->wanted[a][b][c] && left-- == 0)
                    assign(row, most, a, b, c);
    return true;
}

static int cover(const signed char row[AXES])
{
    int count = 0;

    for (int i = 0; i < set_count; i++) {
        unsigned char *wanted = wanted_at(&sets[i], row);
        sets[i].open -= *wanted;
        count += *wanted;
        *wanted = 0;
    }
    return count;
}

static int worth(const signed char row[AXES])
{
    int count = 0;

    for (int i = 0; i < set_count; i++)
        count += *wanted_at(&sets[i], row);
    return count;
}

/* The best of several candidate rows; false when nothing is left to cover. */
static bool add_row(void)
{
    signed char candidate[AXES];
    int best = -1;

    for (int i = 0; i < CANDIDATES || best < 0; i++) {
        clear_row(candidate);
        if (!start(candidate))
            return false;
        if (complete(candidate) && worth(candidate) > best) {
            best = worth(candidate);
            memcpy(rows[row_count], candidate, AXES);
        }
    }
    cover(rows[row_count++]);
    return true;
}

static void cover_all(int strength, int64_t products)
{
    limit = products;
    open_sets(strength);
    for (int i = 0; i < row_count; i++)
        if (bits < 0 || rows[i][AXIS_BITS] == bits)
            cover(rows[i]);
    while (row_count < MAX_ROWS && add_row())
        ;
}

static bool all_complete(void)
{
    limit = triple_limit;
    for (int i = 0; i < row_count; i++)
        if (memchr(rows[i], -1, AXES) || !axes_allow(rows[i], limit))
            return false;
    return true;
}

int main(void)
{
    int pair_rows, float_rows, quick_rows;

    memcpy(sizes, axis_sizes, sizeof sizes);
    sizes[AXIS_DTYPES] = FLOAT_DTYPES;
    sizes[AXIS_BITS] = FLOAT_BITS;
    cover_all(2, pair_limit);
    pair_rows = row_count;
    cover_all(3, triple_limit);
    float_rows = row_count;
    sizes[AXIS_DTYPES] = axis_sizes[AXIS_DTYPES];
    cover_all(2, pair_limit);
    sizes[AXIS_BITS] = axis_sizes[AXIS_BITS];
    cover_all(2, pair_limit);
    quick_rows = row_count;
    bits = BITS_QUANTISED_X;
    cover_all(2, pair_limit);
    if (row_count == MAX_ROWS || !all_complete())
        return EXIT_FAILURE;
    printf("/* Made by generate_rows.c. */\nenum { PAIR_ROWS = %d, FLOAT_ROWS = %d, QUICK_ROWS = %d, GRID_ROWS = %d "
           "};\n\n",
           pair_rows, float_rows, quick_rows, row_count);
    printf("static const signed char grid_rows[GRID_ROWS][AXES] = {\n");
    for (int i = 0; i < row_count; i++) {
        printf("    {");
        for (int axis = 0; axis < AXES; axis++)
            printf("%s%d", axis ? ", " : "", rows[i][axis]);
        printf("},\n");
    }
    printf("};\n");
    return EXIT_SUCCESS;
}
