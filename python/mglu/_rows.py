# SPDX-License-Identifier: MIT
"""A part of a layer: some rows of its projection, and the columns of the down-projection that take their values."""

from __future__ import annotations

from ctypes import byref
from typing import Any

import numpy

from . import _structs as s
from ._errors import InvalidArgument
from ._library import check, core
from ._pack import sized

_GROUP = 32


def part_of(desc: Any, rows: slice) -> tuple[Any, Any]:
    """A desc of those rows of another, which points into its arrays, and what else must outlive it."""
    first, last, step = rows.indices(desc.intermediate_size)
    if step != 1 or last < first:
        raise InvalidArgument(f"rows is {rows}; expected slice(first, last)")
    whole, words = _with_mask_words(desc)
    part = sized(s.WeightsDesc)
    check(core.mglu_weights_desc_rows(byref(whole), first, last - first, byref(part)))
    return part, words


def _with_mask_words(desc: Any) -> tuple[Any, Any]:
    """A copy of the desc that has its masks as words, and those words where they had to be made."""
    whole = s.WeightsDesc.from_buffer_copy(desc)
    if not desc.masks.data or desc.masks.form == s.MASK_WORDS:
        return whole, None
    groups = -(-desc.hidden_size // _GROUP)
    words = numpy.empty((desc.intermediate_size, groups, desc.n_masks), numpy.uint32)
    check(core.mglu_pack_masks(byref(desc.masks), desc.n_masks, desc.intermediate_size, desc.hidden_size,
                               words.ctypes.data))
    whole.masks = s.MaskArray(words.ctypes.data, s.MASK_WORDS)
    return whole, words
