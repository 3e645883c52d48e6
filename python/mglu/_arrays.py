# SPDX-License-Identifier: MIT
"""Arrays of the caller's: addresses, dtypes and strides of numpy arrays, torch tensors and all else with __dlpack__.

Nothing is copied. A view is valid as long as the array, or the capsule in `keep`, lives.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any, Callable, NamedTuple

import numpy

from . import _structs as s
from ._errors import InvalidArgument

# Codes of dtypes that are no mglu_dtype.
OTHER = {"uint8": 16, "int8": 17, "bool": 16, "int32": 18, "uint32": 19, "float64": 20, "int64": 21}
_CODES = {"float32": s.F32, "float16": s.F16, "bfloat16": s.BF16, "uint16": s.BF16, **OTHER}
UINT8, INT8, INT32, UINT32, F64 = 16, 17, 18, 19, 20
FLOATS = (s.F32, s.F16, s.BF16)
HOST = "host"


class View(NamedTuple):
    """Memory of an array. Strides are in elements."""

    address: int
    dtype: int  # an mglu_dtype, or a code of OTHER
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None  # None: contiguous
    place: str  # HOST, or a device as "cuda:0"
    itemsize: int
    writable: bool
    keep: Any


def _numpy(array: Any) -> View:
    address, readonly = array.__array_interface__["data"]
    dtype = array.dtype
    code = _numpy_codes.get(dtype)
    if code is None:
        code = _numpy_codes[dtype] = _code_of(dtype.name if dtype.isnative else str(dtype))
    strides = None
    if not array.flags.c_contiguous:
        strides = tuple(stride // dtype.itemsize if stride % dtype.itemsize == 0 else -1 for stride in array.strides)
    return View(address, code, array.shape, strides, HOST, dtype.itemsize, not readonly, array)


_numpy_codes: dict[Any, int] = {}


def _code_of(name: str) -> int:
    """The code of a dtype's name; -1 for one that nothing takes."""
    return _CODES.get(name, -1)


def _torch(tensor: Any) -> View:
    code = _torch_codes.get(tensor.dtype)
    if code is None:
        code = _torch_codes[tensor.dtype] = _code_of(str(tensor.dtype).split(".")[-1])
    if tensor.requires_grad and sys.modules["torch"].is_grad_enabled():
        raise InvalidArgument("the tensor requires grad and mglu computes no gradients; expected tensor.detach(), or a "
                              "call under torch.no_grad()")
    place = HOST if tensor.is_cpu else str(tensor.device)
    strides = None if tensor.is_contiguous() else tensor.stride()
    return View(tensor.data_ptr(), code, tensor.shape, strides, place, tensor.element_size(), True, tensor)


_torch_codes: dict[Any, int] = {}


class _DLTensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32),
                ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16), ("shape", POINTER(c_int64)),
                ("strides", POINTER(c_int64)), ("byte_offset", c_uint64)]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned; an old DLManagedTensor begins with the DLTensor."""

    _fields_ = [("major", c_uint32), ("minor", c_uint32), ("manager_ctx", c_void_p), ("deleter", c_void_p),
                ("flags", c_uint64), ("tensor", _DLTensor)]


_READ_ONLY = 1
_DLPACK_VERSION = (1, 0)
_DLPACK_PLACES = {1: HOST, 2: "cuda", 3: HOST, 13: "cuda"}  # kDLCPU, kDLCUDA, kDLCUDAHost, kDLCUDAManaged
_DLPACK_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 6: "bool"}
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = c_void_p, [ctypes.py_object, c_char_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.py_object, c_char_p]


def _capsule_of(array: Any, stream: int | None) -> Any:
    """Exporters before DLPack 1.0 know no max_version, and some of those no stream."""
    arguments: dict[str, Any] = {"stream": stream} if stream is not None else {}
    try:
        return array.__dlpack__(max_version=_DLPACK_VERSION, **arguments)
    except TypeError:
        return array.__dlpack__(**arguments)


def _dlpack(array: Any, stream: int | None = None) -> View:
    # The capsule is not consumed: its owner frees the tensor when the capsule goes.
    capsule = _capsule_of(array, stream)
    writable = True
    if _is_valid(capsule, b"dltensor_versioned"):
        versioned = _Versioned.from_address(_pointer_of(capsule, b"dltensor_versioned"))
        if versioned.major != _DLPACK_VERSION[0]:
            raise InvalidArgument(f"the array is exported in version {versioned.major}.{versioned.minor} of DLPack; "
                                  f"expected {_DLPACK_VERSION[0]}.x")
        tensor, writable = versioned.tensor, not versioned.flags & _READ_ONLY
    else:
        tensor = _DLTensor.from_address(_pointer_of(capsule, b"dltensor"))
    return _view_of(tensor, writable, capsule)


def _view_of(tensor: Any, writable: bool, capsule: Any) -> View:
    kind = _DLPACK_KINDS.get(tensor.code, f"code{tensor.code}_")
    name = "bool" if kind == "bool" else f"{kind}{tensor.bits}" + (f"x{tensor.lanes}" if tensor.lanes != 1 else "")
    place = _DLPACK_PLACES.get(tensor.device_type, f"device type {tensor.device_type}")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    return View((tensor.data or 0) + tensor.byte_offset, _code_of(name), shape, strides,
                place if place == HOST else f"{place}:{tensor.device_id}", max(tensor.bits // 8, 1), writable, capsule)


_readers: dict[type, Callable[[Any], View]] = {}


def is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _reader_of(array: Any) -> Callable[[Any], View] | None:
    if isinstance(array, numpy.ndarray):
        return _numpy
    if is_torch(array):
        return _torch
    return _dlpack if hasattr(array, "__dlpack__") else None


def view_of(array: Any, name: str, stream: int | None = None) -> View:
    """The memory of an array; `name` is what messages call it."""
    reader = _readers.get(type(array))
    if reader is None:
        reader = _reader_of(array)
        if reader is None:
            raise TypeError(f"{name} is a {type(array).__name__}; expected a numpy array, a torch tensor or another "
                            "array with __dlpack__")
        _readers[type(array)] = reader
    if stream is not None and reader is _dlpack:
        return _dlpack(array, stream)
    return reader(array)


def dtype_of(array: Any) -> str:
    return str(getattr(array, "dtype", type(array).__name__))


def row_stride(view: View, name: str) -> int:
    """Elements from row to row of an array whose last dimension is a row and whose others count the rows."""
    shape, strides = view.shape, view.strides
    if not shape:
        raise InvalidArgument(f"{name} is a single number; expected rows of numbers")
    if strides is None:
        return shape[-1]
    if shape[-1] > 1 and strides[-1] != 1:
        raise InvalidArgument(f"{name} has rows of stride {strides[-1]}; expected numbers side by side: make a "
                              "contiguous copy")
    stride, rows = shape[-1], 1
    for size, step in zip(reversed(shape[:-1]), reversed(strides[:-1])):
        if size == 1:
            continue
        if rows == 1:
            stride = step
        elif step != stride * rows:
            raise InvalidArgument(f"{name} has rows at different distances (strides {strides}); make a contiguous copy")
        rows *= size
    if rows > 1 and stride < shape[-1]:
        raise InvalidArgument(f"{name} has rows of {shape[-1]} numbers {stride} apart; make a contiguous copy")
    return stride


def rows_of(view: View) -> int:
    shape = view.shape
    if len(shape) == 2:
        return shape[0]
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows
