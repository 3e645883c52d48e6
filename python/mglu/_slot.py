# SPDX-License-Identifier: MIT
"""What one call of a layer needs besides arrays: a queue, a workspace, and the struct of its arguments."""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref
from typing import Any

from . import _arrays as a
from . import _pack as p
from . import _structs as s
from ._context import Device
from ._errors import InvalidArgument, Unsupported
from ._library import Handle, check, core

# CU_STREAM_LEGACY, the default stream: NULL would be a stream of the library's own.
_DEFAULT_STREAM = 1

_forward = core.mglu_forward

Operands = tuple[tuple[str, a.View], ...]


def stream_of(device: Device, place: str, stream: int | None, x: Any) -> int | None:
    """The stream of a call: the one given, else torch's current one, else the default."""
    if stream is not None and device.backend != "cuda":
        if device.backend == "opencl":
            raise Unsupported("an OpenCL queue can't be given as an integer; expected stream=None, or the C interface "
                              "(mglu/opencl.h)")
        raise Unsupported(f"the device '{device.backend}' has no streams; expected stream=None")
    if place != a.HOST and not place.startswith(device.backend):
        raise InvalidArgument(f"x is in the memory of {place} and the layer on the device '{device.backend}'; expected "
                              "an array in host memory")
    if stream is None and place != a.HOST and a.is_torch(x):
        stream = sys.modules["torch"].cuda.current_stream(x.device).cuda_stream
    return (stream or _DEFAULT_STREAM) if place != a.HOST or stream is not None else None


class Slot:
    """Calls on arrays in the device's memory, or in host memory where the device has that."""

    def __init__(self, device: Device, layer: Handle, stream: int | None):
        self._device = device
        self._queue = None if device.host_memory else self._new_queue(stream)
        self._queue_value = self._queue.value if self._queue else None
        self._layer = layer
        # Work on a stream of the caller's is done later.
        self._waits = not device.host_memory and stream is None
        self._args = p.sized(s.ForwardArgs)
        self._workspace: Handle | None = None
        self._fitting_batch = 0  # the workspace is large enough for it
        self._address = ctypes.addressof(self._args)
        self._x, self._y = self._args.x, self._args.y

    def _new_queue(self, stream: int | None) -> Handle:
        desc = p.sized(s.QueueDesc, native_stream=stream)
        return Handle(core.mglu_queue_create, self._device.value, byref(desc) if stream else None,
                      destroy=core.mglu_queue_destroy, keep=(self._device.context.handle,))

    def _memory(self, size: int) -> Handle:
        return Handle(core.mglu_memory_create, self._device.value, size, destroy=core.mglu_memory_destroy,
                      keep=(self._device.context.handle, self._queue))

    def _fit(self, batch: int) -> None:
        """Makes a workspace for a batch, unless there is one."""
        size = core.mglu_layer_workspace_size_for(self._layer.value, batch)
        if size > self._args.workspace_size:
            if self._queue:
                check(core.mglu_queue_wait(self._queue_value))  # earlier work uses the old one
            self._workspace = self._memory(size)
            self._args.workspace = core.mglu_memory_data(self._workspace.value)
            self._args.workspace_size = size
        self._fitting_batch = batch

    def run(self, source: a.View, target: a.View, rows: int, others: Operands, max_batch: int) -> None:
        x, y = self._x, self._y
        x.data, x.row_stride = source.address, a.row_stride(source, "x")
        y.data, y.row_stride = target.address, a.row_stride(target, "out")
        for member, view in others:
            setattr(self._args, member, s.Input(view.address, 0, a.row_stride(view, member)))
        try:
            if rows <= max_batch:
                self._forward(rows)
            else:
                self._forward_parts(source, target, rows, others, max_batch)
        finally:
            for member, _ in others:
                setattr(self._args, member, s.Input())

    def _forward_parts(self, source: a.View, target: a.View, rows: int, others: Operands, max_batch: int) -> None:
        moved = [(self._x, source), (self._y, target)]
        moved += [(getattr(self._args, member), view) for member, view in others]
        for first in range(0, rows, max_batch):
            self._forward(min(max_batch, rows - first))
            for pointer, view in moved:
                pointer.data += pointer.row_stride * view.itemsize * max_batch

    def _forward(self, batch: int) -> None:
        if batch != self._fitting_batch:
            self._fit(batch)
        self._args.batch = batch
        status = _forward(self._layer.value, self._queue_value, self._address)
        if status == 0 and self._waits:
            status = core.mglu_queue_wait(self._queue_value)
        if status:
            check(status)


class StagedSlot(Slot):
    """Calls on arrays in host memory, on a device with memory of its own: x is copied there and y back."""

    def __init__(self, device: Device, layer: Handle, stream: int | None):
        super().__init__(device, layer, stream)
        self._buffers: dict[str, Handle] = {}

    def run(self, source: a.View, target: a.View, rows: int, others: Operands, max_batch: int) -> None:
        inputs = (("x", source), *others)
        copies = {member: self._dense(view, member) for member, view in inputs}
        result = bytearray(rows * target.shape[-1] * target.itemsize)
        for first in range(0, rows, max_batch):
            count = min(max_batch, rows - first)
            for member, view in inputs:
                self._upload(member, copies[member], first, count, view)
            self._compute(target, first, count, result)
        for member, _ in others:
            setattr(self._args, member, s.Input())
        _scatter(result, target, rows)

    @staticmethod
    def _dense(view: a.View, name: str) -> bytes:
        """The bytes of the rows, side by side."""
        size = view.shape[-1] * view.itemsize
        step = a.row_stride(view, name) * view.itemsize
        if step == size:
            return ctypes.string_at(view.address, size * a.rows_of(view))
        return b"".join(ctypes.string_at(view.address + row * step, size) for row in range(a.rows_of(view)))

    def _buffer(self, member: str, size: int) -> Handle:
        buffer = self._buffers.get(member)
        if buffer is None or core.mglu_memory_size(buffer.value) < size:
            buffer = self._buffers[member] = self._memory(size)
        return buffer

    def _upload(self, member: str, data: bytes, first: int, count: int, view: a.View) -> None:
        size = view.shape[-1] * view.itemsize
        buffer = self._buffer(member, count * size)
        check(core.mglu_memory_write(buffer.value, self._queue_value, 0, data[first * size:(first + count) * size],
                                     count * size))
        setattr(self._args, member, s.Input(core.mglu_memory_data(buffer.value), 0, 0))

    def _compute(self, target: a.View, first: int, count: int, result: bytearray) -> None:
        size = target.shape[-1] * target.itemsize
        buffer = self._buffer("y", count * size)
        self._args.y = s.Output(core.mglu_memory_data(buffer.value), 0, 0)
        self._forward(count)
        part = (ctypes.c_char * (count * size)).from_buffer(result, first * size)
        check(core.mglu_memory_read(buffer.value, self._queue_value, 0, part, count * size))


def _scatter(data: bytearray, target: a.View, rows: int) -> None:
    """Copies dense rows to where the target has them."""
    size = target.shape[-1] * target.itemsize
    step = a.row_stride(target, "out") * target.itemsize
    for row in range(rows):
        ctypes.memmove(target.address + row * step, bytes(data[row * size:(row + 1) * size]), size)
