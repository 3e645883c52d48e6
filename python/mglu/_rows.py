# SPDX-License-Identifier: MIT
"""A part of a layer: some rows of its projection, and the columns of the down-projection that take their values."""

from __future__ import annotations

from ctypes import byref
from typing import Any

import numpy

from . import _structs as s
from ._errors import InvalidArgument
from ._library import check, core

_BITS = {s.F32: 32, s.F16: 16, s.BF16: 16, s.Q8_0: 8, s.Q4_0: 4}
_GROUP = 32


def part_of(desc: Any, rows: slice) -> tuple[Any, Any]:
    """A desc of those rows of another, which points into its arrays, and what else must outlive it."""
    first, last, step = rows.indices(desc.intermediate_size)
    if step != 1 or last < first:
        raise InvalidArgument(f"rows is {rows}; expected slice(first, last)")
    part = s.WeightsDesc.from_buffer_copy(desc)
    words = _mask_rows(part, first, last)
    part.intermediate_size = last - first
    for array in (part.weight, part.value_weight):
        _skip_rows(array, first, desc.hidden_size)
    for array in (part.gate_bias, part.value_bias):
        _skip_columns(array, first, last, desc.intermediate_size)
    _skip_columns(part.down, first, last, desc.intermediate_size)
    if first > 0:
        part.down_bias = s.Array()
    return part, words


def _row_bytes(array: Any, columns: int) -> int:
    """Bytes from row to row."""
    stride: int = array.stride_bytes or columns * _BITS[array.dtype] // 8
    return stride


def _skip_rows(array: Any, first: int, columns: int) -> None:
    if not array.data:
        return
    array.stride_bytes = _row_bytes(array, columns)
    array.data += first * array.stride_bytes
    if array.scales:
        array.scale_stride_bytes = array.scale_stride_bytes or 2 * -(-columns // _GROUP)
        array.scales += first * array.scale_stride_bytes


def _skip_columns(array: Any, first: int, last: int, columns: int) -> None:
    if not array.data:
        return
    array.stride_bytes = _row_bytes(array, columns)
    array.data += first * _BITS[array.dtype] // 8
    if array.scales:
        if first % _GROUP or (last % _GROUP and last != columns):
            raise InvalidArgument(f"rows {first} to {last} cut a group of {_GROUP} columns of the quantised "
                                  f"down-projection; expected multiples of {_GROUP}")
        array.scale_stride_bytes = array.scale_stride_bytes or 2 * -(-columns // _GROUP)
        array.scales += 2 * (first // _GROUP)


def _mask_rows(part: Any, first: int, last: int) -> Any:
    """Points the masks of a desc to words of those rows."""
    if not part.masks.data:
        return None
    groups = -(-part.hidden_size // _GROUP)
    if part.masks.form != s.MASK_WORDS:
        words = numpy.empty((part.intermediate_size, groups, part.n_masks), numpy.uint32)
        check(core.mglu_pack_masks(byref(part.masks), part.n_masks, part.intermediate_size, part.hidden_size,
                                   words.ctypes.data))
        part.masks = s.MaskArray(words.ctypes.data, s.MASK_WORDS)
    else:
        words = None
    part.masks.data += first * groups * part.n_masks * 4
    return words
