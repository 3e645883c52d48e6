/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "tools/common/compute.h"
#include "tools/common/report.h"

#include <math.h>
#include <stdio.h>

bool check_tolerances(struct check *check, mglu_context *context, const mglu_weights_desc *weights,
                      const mglu_layer_desc *desc, mglu_accuracy accuracy, const void *x)
{
    struct ffn reference;
    mglu_device *device;
    if (mglu_device_pick(context, "ref", &device) != MGLU_OK)
        return report_library("check");
    if (!ffn_create(&reference, device, weights, desc, "check"))
        return false;
    const mglu_forward_args args = {.struct_size = sizeof args, .batch = check->rows, .x = {.data = x}};
    const bool done = mglu_forward_reference(reference.layer, &args, accuracy, NULL, check->tolerance) == MGLU_OK ||
                      report_library("check");
    ffn_destroy(&reference);
    return done;
}

/** An element's error as a fraction of its tolerance; infinite where only one of the two is NaN. */
static double fraction(double got, double want, double tolerance)
{
    if (got == want || (isnan(got) && isnan(want)))
        return 0;
    const double error = fabs(got - want) / tolerance;
    return isnan(error) ? (double)INFINITY : error;
}

bool check_print(const struct check *check)
{
    const int64_t count = check->rows * check->width;
    if (!count)
        return report_failure("check: there is nothing to compare");
    int64_t worst = 0;
    double largest = -1;
    for (int64_t i = 0; i < count; i++) {
        const double error = fraction(check->got[i], check->want[i], check->tolerance[i]);
        if (error > largest) {
            largest = error;
            worst = i;
        }
    }
    printf("check: largest error %.4g of the bound (row %lld, column %lld: got %.9g, want %.9g, tolerance %.3g), "
           "%lld elements\n",
           largest, (long long)(worst / check->width), (long long)(worst % check->width), check->got[worst],
           check->want[worst], check->tolerance[worst], (long long)count);
    return largest <= 1 || report_failure("check: largest error is %.4g of the bound, above 1", largest);
}
