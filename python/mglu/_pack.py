# SPDX-License-Identifier: MIT
"""The packed format (docs/format.md) as numpy arrays."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import Any, NamedTuple

import numpy
import numpy.typing as npt

from . import _arrays as a
from . import _structs as s
from ._errors import InvalidArgument
from ._library import check, core


class Packed(NamedTuple):
    """A matrix in the packed layout: bytes [rows][stride in bytes], and the scales of a quantised one, else None."""

    data: npt.NDArray[numpy.uint8]
    scales: npt.NDArray[numpy.float16] | None
    dtype: str
    columns: int


class Quantised(NamedTuple):
    """A quantised matrix: int8 [rows][columns] (q8_0) or uint8 [rows][columns / 2] (q4_0), and its f16 scales
    [rows][ceil(columns / 32)]."""

    quants: Any
    scales: Any


def dtype_code(name: str) -> int:
    code = s.DTYPES.get(name)
    if code is None:
        raise InvalidArgument(f"dtype is '{name}'; expected one of {', '.join(s.DTYPES)}")
    return code


def aligned(size: int, alignment: int = 64) -> npt.NDArray[numpy.uint8]:
    """Zeros whose first byte has an aligned address."""
    memory = numpy.zeros(size + alignment, numpy.uint8)
    start = -memory.ctypes.data % alignment
    return memory[start:start + size]


def matrix(array: Any, name: str) -> tuple[s.Array, tuple[int, int], Any]:
    """The C array of a matrix, its shape, and what must outlive it. float64 becomes float32."""
    if isinstance(array, Quantised):
        return _quantised(array, name)
    view = a.view_of(array, name)
    if view.dtype == a.F64:
        view = a.view_of(numpy.asarray(array, dtype=numpy.float32), name)
    if view.place != a.HOST:
        raise InvalidArgument(f"{name} is in the memory of {view.place}; expected host memory, as tensor.cpu() has")
    if view.dtype not in a.FLOATS:
        raise InvalidArgument(f"{name} is {a.dtype_of(array)}; expected float32, float16, bfloat16 or float64")
    if len(view.shape) != 2:
        raise InvalidArgument(f"{name} has the shape {tuple(view.shape)}; expected a matrix")
    stride = a.row_stride(view, name) * view.itemsize
    return s.Array(view.address, view.dtype, stride), (view.shape[0], view.shape[1]), view.keep


def _quantised(array: Quantised, name: str) -> tuple[s.Array, tuple[int, int], Any]:
    quants, scales = a.view_of(array.quants, name), a.view_of(array.scales, name + " scales")
    if len(quants.shape) != 2 or quants.dtype not in (a.INT8, a.UINT8):
        raise InvalidArgument(f"{name} has quants of {a.dtype_of(array.quants)} and the shape {tuple(quants.shape)}; "
                              "expected a matrix of int8 (q8_0) or uint8 (q4_0)")
    code, columns = (s.Q8_0, quants.shape[1]) if quants.dtype == a.INT8 else (s.Q4_0, quants.shape[1] * 2)
    expected = (quants.shape[0], -(-columns // 32))
    if scales.dtype != s.F16 or tuple(scales.shape) != expected:
        raise InvalidArgument(f"{name} has scales of {a.dtype_of(array.scales)} and the shape {tuple(scales.shape)}; "
                              f"expected float16 and {expected}")
    c_array = s.Array(quants.address, code, a.row_stride(quants, name), scales.address, a.row_stride(scales, name) * 2)
    return c_array, (quants.shape[0], columns), (quants.keep, scales.keep)


_LOGITS = {s.F32: s.MASK_LOGITS_F32, s.F16: s.MASK_LOGITS_F16, s.BF16: s.MASK_LOGITS_BF16}


def mask_array(masks: Any, rows: int, columns: int) -> tuple[s.MaskArray, int, Any]:
    """The C array of masks of any form, their number, and what must outlive it."""
    view = a.view_of(masks, "masks")
    shape = tuple(view.shape)
    if view.strides is not None or view.place != a.HOST:
        raise InvalidArgument("masks are not contiguous in host memory; make such a copy")
    if view.dtype in (a.INT32, a.UINT32) and len(shape) == 3 and shape[:2] == (rows, -(-columns // 32)):
        return s.MaskArray(view.address, s.MASK_WORDS), shape[2], view.keep
    shape = (1, *shape) if len(shape) == 2 else shape
    if len(shape) == 3 and shape[1] == rows:
        form = s.MASK_BYTES if view.dtype in (a.UINT8, a.INT8) else _LOGITS.get(view.dtype)
        if form is not None and shape[2] == columns:
            return s.MaskArray(view.address, form), shape[0], view.keep
        if view.dtype == a.UINT8 and shape[2] == -(-columns // 8):
            return s.MaskArray(view.address, s.MASK_BITS), shape[0], view.keep
    raise InvalidArgument(f"masks are {a.dtype_of(masks)} of the shape {tuple(view.shape)}; expected [n_masks, {rows}, "
                          f"{columns}] of bool, uint8 or float logits, or uint32 [{rows}, {-(-columns // 32)}, "
                          "n_masks]")


def pack_weights(weight: Any, dtype: str = "f16", *, allow_nonfinite: bool = False) -> Packed:
    """Converts a matrix to the packed layout."""
    source, (rows, columns), keep = matrix(weight, "weight")
    code = dtype_code(dtype)
    stride = core.mglu_packed_weight_stride_bytes(code, columns)
    data = aligned(core.mglu_packed_weight_size(code, rows, columns))
    scale_bytes = core.mglu_packed_scale_size(code, rows, columns)
    scales = aligned(scale_bytes).view(numpy.float16).reshape(rows, -1) if scale_bytes else None
    check(core.mglu_pack_weights(byref(source), rows, columns, code, allow_nonfinite, data.ctypes.data,
                                 scales.ctypes.data if scales is not None else None))
    del keep
    return Packed(data.reshape(rows, stride), scales, dtype, columns)


def unpack_weights(packed: Packed) -> npt.NDArray[numpy.float32]:
    """The matrix in float32."""
    target = numpy.empty((packed.data.shape[0], packed.columns), numpy.float32)
    data = numpy.ascontiguousarray(packed.data)
    scales = numpy.ascontiguousarray(packed.scales) if packed.scales is not None else None
    check(core.mglu_unpack_weights(data.ctypes.data, scales.ctypes.data if scales is not None else None,
                                   dtype_code(packed.dtype), *target.shape, s.F32, target.ctypes.data))
    return target


def pack_masks(masks: Any) -> npt.NDArray[numpy.uint32]:
    """Masks [n_masks, d, h] of bool, uint8 or float logits as words [d, ceil(h / 32), n_masks]."""
    shape = a.view_of(masks, "masks").shape
    if len(shape) not in (2, 3):
        raise InvalidArgument(f"masks have the shape {tuple(shape)}; expected [n_masks, d, h] or [d, h]")
    rows, columns = shape[-2:]
    source, count, keep = mask_array(masks, rows, columns)
    words = numpy.zeros((rows, -(-columns // 32), count), numpy.uint32)
    check(core.mglu_pack_masks(byref(source), count, rows, columns, words.ctypes.data))
    del keep
    return words


def unpack_masks(words: Any, columns: int) -> npt.NDArray[numpy.uint8]:
    """Words [d, ceil(columns / 32), n_masks] as bytes [n_masks, d, columns]."""
    packed = numpy.ascontiguousarray(words, dtype=numpy.uint32)
    if packed.ndim != 3 or packed.shape[1] != -(-columns // 32):
        raise InvalidArgument(f"words have the shape {packed.shape}; expected [d, {-(-columns // 32)}, n_masks]")
    rows, _, count = packed.shape
    masks = numpy.empty((count, rows, columns), numpy.uint8)
    check(core.mglu_unpack_masks(packed.ctypes.data, count, rows, columns, masks.ctypes.data))
    return masks


def address_of(array: npt.NDArray[Any]) -> int:
    address: int = array.ctypes.data
    return address


def sized(struct: type[ctypes.Structure], **members: Any) -> Any:
    """A struct with its struct_size."""
    return struct(struct_size=ctypes.sizeof(struct), **members)
