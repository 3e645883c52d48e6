/* SPDX-License-Identifier: MIT */
#include "../check.h"

#include "common/dispatch/objects.h"

#include <stdint.h>
#include <string.h>

/* The library's own allocator. */

#define MIB ((size_t)1 << 20)

static const struct {
    size_t asked, taken;
} sizes[] = {
    {19 * MIB + 64, 20 * MIB},      /* whole huge pages */
    {20 * MIB, 20 * MIB},           /* as they are already */
    {20 * MIB + 64, 20 * MIB + 64}, /* little left over */
    {17 * MIB, 18 * MIB},           /* a seventeenth more */
    {7 * MIB, 7 * MIB},             /* not a seventh */
    {2 * MIB, 2 * MIB},             /* the smallest */
    {SIZE_MAX - 64, SIZE_MAX - 64}, /* no overflow: fails as what it is */
};

static void large_sizes_become_whole_huge_pages_where_these_add_little(void **state)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_int_equal(mglu_size_in_huge_pages(sizes[i].asked), sizes[i].taken);
}

static void memory_is_aligned_and_as_large_as_asked(void **state)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] - 1; i++) {
        void *memory = mglu_default_allocator.allocate(NULL, sizes[i].asked, 2 * MIB);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % (2 * MIB), 0);
        memset(memory, 1, sizes[i].asked);
        mglu_default_allocator.release(NULL, memory, sizes[i].asked, 2 * MIB);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_sizes_become_whole_huge_pages_where_these_add_little),
        cmocka_unit_test(memory_is_aligned_and_as_large_as_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
