# SPDX-License-Identifier: MIT
"""Loads the libraries: those in the wheel, else those that the system's loader finds. Declares their functions."""

from __future__ import annotations

import ctypes
import pathlib
import weakref
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any, Callable

from . import _structs as s
from ._errors import error_of

FOLDER = pathlib.Path(__file__).resolve().parent.parent / ".mglu.mesonpy.libs"


def _load(name: str) -> ctypes.CDLL:
    bundled = FOLDER / name
    return ctypes.CDLL(str(bundled) if bundled.exists() else name)


# ctypes releases the GIL while it is in a function of a CDLL.
core = _load("libmglu.so.0")
io = _load("libmglu-io.so.0")
pool = _load("libmglu-pool.so.0")

_HANDLE = c_void_p
_OUT = POINTER(c_void_p)
_ARRAY = POINTER(s.Array)
_MASKS = POINTER(s.MaskArray)
_TENSOR = POINTER(s.FileTensor)

# Name: result, arguments.
_CORE: dict[str, tuple[Any, list[Any]]] = {
    "mglu_version": (c_char_p, []),
    "mglu_build_info": (c_char_p, []),
    "mglu_last_error": (c_char_p, []),
    "mglu_activation_from_name": (c_int, [c_char_p, POINTER(c_int)]),
    "mglu_activation_name": (c_char_p, [c_int]),
    "mglu_dtype_from_name": (c_int, [c_char_p, POINTER(c_int)]),
    "mglu_context_create": (c_int, [POINTER(s.ContextDesc), _OUT]),
    "mglu_context_destroy": (None, [_OUT]),
    "mglu_device_count": (c_int, [_HANDLE, POINTER(c_size_t)]),
    "mglu_device_at": (c_void_p, [_HANDLE, c_size_t]),
    "mglu_device_get_info": (c_int, [_HANDLE, POINTER(s.DeviceInfo)]),
    "mglu_device_pick": (c_int, [_HANDLE, c_char_p, _OUT]),
    "mglu_backend_load": (c_int, [_HANDLE, c_char_p]),
    "mglu_queue_create": (c_int, [_HANDLE, POINTER(s.QueueDesc), _OUT]),
    "mglu_queue_destroy": (None, [_OUT]),
    "mglu_queue_wait": (c_int, [_HANDLE]),
    "mglu_memory_create": (c_int, [_HANDLE, c_size_t, _OUT]),
    "mglu_memory_destroy": (None, [_OUT]),
    "mglu_memory_data": (c_void_p, [_HANDLE]),
    "mglu_memory_size": (c_size_t, [_HANDLE]),
    "mglu_memory_write": (c_int, [_HANDLE, _HANDLE, c_size_t, c_void_p, c_size_t]),
    "mglu_memory_read": (c_int, [_HANDLE, _HANDLE, c_size_t, c_void_p, c_size_t]),
    "mglu_weights_desc_rows": (c_int, [POINTER(s.WeightsDesc), c_int64, c_int64, POINTER(s.WeightsDesc)]),
    "mglu_weights_create": (c_int, [_HANDLE, POINTER(s.WeightsDesc), _OUT]),
    "mglu_weights_destroy": (None, [_OUT]),
    "mglu_weights_get_info": (c_int, [_HANDLE, POINTER(s.WeightsInfo)]),
    "mglu_layer_create": (c_int, [_HANDLE, POINTER(s.LayerDesc), _OUT]),
    "mglu_layer_destroy": (None, [_OUT]),
    "mglu_layer_workspace_size_for": (c_size_t, [_HANDLE, c_int64]),
    "mglu_layer_accuracy": (c_int, [_HANDLE]),
    "mglu_forward": (c_int, [_HANDLE, _HANDLE, c_void_p]),
    "mglu_forward_reference": (c_int, [_HANDLE, c_void_p, c_int, c_void_p, c_void_p]),
    "mglu_train_create": (c_int, [_HANDLE, POINTER(s.TrainDesc), _OUT]),
    "mglu_train_destroy": (None, [_OUT]),
    "mglu_train_workspace_size": (c_size_t, [_HANDLE, c_int64]),
    "mglu_train_saved_size": (c_size_t, [_HANDLE, c_int64]),
    "mglu_train_forward": (c_int, [_HANDLE, _HANDLE, POINTER(s.TrainForwardArgs)]),
    "mglu_train_backward": (c_int, [_HANDLE, _HANDLE, POINTER(s.TrainBackwardArgs)]),
    "mglu_packed_weight_stride_bytes": (c_size_t, [c_int, c_int64]),
    "mglu_packed_weight_size": (c_size_t, [c_int, c_int64, c_int64]),
    "mglu_packed_scale_size": (c_size_t, [c_int, c_int64, c_int64]),
    "mglu_packed_mask_size": (c_size_t, [c_int32, c_int64, c_int64]),
    "mglu_pack_weights": (c_int, [_ARRAY, c_int64, c_int64, c_int, c_int, c_void_p, c_void_p]),
    "mglu_unpack_weights": (c_int, [c_void_p, c_void_p, c_int, c_int64, c_int64, c_int, c_void_p]),
    "mglu_pack_masks": (c_int, [_MASKS, c_int32, c_int64, c_int64, c_void_p]),
    "mglu_unpack_masks": (c_int, [c_void_p, c_int32, c_int64, c_int64, c_void_p]),
}
_IO: dict[str, tuple[Any, list[Any]]] = {
    "mglu_file_open": (c_int, [c_char_p, c_uint32, _OUT]),
    "mglu_file_open_folder": (c_int, [c_char_p, c_uint32, _OUT]),
    "mglu_file_close": (None, [_OUT]),
    "mglu_file_model_flags": (c_int, [c_char_p, POINTER(c_uint32)]),
    "mglu_file_tensor_count": (c_size_t, [_HANDLE]),
    "mglu_file_tensor_at": (_TENSOR, [_HANDLE, c_size_t]),
    "mglu_file_find": (_TENSOR, [_HANDLE, c_char_p]),
    "mglu_file_metadata": (c_char_p, [_HANDLE, c_char_p]),
    "mglu_file_metadata_key": (c_char_p, [_HANDLE, c_size_t]),
    "mglu_file_dtype_name": (c_char_p, [c_int]),
    "mglu_file_layer_at": (c_char_p, [_HANDLE, c_size_t]),
    "mglu_file_layer": (c_int, [_HANDLE, c_char_p, POINTER(s.WeightsDesc), POINTER(s.LayerDesc), POINTER(c_int)]),
    "mglu_file_writer_create": (c_int, [_OUT]),
    "mglu_file_writer_metadata": (c_int, [_HANDLE, c_char_p, c_char_p]),
    "mglu_file_writer_tensor": (c_int, [_HANDLE, _TENSOR]),
    "mglu_file_writer_commit": (c_int, [_HANDLE, c_char_p]),
    "mglu_file_writer_destroy": (None, [_OUT]),
    "mglu_file_pack": (c_int, [c_char_p, c_char_p, POINTER(s.PackOptions)]),
    "mglu_file_pack_folder": (c_int, [c_char_p, c_char_p, POINTER(s.PackOptions)]),
}
_POOL: dict[str, tuple[Any, list[Any]]] = {
    "pool_create": (c_void_p, [c_int]),
    "pool_threads": (c_int, [c_void_p]),
    "pool_hook": (s.Parallel, [c_void_p]),
    "pool_restart": (None, [c_void_p]),
    "pool_destroy": (None, [c_void_p]),
    "threads_usable": (c_int, []),
}

for _library, _functions in ((core, _CORE), (io, _IO), (pool, _POOL)):
    for _name, (_result, _arguments) in _functions.items():
        _function = getattr(_library, _name)
        _function.restype, _function.argtypes = _result, _arguments


def last_error() -> str:
    text: bytes = core.mglu_last_error()
    return text.decode(errors="replace")


def check(status: int) -> None:
    """Raises the exception of a status other than MGLU_OK."""
    if status:
        raise error_of(status, last_error())


def text_of(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


class Handle:
    """An object of the library. It is destroyed with this one, unless the process ends: its memory goes anyway, and
    threads that still compute must not lose theirs. What is in `keep` lives at least as long."""

    __slots__ = ("value", "_keep", "__weakref__")

    def __init__(self, create: Callable[..., int], *arguments: Any, destroy: Callable[[Any], None],
                 keep: tuple[Any, ...] = ()):
        out = c_void_p()
        check(create(*arguments, byref(out)))
        self.value: int | None = out.value
        self._keep = list(keep)
        weakref.finalize(self, _destroy, destroy, out, self._keep).atexit = False

    def keep(self, other: Any) -> None:
        """`other` lives at least as long, too."""
        self._keep.append(other)


def _destroy(destroy: Callable[[Any], None], out: c_void_p, keep: list[Any]) -> None:
    destroy(byref(out))
