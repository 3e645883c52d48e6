# SPDX-License-Identifier: MIT
"""The projection of a masked GLU and its gradients, in operations of PyTorch, on tensors of any device.

z = sum over i of p_i g(gate_i) * value_i, where gate_i = x (M_i * W)^T + gate_bias_i, value_i likewise with 1 - M_i, and
M_i is 1 where its logit is above 0. The sums of value_i are the total x W^T less those of gate_i: one product for the
total and one for each mask, and twice as many in backward. Backward needs the sums, [1 + n_masks, tokens, d]; copies of
W with a mask applied are made again, one at a time.
"""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import torch

from . import _activations
from ._compile import is_compiling

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Options(NamedTuple):
    """What of a projection is no tensor."""

    activation: str
    silu_beta: float


# Of a core's second-level cache: seven tensors of a part are in use at once.
CACHED_BYTES = 1 << 18


class Projection(torch.autograd.Function):
    """Of x [tokens, h], W [d, h], masks [n, d, h] (logits, or 0 and 1), biases [n, d] or None, and p [tokens, n] or
    None, the weights that routing gives the masks. The gradient of a logit is that of its mask (straight-through)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, masks: torch.Tensor,
                gate_bias: torch.Tensor | None, value_bias: torch.Tensor | None, p: torch.Tensor | None,
                options: Options) -> torch.Tensor:
        total = x @ weight.T
        gates = [x @ _selected(weight, _bits(mask, weight)).T for mask in masks]
        streams = _Streams(total, gates, gate_bias, value_bias, p)
        act = _activations.of(*options).value
        z = torch.empty_like(total)
        for rows in _parts(total):
            out = z[rows].zero_()
            for i in range(len(gates)):
                gate, value = streams.of(i, rows)
                out.addcmul_(streams.scaled(act(gate), i, rows), value)
        ctx.save_for_backward(x, weight, masks, gate_bias, value_bias, p, total, *gates)
        ctx.options = options
        return z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dz: torch.Tensor) -> Any:
        x, weight, masks, gate_bias, value_bias, p, total, *gates = ctx.saved_tensors
        need_x, need_weight, need_masks, *need_more = ctx.needs_input_grad[:6]
        sums = _SumGradients(_Streams(total, gates, gate_bias, value_bias, p), dz, ctx.options, need_more)
        dx = torch.zeros_like(x)
        dweight = torch.zeros(weight.shape, dtype=_accumulator(weight.dtype), device=weight.device)
        dmasks = torch.empty_like(masks) if need_masks else None
        for i, mask in enumerate(masks):
            dgate_sums = sums.of(i)
            bits = _bits(mask, weight)
            if need_x:
                dx.addmm_(dgate_sums, _selected(weight, bits))
            if need_weight or dmasks is not None:
                product = dgate_sums.T @ x
                dweight += _selected(product, bits)
                if dmasks is not None:
                    dmasks[i] = product * weight
        if need_x:
            dx.addmm_(sums.dtotal, weight)
        if need_weight:
            dweight += sums.dtotal.T @ x
        return (dx if need_x else None, dweight.to(weight.dtype) if need_weight else None, dmasks, *sums.more(), None)


class _Streams:
    """The gates and values of each mask, of the sums of the total and the gates."""

    def __init__(self, total: torch.Tensor, gates: list[torch.Tensor], gate_bias: torch.Tensor | None,
                 value_bias: torch.Tensor | None, p: torch.Tensor | None):
        self.total, self.gates, self.gate_bias, self.value_bias, self.p = total, gates, gate_bias, value_bias, p

    def of(self, mask: int, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        gate = self.gates[mask][rows]
        value = self.total[rows] - gate
        if self.gate_bias is not None:
            gate = gate + self.gate_bias[mask]
        if self.value_bias is not None:
            value += self.value_bias[mask]
        return gate, value

    def scaled(self, tensor: torch.Tensor, mask: int, rows: slice) -> torch.Tensor:
        return tensor if self.p is None else tensor * self.p[rows, mask, None]


class _SumGradients:
    """The gradients of the sums of each mask's gate, and meanwhile of the total, the biases and p."""

    def __init__(self, streams: _Streams, dz: torch.Tensor, options: Options, need: list[bool]):
        self._streams, self._dz = streams, dz
        self._act = _activations.of(*options)
        self.dtotal = torch.zeros_like(streams.total)
        dtype = _accumulator(dz.dtype)
        self._of = (streams.gate_bias, streams.value_bias, streams.p)
        self._dgate_bias, self._dvalue_bias, self._dp = (
            torch.zeros_like(tensor, dtype=dtype) if wanted else None for tensor, wanted in zip(self._of, need))

    def of(self, mask: int) -> torch.Tensor:
        dsums = torch.empty_like(self.dtotal)
        for rows in _parts(dsums):
            gate, value = self._streams.of(mask, rows)
            dz = self._dz[rows]
            activated = self._act.value(gate)
            if self._dp is not None:
                self._dp[rows, mask] = (dz * activated * value).sum(1, dtype=self._dp.dtype)
            dz = self._streams.scaled(dz, mask, rows)
            dgate, dvalue = self._act.backward(value * dz, gate), activated * dz
            for sums, terms in ((self._dgate_bias, dgate), (self._dvalue_bias, dvalue)):
                if sums is not None:
                    sums[mask] += terms.sum(0, dtype=sums.dtype)
            self.dtotal[rows] += dvalue
            torch.sub(dgate, dvalue, out=dsums[rows])
        return dsums

    def more(self) -> Iterator[torch.Tensor | None]:
        """The gradients of the biases and of p, where they are wanted."""
        for gradient, tensor in zip((self._dgate_bias, self._dvalue_bias, self._dp), self._of):
            yield None if gradient is None or tensor is None else gradient.to(tensor.dtype)


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    """What sums of tensors of a dtype are kept in."""
    return torch.promote_types(dtype, torch.float32)


def _bits(mask: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Integers of the width of the weights: all bits set where the mask is 1. Torch selects by them several times as
    fast as by booleans on CPUs, and not finite weights are selected too."""
    return (mask > 0).to(_INTEGERS[weight.element_size()]).neg_()


def _selected(tensor: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """The tensor where the bits are set, else 0."""
    return (tensor.view(bits.dtype) & bits).view(tensor.dtype)


def _parts(tensor: torch.Tensor) -> Iterator[slice]:
    """Slices of rows: on CPUs so few that what is made of one stays in the cache of the threads' cores."""
    rows, columns = tensor.shape
    if tensor.device.type != "cpu" or is_compiling():
        yield slice(0, rows)
        return
    step = max(1, CACHED_BYTES * torch.get_num_threads() // max(1, columns * tensor.element_size()))
    for first in range(0, rows, step):
        yield slice(first, min(rows, first + step))
