# SPDX-License-Identifier: MIT
"""The projection of a masked GLU and its gradients, in operations of PyTorch, on tensors of any device.

z = sum over i of p_i g(gate_i) * value_i, where gate_i = x (M_i * W)^T + gate_bias_i, value_i is the same with 1 - M_i,
and M_i is 1 where its logit is above 0. The sums of value_i are the total x W^T less those of gate_i: one product for the
total and one for each mask, and twice as many in backward. Backward needs the sums, [1 + n_masks, tokens, d]; copies of
W with a mask applied are made again, one at a time.
"""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import torch

from .._errors import Unsupported
from . import _activations
from ._compile import is_compiling

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Options(NamedTuple):
    """What of a projection is no tensor."""

    activation: str
    silu_beta: float


# Of a core's second-level cache: seven tensors of a part are in use at once.
CACHED_BYTES = 1 << 17


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
    def backward(ctx: Any, dz: torch.Tensor) -> Any:
        if torch.is_grad_enabled() and not is_compiling():
            raise Unsupported("MGLU has first derivatives only; expected a backward without create_graph=True")
        x, weight, masks, gate_bias, value_bias, p, total, *gates = ctx.saved_tensors
        need_x, need_weight, need_masks, *need_more = ctx.needs_input_grad[:6]
        streams = _Streams(total, gates, gate_bias, value_bias, p)
        dtotal, dgates, more = _gradients_of_sums(streams, dz, _activations.of(*ctx.options), need_more)
        dx = dtotal @ weight if need_x else None
        dweight = (dtotal.T @ x).to(_accumulator(weight.dtype)) if need_weight else None
        dmasks = torch.empty_like(masks) if need_masks else None
        for i, dsums in enumerate(dgates):
            bits = _bits(masks[i], weight)
            if dx is not None:
                dx.addmm_(dsums, _selected(weight, bits))
            if dweight is None and dmasks is None:
                continue
            product = dsums.T @ x
            if dweight is not None:
                dweight += _selected(product, bits)
            if dmasks is not None:
                torch.mul(product, weight, out=dmasks[i])
        return dx, None if dweight is None else dweight.to(weight.dtype), dmasks, *more, None


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


def _gradients_of_sums(streams: _Streams, dz: torch.Tensor, act: _activations.Activation, need: list[bool]) -> tuple[
        torch.Tensor, list[torch.Tensor], list[torch.Tensor | None]]:
    """The gradients of the total and of the sums of each gate, and those of the biases and of p that are wanted."""
    dtotal, dgates = torch.empty_like(streams.total), [torch.empty_like(sums) for sums in streams.gates]
    inputs = (streams.gate_bias, streams.value_bias, streams.p)
    dgate_bias, dvalue_bias, dp = more = [
        torch.zeros_like(tensor, dtype=_accumulator(tensor.dtype)) if tensor is not None and wanted else None
        for tensor, wanted in zip(inputs, need)]
    for rows in _parts(dtotal):
        total = dtotal[rows].zero_()
        for i, dsums in enumerate(dgates):
            gate, value = streams.of(i, rows)
            activated = act.value(gate)
            if dp is not None:
                dp[rows, i] = (dz[rows] * activated * value).sum(1, dtype=dp.dtype)
            dterm = streams.scaled(dz[rows], i, rows)
            dgate, dvalue = act.backward(value.mul_(dterm), gate), activated.mul_(dterm)
            for sums, terms in ((dgate_bias, dgate), (dvalue_bias, dvalue)):
                if sums is not None:
                    sums[i] += terms.sum(0, dtype=sums.dtype)
            total += dvalue
            torch.sub(dgate, dvalue, out=dsums[rows])
    return dtotal, dgates, [tensor if tensor is None else tensor.to(dz.dtype) for tensor in more]


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    """What sums of tensors of a dtype are kept in."""
    return torch.promote_types(dtype, torch.float32)


def _bits(mask: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Integers of the width of the weights: all bits set where the mask is 1. Torch selects by them several times as
    fast as by booleans on CPUs, and not finite weights are selected too."""
    ones = torch.empty(mask.shape, dtype=_INTEGERS[weight.element_size()], device=mask.device)
    return torch.gt(mask, 0, out=ones).neg_()


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
