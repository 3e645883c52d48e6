# SPDX-License-Identifier: MIT
"""Packed layers in PyTorch: a module, an operator for torch.compile, and tensor parallelism over torch.distributed."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import torch

from .._layer import Layer
from ._compile import has_operators, is_compiling

# Operators take no objects: layers are named by numbers.
_layers: weakref.WeakValueDictionary[int, Layer] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


def _forward(x: torch.Tensor, layer: int, residual: torch.Tensor | None = None, ids: torch.Tensor | None = None,
             weights: torch.Tensor | None = None) -> torch.Tensor:
    y: torch.Tensor = _layers[layer](x, residual=residual, ids=ids, weights=weights)
    return y


def _fake(x: torch.Tensor, layer: int, residual: torch.Tensor | None = None, ids: torch.Tensor | None = None,
          weights: torch.Tensor | None = None) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], _layers[layer].output_size))


# The operator mglu::forward(x, layer, residual, ids, weights); None where torch has no torch.library.custom_op.
operator: Any = None
if has_operators:
    _schema = "(Tensor x, int layer, Tensor? residual=None, Tensor? ids=None, Tensor? weights=None) -> Tensor"
    operator = torch.library.custom_op("mglu::forward", _forward, mutates_args=(), schema=_schema)
    operator.register_fake(_fake)


class GLU(torch.nn.Module):
    """A layer as a module: in place of the MLP of a transformer, say. torch.compile keeps it in one graph. It computes
    no gradients: call it under torch.no_grad()."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.layer = layer
        self.number = next(_numbers)
        _layers[self.number] = layer

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None, ids: torch.Tensor | None = None,
                weights: torch.Tensor | None = None) -> torch.Tensor:
        if is_compiling():
            y: torch.Tensor = operator(x, self.number, residual, ids, weights)
        else:
            y = self.layer(x, residual=residual, ids=ids, weights=weights)
        return y

    def __deepcopy__(self, memo: dict[int, Any]) -> GLU:
        return GLU(self.layer)  # layers do not change: copies share one

    def extra_repr(self) -> str:
        return repr(self.layer)


class TensorParallel(torch.nn.Module):
    """The part of a layer that this process has (see mglu.parallel), and the sum over the group: "gloo" for tensors on
    CPUs, "nccl" for those on GPUs. Every process calls it with the same x and gets the same y.

    The parts are summed in float32 and rounded once.
    """

    def __init__(self, layer: Layer, group: Any = None):
        super().__init__()
        self.layer = layer
        self.group = group

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        y = torch.empty((*x.shape[:-1], self.layer.output_size), dtype=torch.float32, device=x.device)
        self.layer(x, y)
        torch.distributed.all_reduce(y, group=self.group)
        return (y if residual is None else y + residual).to(x.dtype)
