/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <math.h>
#include <stdio.h>

const char *member_what(const struct member *member)
{
    if (member->peer)
        return member->peer_case.name[0] ? member->peer_case.variant : "peer";
    return timed_layer_what(&member->timed);
}

void table_machine(const struct machine *machine)
{
    printf("%s\nlast-level cache %.1f MiB, cold weights rotate over %.1f MiB\n", machine->description,
           (double)machine->cache_bytes / (1 << 20), (double)machine->cold_bytes / (1 << 20));
}

static void print_heading(const struct comparison *comparison)
{
    const struct problem *problem = &comparison->problem;
    const double read = comparison_read_gbps(comparison), peak = comparison_peak_gflops(comparison);
    const double dispatch = comparison_dispatch_ns(comparison);
    printf("\n%s %s %lldx%lld, batch %lld, x %s%s, %s, %zu rounds", op_names[problem->op],
           mglu_dtype_name(problem->dtype), (long long)problem->shape.d, (long long)problem->shape.h,
           (long long)problem->batch, mglu_dtype_name(problem->x_dtype), problem->quantised_x ? " quantised" : "",
           regime_names[problem->regime], comparison->rounds);
    if (!isnan(read))
        printf(", reads %.1f GB/s", read);
    if (!isnan(peak))
        printf(", %s peak %.0f GFLOP/s", comparison->peak->name, peak);
    if (!isnan(dispatch))
        printf(", dispatch %.0f ns", dispatch);
    printf("\n  %-24s %11s %11s %7s %8s %6s %11s %8s %8s %8s\n", "", "median us", "min us", "GB/s", "of read", "x GLU",
           "p10..p90", "x dense", "GFLOP/s", "of peak");
}

/** A number, or a dash for NaN. */
static void print_number(int width, int decimals, double value)
{
    if (isnan(value))
        printf(" %*s", width, "-");
    else
        printf(" %*.*f", width, decimals, value);
}

static void print_label(const struct member *member)
{
    char label[128], masks[32] = "";
    if (member->timed.n_masks)
        snprintf(masks, sizeof masks, " n_m=%d", member->timed.n_masks);
    if (member->peer)
        snprintf(label, sizeof label, "%s %s %s%s", member->peer->name, member_what(member), member->peer_case.dtype,
                 masks);
    else if (member->timed.top_k)
        snprintf(label, sizeof label, "routed%s top-%d", masks, member->timed.top_k);
    else
        snprintf(label, sizeof label, "%s%s", member_what(member), masks);
    printf("  %-24s", label);
}

static void print_member(const struct comparison *comparison, const struct member *member)
{
    print_label(member);
    if (member->failure[0]) {
        printf(" %s: %s\n", member->timed.wrong ? "failed" : "skipped", member->failure);
        return;
    }
    const struct figures figures = comparison_figures(comparison, member);
    char spread[32] = "-";
    if (!isnan(figures.ratio))
        snprintf(spread, sizeof spread, "%.2f..%.2f", figures.ratio_p10, figures.ratio_p90);
    print_number(11, figures.median_us < 10 ? 3 : 1, figures.median_us);
    print_number(11, figures.median_us < 10 ? 3 : 1, figures.min_us);
    print_number(7, 1, figures.gbps);
    print_number(8, 2, figures.read_share);
    print_number(6, 2, figures.ratio);
    printf(" %11s", spread);
    print_number(8, 2, figures.dense_ratio);
    print_number(8, 1, figures.gflops);
    print_number(8, 2, figures.peak_share);
    putchar('\n');
}

void table_comparison(const struct comparison *comparison, bool verbose)
{
    print_heading(comparison);
    for (int i = 0; i < comparison->member_count; i++) {
        const struct member *member = &comparison->members[i];
        print_member(comparison, member);
        if (verbose && member->timed.kernel[0])
            printf("    kernel %s\n", member->timed.kernel);
    }
    fflush(stdout);
}
