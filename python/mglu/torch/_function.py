# SPDX-License-Identifier: MIT
"""The projection of a masked GLU and its gradients, on tensors of any device.

z = sum over i of p_i g(gate_i) * value_i, where gate_i = x (M_i * W)^T + gate_bias_i, value_i likewise with 1 - M_i, and
M_i is 1 where its logit is above 0. The sums of value_i are the total x W^T less those of gate_i: one product for the
total and one for each mask, and twice as many in backward. Backward needs the sums, [1 + n_masks, tokens, d]; copies of
W with a mask applied are made again, one at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch

from . import _activations

_Tensors = tuple[Optional[torch.Tensor], ...]


class Options(NamedTuple):
    """What of a projection is no tensor."""

    activation: str
    silu_beta: float


def masked(weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """W where the mask is 1, else 0."""
    return torch.where(mask > 0, weight, weight.new_zeros(()))


class Projection(torch.autograd.Function):
    """Of x [tokens, h], W [d, h], masks [n, d, h] (logits, or 0 and 1), biases [n, d] or None, and p [tokens, n] or
    None, the weights that routing gives the masks. The gradient of a logit is that of its mask (straight-through)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, masks: torch.Tensor,
                gate_bias: torch.Tensor | None, value_bias: torch.Tensor | None, p: torch.Tensor | None,
                options: Options) -> torch.Tensor:
        total = x @ weight.T
        gates = [x @ masked(weight, mask).T for mask in masks]
        act = _activations.of(*options).value
        z = torch.zeros_like(total)
        for i, sums in enumerate(gates):
            gate, value = _streams(total, sums, gate_bias, value_bias, i)
            z += _scaled(act(gate) * value, p, i)
        ctx.save_for_backward(x, weight, masks, gate_bias, value_bias, p, total, *gates)
        ctx.options = options
        return z

    @staticmethod
    def backward(ctx: Any, dz: torch.Tensor) -> Any:
        x, weight, masks, gate_bias, value_bias, p, total, *gates = ctx.saved_tensors
        act = _activations.of(*ctx.options)
        need = dict(zip(("x", "weight", "masks", "gate_bias", "value_bias", "p"), ctx.needs_input_grad))
        grads = {name: torch.zeros_like(tensor) if need[name] else None for name, tensor in (
            ("masks", masks), ("gate_bias", gate_bias), ("value_bias", value_bias), ("p", p))}
        dtotal = torch.zeros_like(total)
        dx = torch.zeros_like(x)
        dweight = torch.zeros_like(weight)
        for i, sums in enumerate(gates):
            gate, value = _streams(total, sums, gate_bias, value_bias, i)
            scaled = _scaled(dz, p, i)
            activated = act.value(gate)
            dgate, dvalue = act.backward(scaled * value, gate), scaled * activated
            _add_sums(grads, i, dgate, dvalue, dz * activated * value if need["p"] else None)
            dtotal += dvalue
            dsums = dgate - dvalue
            if need["x"]:
                dx.addmm_(dsums, masked(weight, masks[i]))
            if need["weight"] or need["masks"]:
                product = dsums.T @ x
                dweight += masked(product, masks[i])
                if need["masks"]:
                    grads["masks"][i] = product * weight
        dx.addmm_(dtotal, weight)
        dweight.addmm_(dtotal.T, x)
        return (dx if need["x"] else None, dweight if need["weight"] else None, *grads.values(), None)


def _streams(total: torch.Tensor, sums: torch.Tensor, gate_bias: torch.Tensor | None,
             value_bias: torch.Tensor | None, mask: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The gate and the value of a mask, of the total and the sums of the gate."""
    gate, value = sums, total - sums
    if gate_bias is not None:
        gate = gate + gate_bias[mask]
    return gate, value if value_bias is None else value + value_bias[mask]


def _scaled(tensor: torch.Tensor, p: torch.Tensor | None, mask: int) -> torch.Tensor:
    return tensor if p is None else tensor * p[:, mask, None]


def _add_sums(grads: dict[str, torch.Tensor | None], mask: int, dgate: torch.Tensor, dvalue: torch.Tensor,
              dterm: torch.Tensor | None) -> None:
    """The gradients that are sums over tokens, and those of p, sums over d."""
    for name, terms, axis in (("gate_bias", dgate, 0), ("value_bias", dvalue, 0)):
        if grads[name] is not None:
            grads[name][mask] = terms.sum(axis)
    if dterm is not None:
        grads["p"][:, mask] = dterm.sum(1)
