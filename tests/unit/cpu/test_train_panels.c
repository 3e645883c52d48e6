/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"

#include "backends/cpu/train.h"

/* What lies outside the matrix is zero in every panel, also where 32 rows are no whole number of panels. */

enum { GROUPS = 2, MOST_ROWS = 100 };

static void check_panels(const struct mglu_cpu_train_panels *panels, int64_t rows)
{
    static const mglu_cpu_train_row zeros[MGLU_CPU_TRAIN_BLOCK];
    const struct mglu_cpu_train train = {.panels = panels};
    const size_t size = (size_t)mglu_cpu_left_panels(&train, rows) * GROUPS * mglu_cpu_left_bytes(&train);
    char *memory = malloc(size);

    assert_non_null(memory);
    memset(memory, 0xff, size);
    for (int64_t row = 0; row < rows; row += MGLU_CPU_TRAIN_BLOCK)
        for (int64_t group = 0; group < GROUPS; group++)
            mglu_cpu_train_pack_left(&train, zeros, memory, GROUPS, row, rows, group);
    for (size_t i = 0; i < size; i++)
        if (memory[i] != 0)
            fail_msg("%s: of %d rows in panels of %d, byte %zu of %zu is not written", panels->name, (int)rows,
                     (int)panels->panel_rows, i, size);
    free(memory);
}

static void left_panels_are_written_to_their_end(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    const struct mglu_cpu_train_panels *const all[] = {isa->train_f32, isa->train_bf16, isa->train_tiles};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (int64_t rows = 1; all[i] && rows <= MOST_ROWS; rows++)
            check_panels(all[i], rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(left_panels_are_written_to_their_end)};

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
