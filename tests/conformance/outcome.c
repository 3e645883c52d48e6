/* SPDX-License-Identifier: MIT */
#include "conformance.h"

#include <math.h>
#include <stdarg.h>

void outcome_set(struct outcome *outcome, enum verdict verdict, const char *format, ...)
{
    va_list arguments;

    if (outcome->verdict != VERDICT_PASS)
        return;
    outcome->verdict = verdict;
    va_start(arguments, format);
    vsnprintf(outcome->text, sizeof outcome->text, format, arguments);
    va_end(arguments);
}

bool outcome_expect(struct outcome *outcome, const char *call, mglu_status got, mglu_status expected)
{
    const char *reason = got == MGLU_OK ? "" : mglu_last_error();

    if (got != expected)
        outcome_set(outcome, VERDICT_FAIL, "%s gave %s, expected %s%s%s", call, mglu_status_string(got),
                    mglu_status_string(expected), reason[0] ? ": " : "", reason);
    return got == expected;
}

const char *accuracy_name(mglu_accuracy accuracy)
{
    static const char *const names[] = {[MGLU_ACCURACY_A] = "A", [MGLU_ACCURACY_B] = "B", [MGLU_ACCURACY_C] = "C"};

    return names[accuracy];
}

void outcome_add_rho(struct outcome *outcome, double rho)
{
    double step = RHO_STEPS + ceil(4 * log2(rho)) - 1;

    if (!isfinite(rho))
        return;
    if (rho > outcome->rho)
        outcome->rho = rho;
    outcome->rho_counts[step < 0 ? 0 : step >= RHO_STEPS ? RHO_STEPS - 1 : (int)step]++;
}
