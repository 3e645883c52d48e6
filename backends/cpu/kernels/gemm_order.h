/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_GEMM_ORDER_H
#define MGLU_CPU_GEMM_ORDER_H

/*
 * The summation order of GEMM, such that no product is rounded more often than the c of docs/semantics.md allows,
 * min(h, 8 + sqrt(h)). A row is divided into panels and a panel into chains, of which the last may be shorter. A chain
 * is one sum from its first column to its last; the chains of a panel are added in pairs, then pairs of pairs; the
 * panels one after the other. So a product is rounded at most chain + log2(chains of a panel) + panels - 1 times.
 */

#include "inline.h"

/* 32-bit words of a row in a panel. The panel of 16 rows has 16 KiB. */
enum { PANEL_WORDS = 256, LONGEST_CHAIN = 32, SHORTEST_CHAIN = 8 };

/* Columns of a chain in a row of `groups` groups. */
MGLU_INLINE int32_t chain_columns(int64_t groups)
{
    if (groups < 8)
        return SHORTEST_CHAIN;
    if (groups < 15 || groups > 1024)
        return 16;
    return groups < 30 ? 24 : LONGEST_CHAIN;
}

#endif
