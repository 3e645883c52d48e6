# SPDX-License-Identifier: MIT
"""Layers: an operation on weights, called with arrays."""

from __future__ import annotations


import sys
from ctypes import byref, c_int
from typing import Any

import numpy

from . import _arrays as a
from . import _pack as p
from . import _structs as s
from ._errors import InvalidArgument
from ._library import Handle, check, core
from ._slot import Slot, StagedSlot, stream_of
from ._weights import Weights

_NUMPY_OF = {s.F32: numpy.dtype(numpy.float32), s.F16: numpy.dtype(numpy.float16)}
_FLOAT_NAMES = "float32, float16 or bfloat16"


class Layer:
    """y = layer(x). Any number of threads may call it at the same time.

    activation: "silu", "gelu_erf", "gelu_tanh", "relu", "sigmoid" or "identity". silu_beta: beta of SiLU; 0 means 1.
    top_k: masks for each token, 0 for all. max_batch: larger batches are computed in parts of so many rows.
    reproducible: bit-identical results on all CPUs and for all batch sizes. quantised_x: where weights are quantised, x
    may be quantised to 8 bits too. See docs/semantics.md.
    """

    def __init__(self, weights: Weights, *, activation: str = "silu", silu_beta: float = 0.0, top_k: int = 0,
                 max_batch: int = 512, reproducible: bool = False, quantised_x: bool = False):
        code = c_int()
        check(core.mglu_activation_from_name(activation.encode(), byref(code)))
        self.weights = weights
        self.activation = activation
        self.top_k = top_k
        self.max_batch = max_batch
        self.hidden_size = weights.hidden_size
        self.output_size = weights.output_size or weights.intermediate_size
        self._desc = p.sized(s.LayerDesc, activation=code.value, silu_beta=silu_beta, top_k=top_k, max_batch=max_batch,
                             flags=s.LAYER_REPRODUCIBLE * reproducible | s.LAYER_ALLOW_QUANTISED_X * quantised_x)
        self._kernels: dict[tuple[int, int], _Kernel] = {}
        self._kernel(s.F32, s.F32)

    def _kernel(self, x_dtype: int, y_dtype: int) -> _Kernel:
        """The layer of the library for two dtypes; made when it is first needed."""
        kernel = self._kernels.get((x_dtype, y_dtype))
        if kernel is None:
            kernel = self._kernels.setdefault((x_dtype, y_dtype), _Kernel(self.weights, self._desc, x_dtype, y_dtype))
        return kernel

    def accuracy(self, dtype: str = "f32") -> str:
        """The accuracy class of docs/semantics.md, "A", "B" or "C", for x and y of a dtype."""
        code = p.dtype_code(dtype)
        return s.ACCURACIES[core.mglu_layer_accuracy(self._kernel(code, code).handle.value)]

    def __call__(self, x: Any, out: Any = None, *, residual: Any = None, ids: Any = None, weights: Any = None,
                 stream: int | None = None) -> Any:
        """y = layer(x), with any number of dimensions before the last.

        x: float32, float16 or bfloat16 in any numpy array, torch tensor or array with __dlpack__ whose rows are
        contiguous; a numpy array of uint16 is taken for bfloat16. out: where to write y; None: a new array of x's kind
        and dtype. residual: added to y; may be `out` itself. ids, weights: int32 and float32 [..., top_k], the masks of
        each token and their weights; None: the router's. stream: a CUDA stream as an integer; None: torch's current
        stream for torch tensors, else the default stream.
        """
        source = a.view_of(x, "x", stream)
        if source.dtype not in a.FLOATS:
            raise InvalidArgument(f"x is {a.dtype_of(x)}; expected {_FLOAT_NAMES}")
        if not source.shape or source.shape[-1] != self.hidden_size:
            raise InvalidArgument(f"x has the shape {tuple(source.shape)}; expected rows of {self.hidden_size}")
        if out is None:
            out = self._new_output(x, source)
        target = a.view_of(out, "out")
        self._check_output(source, target, out)
        rows = a.rows_of(source)
        others = _operands(residual, ids, weights, source, target, self.top_k) \
            if residual is not None or ids is not None or weights is not None else ()
        kernel = self._kernels.get((source.dtype, target.dtype)) or self._kernel(source.dtype, target.dtype)
        slots, stream_value = kernel.slots(source, stream, x)
        try:
            slot = slots.pop()
        except IndexError:
            slot = kernel.new_slot(source, stream_value)
        try:
            slot.run(source, target, rows, others, self.max_batch)
        finally:
            slots.append(slot)
        return out

    def _new_output(self, x: Any, source: a.View) -> Any:
        shape = (*source.shape[:-1], self.output_size)
        if type(x) is numpy.ndarray:
            return numpy.empty(shape, x.dtype)
        if a.is_torch(x):
            return sys.modules["torch"].empty(shape, dtype=x.dtype, device=x.device)
        if source.place != a.HOST:
            raise InvalidArgument(f"expected out, since x is in the memory of {source.place} and no tensor of torch")
        return numpy.empty(shape, _NUMPY_OF.get(source.dtype) or bfloat16())

    def _check_output(self, source: a.View, target: a.View, out: Any) -> None:
        if target.dtype not in a.FLOATS:
            raise InvalidArgument(f"out is {a.dtype_of(out)}; expected {_FLOAT_NAMES}")
        if target.shape[:-1] != source.shape[:-1] or target.shape[-1:] != (self.output_size,):
            raise InvalidArgument(f"out has the shape {tuple(target.shape)}; expected "
                                  f"{(*source.shape[:-1], self.output_size)}")
        if not target.writable:
            raise InvalidArgument("out is read-only")
        if target.place != source.place:
            raise InvalidArgument(f"x is in the memory of {source.place} and out in that of {target.place}; expected "
                                  "the same")

    def __repr__(self) -> str:
        return f"<mglu.Layer {self.hidden_size} -> {self.output_size}, {self.activation}, {self.weights!r}>"


class _Kernel:
    """A layer of the library, for one dtype of x and one of y, with queues and workspaces: a slot for each call at the
    same time, and on devices with streams for each stream."""

    def __init__(self, weights: Weights, desc: Any, x_dtype: int, y_dtype: int):
        own = s.LayerDesc.from_buffer_copy(desc)
        own.x_dtype, own.y_dtype = x_dtype, y_dtype
        self.device = weights.device
        self.handle = Handle(core.mglu_layer_create, weights.handle.value, byref(own), destroy=core.mglu_layer_destroy,
                             keep=(weights.handle, weights.device.context.handle))
        self._free: dict[int | None, list[Slot]] = {None: []}

    def slots(self, source: a.View, stream: int | None, x: Any) -> tuple[list[Slot], int | None]:
        """Slots that no call uses, and the stream that they are for."""
        if source.place == a.HOST and stream is None:
            return self._free[None], None
        value = stream_of(self.device, source.place, stream, x)
        return self._free.setdefault(value, []), value

    def new_slot(self, source: a.View, stream: int | None) -> Slot:
        kind = Slot if self.device.host_memory or source.place != a.HOST else StagedSlot
        return kind(self.device, self.handle, stream)


def bfloat16() -> Any:
    """numpy's dtype of bfloat16 where the package ml_dtypes is installed, else uint16."""
    try:
        import ml_dtypes
    except ImportError:
        return numpy.dtype(numpy.uint16)
    return numpy.dtype(ml_dtypes.bfloat16)


def _operands(residual: Any, ids: Any, weights: Any, source: a.View, target: a.View,
              top_k: int) -> tuple[tuple[str, a.View], ...]:
    """The optional inputs of a call by the member of mglu_forward_args that takes them."""
    if (ids is None) != (weights is None):
        raise InvalidArgument("expected ids and weights, or neither of them")
    found = []
    for name, member, array, dtype, columns in (
            ("residual", "residual", residual, target.dtype, target.shape[-1]),
            ("ids", "routing_ids", ids, a.INT32, top_k), ("weights", "routing_weights", weights, s.F32, top_k)):
        if array is None:
            continue
        view = a.view_of(array, name)
        if view.dtype != dtype:
            wanted = {a.INT32: "int32", s.F32: "float32"}.get(dtype, "the dtype of out")
            raise InvalidArgument(f"{name} is {a.dtype_of(array)}; expected {wanted}")
        if tuple(view.shape) != (*source.shape[:-1], columns):
            raise InvalidArgument(f"{name} has the shape {tuple(view.shape)}; expected {(*source.shape[:-1], columns)}")
        if view.place != source.place:
            raise InvalidArgument(f"{name} is in the memory of {view.place} and x in that of {source.place}; expected "
                                  "the same")
        found.append((member, view))
    return tuple(found)
