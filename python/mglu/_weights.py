# SPDX-License-Identifier: MIT
"""Weights: the parameters of a layer on a device."""

from __future__ import annotations

from ctypes import byref
from typing import Any

import numpy

from . import _pack as p
from . import _structs as s
from ._context import Device, pick
from ._errors import InvalidArgument
from ._library import Handle, check, core
from ._rows import part_of


class Weights:
    """The parameters of a layer, packed and on a device. They do not change: any number of layers and threads may share
    them. The arrays are read now and not needed later.

    weight: [d, h], the shared matrix, or the gate's of a plain GLU, which has value_weight [d, h] in place of masks.
    masks: [n_masks, d, h] or [d, h], of bool, uint8, or float logits (1 where > 0), 1 for the gate; or what
    pack_masks() gives. gate_bias, value_bias: [n_masks, d] or [d]. router: [n_masks, h]. down: [outputs, d].
    down_bias: [outputs].

    dtype: what the matrices are stored as, "f32", "f16", "bf16", "q8_0" or "q4_0"; None: as `weight` is. device: a
    Device, or a name for Context.device(). rows: these rows of the projection alone, and those columns of `down`;
    down_bias then belongs to the part with row 0, so that the sum of all parts is the layer (see mglu.parallel).
    """

    def __init__(self, weight: Any, masks: Any = None, *, value_weight: Any = None, gate_bias: Any = None,
                 value_bias: Any = None, router: Any = None, down: Any = None, down_bias: Any = None,
                 dtype: str | None = None, device: Device | str | None = None, rows: slice | None = None,
                 allow_nonfinite: bool = False):
        if (masks is None) == (value_weight is None):
            raise InvalidArgument("expected either masks or value_weight beside weight")
        desc = p.sized(s.WeightsDesc, flags=s.WEIGHTS_ALLOW_NONFINITE if allow_nonfinite else 0)
        keep: list[Any] = []
        desc.weight, (d, h), kept = p.matrix(weight, "weight")
        keep.append(kept)
        desc.hidden_size, desc.intermediate_size = h, d
        if masks is None:
            desc.kind = s.KIND_PLAIN
        else:
            desc.masks, desc.n_masks, kept = p.mask_array(masks, d, h)
            keep.append(kept)
        vectors = desc.n_masks or 1
        for name, array, shape in (("value_weight", value_weight, (d, h)), ("gate_bias", gate_bias, (vectors, d)),
                                   ("value_bias", value_bias, (vectors, d)), ("router", router, (vectors, h)),
                                   ("down", down, (None, d)), ("down_bias", down_bias, (1, None))):
            if array is not None:
                keep.append(_add(desc, name, array, shape))
        desc.dtype = desc.weight.dtype if dtype is None else p.dtype_code(dtype)
        self._create(desc, pick(device), rows)
        del keep

    def _create(self, desc: Any, device: Device, rows: slice | None, owner: Handle | None = None) -> None:
        """`owner` has the arrays: it lives as long as the weights where they are used in place."""
        if rows is not None:
            desc, kept = part_of(desc, rows)
        self.device = device
        self.handle = Handle(core.mglu_weights_create, device.value, byref(desc), destroy=core.mglu_weights_destroy,
                             keep=(device.context.handle,))
        info = p.sized(s.WeightsInfo)
        check(core.mglu_weights_get_info(self.handle.value, byref(info)))
        self.dtype = s.DTYPE_NAMES[info.dtype]
        self.n_masks: int = info.n_masks
        self.hidden_size: int = info.hidden_size
        self.intermediate_size: int = info.intermediate_size
        self.output_size: int = info.output_size
        self.device_bytes: int = info.device_bytes
        self.projection_bytes: int = info.projection_bytes
        self.borrowed_bytes: int = info.borrowed_bytes
        if owner is not None and self.borrowed_bytes:
            self.handle.keep(owner)

    @classmethod
    def of_file(cls, file: Handle, desc: Any, device: Device | str | None, dtype: str | None,
                rows: slice | None) -> Weights:
        """Of a desc that libmglu-io has filled. What is packed in the file is used where it is."""
        desc.flags |= s.WEIGHTS_BORROW
        if dtype is not None:
            desc.dtype = p.dtype_code(dtype)
        weights = cls.__new__(cls)
        weights._create(desc, pick(device), rows, file)
        return weights

    def __repr__(self) -> str:
        kind = f"{self.n_masks} masks" if self.n_masks else "plain"
        outputs = f" -> {self.output_size}" if self.output_size else ""
        return (f"<mglu.Weights {self.hidden_size} -> {self.intermediate_size}{outputs}, {kind}, {self.dtype}, "
                f"{self.device.backend}>")


def _add(desc: Any, name: str, array: Any, expected: tuple[int | None, int | None]) -> Any:
    """Adds an optional array to a desc; returns what must outlive it."""
    if not isinstance(array, p.Quantised) and len(getattr(array, "shape", ())) == 1:
        array = array.reshape(1, -1) if hasattr(array, "reshape") else numpy.asarray(array).reshape(1, -1)
    c_array, shape, keep = p.matrix(array, name)
    if name == "down":
        desc.output_size = shape[0]
    expected = (expected[0], desc.output_size) if name == "down_bias" else expected
    if any(want is not None and want != got for want, got in zip(expected, shape)):
        wanted = ", ".join("outputs" if size is None else str(size) for size in expected)
        raise InvalidArgument(f"{name} has the shape {shape}; expected [{wanted}]")
    setattr(desc, name, c_array)
    return keep
