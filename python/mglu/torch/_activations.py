# SPDX-License-Identifier: MIT
"""The gating functions and their derivatives, on tensors."""

from __future__ import annotations

from typing import Callable, NamedTuple

import torch

_ops = torch.ops.aten


class Activation(NamedTuple):
    """`value(t)` is g(t), a tensor of its own; `backward(grad, t)` is grad · g'(t)."""

    value: Callable[[torch.Tensor], torch.Tensor]
    backward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _sigmoid_backward(grad: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return _ops.sigmoid_backward(grad, t.sigmoid())  # type: ignore[no-any-return]


_ACTIVATIONS = {
    "silu": Activation(torch.nn.functional.silu, _ops.silu_backward),
    "gelu_erf": Activation(torch.nn.functional.gelu, _ops.gelu_backward),
    "gelu_tanh": Activation(lambda t: torch.nn.functional.gelu(t, approximate="tanh"),
                            lambda grad, t: _ops.gelu_backward(grad, t, approximate="tanh")),
    "relu": Activation(torch.relu, lambda grad, t: _ops.threshold_backward(grad, t, 0)),
    "sigmoid": Activation(torch.sigmoid, _sigmoid_backward),
    "identity": Activation(torch.clone, lambda grad, t: grad),
}
NAMES = tuple(_ACTIVATIONS)


def _silu_of(beta: float) -> Activation:
    """t · σ(β t) = silu(β t) / β."""
    return Activation(lambda t: torch.nn.functional.silu(t * beta) / beta,
                      lambda grad, t: _ops.silu_backward(grad, t * beta))


def of(name: str, silu_beta: float = 0.0) -> Activation:
    """The activation of a name; silu_beta: beta of SiLU, 0 means 1."""
    if name == "silu" and silu_beta not in (0.0, 1.0):
        return _silu_of(silu_beta)
    return _ACTIVATIONS[name]
