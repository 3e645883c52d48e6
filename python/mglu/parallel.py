# SPDX-License-Identifier: MIT
"""Layers divided among processes: each has some rows of the projection and those columns of the down-projection that
take their values. The sum of what all processes compute is the layer's y (mglu.torch.TensorParallel adds it up)."""

from __future__ import annotations

from ._errors import InvalidArgument

# Rows of a part are whole groups of columns of the down-projection, which may be quantised.
GROUP = 32


def rows_of(rank: int, size: int, intermediate_size: int, group: int = GROUP) -> slice:
    """The rows of process `rank` of `size`, for the argument `rows` of Weights and File.weights()."""
    if not 0 <= rank < size:
        raise InvalidArgument(f"rank is {rank} of {size}; expected 0 to {size - 1}")
    groups = -(-intermediate_size // group)
    first, last = groups * rank // size, groups * (rank + 1) // size
    return slice(min(first * group, intermediate_size), min(last * group, intermediate_size))
