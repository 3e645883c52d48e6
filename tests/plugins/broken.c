/* SPDX-License-Identifier: MIT */
/*
 * Plug-ins that break the contract: the example with single slots of its table replaced, as broken_table.h and
 * broken_calls.h say. FAULT names the violation of a module; a module without it reads MGLU_TEST_FAULT, so that a test
 * can try many. ENTRY is the name of the entry point.
 */
#define mglu_backend_entry example_entry
#include "../../examples/backend/sample.c"
#undef mglu_backend_entry
#ifndef ENTRY
#define ENTRY mglu_backend_entry
#endif

#include <fenv.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broken_calls.h"
#include "broken_table.h"

MGLU_API const mglu_backend_fns *ENTRY(uint32_t host_abi);

static const struct {
    const char *name;
    void (*tell)(mglu_backend_fns *fns);
} faults[] = {
    {"newer-abi", set_newer_abi},
    {"older-abi", set_older_abi},
    {"table-size", set_table_size},
    {"larger-table", set_larger_table},
    {"before-training", set_before_training},
    {"half-training", set_half_training},
    {"no-poll", set_no_poll},
    {"no-notify", set_no_notify},
    {"missing-slot", set_missing_slot},
    {"half-memory", set_half_memory},
    {"no-name", set_no_name},
    {"empty-name", set_empty_name},
    {"name-in-two-words", set_name_in_two_words},
    {"reserved-name", set_reserved_name},
    {"name-of-a-choice", set_name_of_a_choice},
    {"taken-name", set_taken_name},
    {"no-reason", set_no_reason},
    {"open-fails", set_open_fails},
    {"no-device", set_no_device},
    {"negative-count", set_negative_count},
    {"info-fails", set_info_fails},
    {"nameless-device", set_nameless_device},
    {"rank", set_rank},
    {"best-rank", set_best_rank},
    {"type", set_type},
    {"own-memory", set_own_memory},
    {"refuses-plain", set_refuses_plain},
    {"bf16-as-f16", set_bf16_as_f16},
    {"changes-rounding", set_changes_rounding},
    {"writes-past-y", set_writes_past_y},
    {"ignores-stride", set_ignores_stride},
    {"small-workspace", set_small_workspace},
    {"reversed-masks", set_reversed_masks},
    {"ignores-routing", set_ignores_routing},
    {"static-buffer", set_static_buffer},
};

/* NULL, which is refused too, for a fault that is not in the list. */
const mglu_backend_fns *ENTRY(uint32_t host_abi)
{
    static mglu_backend_fns table;
#ifdef FAULT
    const char *fault = FAULT;
#else
    const char *fault = getenv("MGLU_TEST_FAULT");
#endif

    for (size_t i = 0; fault && i < sizeof faults / sizeof faults[0]; i++) {
        if (strcmp(faults[i].name, fault) != 0)
            continue;
        table = *example_entry(host_abi);
        faults[i].tell(&table);
        return &table;
    }
    return NULL;
}
