# SPDX-License-Identifier: MIT
"""The projection of a masked GLU as a module that learns its masks."""

from __future__ import annotations

import math
from typing import Any

import torch

from .._errors import InvalidArgument
from . import _activations
from ._function import Options, Projection

MAX_MASKS = 16


class MGLU(torch.nn.Module):
    """z = sum over i of g(x (M_i * W)^T) * (x ((1 - M_i) * W)^T), in place of the gate and up projections of a GLU.

    activation: "silu", "gelu_erf", "gelu_tanh", "relu", "sigmoid" or "identity". silu_beta: beta of SiLU; 0 means 1.
    bias: gate_bias and value_bias, for each mask. top_k: a router selects so many masks for each token; 0: all masks.
    mask_std: standard deviation of the logits at first. learn_masks: False keeps the random masks as they are.

    Parameters are `weight` [d, h] as torch.nn.Linear's, `mask` [n_masks, d, h], whose logits above 0 are ones (with
    learn_masks=False a buffer of 0 and 1), `gate_bias`, `value_bias` [n_masks, d] and `router.weight` [n_masks, h]: the
    names of docs/format.md, which `mglu pack` reads. Gradients pass straight through the threshold (arXiv 2506.23225,
    appendix D). Only first derivatives are computed.
    """

    def __init__(self, hidden_size: int, intermediate_size: int, n_masks: int, *, activation: str = "silu",
                 silu_beta: float = 0.0, bias: bool = False, top_k: int = 0, mask_std: float = 0.01,
                 learn_masks: bool = True, device: Any = None, dtype: torch.dtype | None = None):
        super().__init__()
        _check(n_masks, activation, top_k)
        self.hidden_size, self.intermediate_size, self.n_masks = hidden_size, intermediate_size, n_masks
        self.activation, self.silu_beta, self.top_k, self.mask_std = activation, silu_beta, top_k, mask_std
        self.learn_masks = learn_masks
        place = {"device": device, "dtype": dtype}
        shape = (n_masks, intermediate_size, hidden_size)
        self.weight = torch.nn.Parameter(torch.empty(shape[1:], **place))
        if learn_masks:
            self.mask = torch.nn.Parameter(torch.empty(shape, **place))
        else:
            self.register_buffer("mask", torch.empty(shape, device=device, dtype=torch.uint8))
        for name in ("gate_bias", "value_bias"):
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape[:2], **place)) if bias else None)
        self.router = torch.nn.Linear(hidden_size, n_masks, bias=False, **place) if top_k else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Weights and biases as those of torch.nn.Linear, logits of mask_std · N(0, 1), and fixed masks their signs."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size else 0
        for parameter in (self.weight, self.gate_bias, self.value_bias):
            if parameter is not None:
                parameter.uniform_(-bound, bound)
        if self.learn_masks:
            self.mask.normal_(0, self.mask_std)
        else:
            self.mask.random_(0, 2)
        if self.router is not None:
            self.router.reset_parameters()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """z [..., d] of x [..., h]."""
        p = None if self.router is None else _routing_weights(self.router(x), self.top_k)
        dtype = _autocast_dtype(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            x, weight, gate_bias, value_bias = (None if tensor is None else tensor.to(dtype or tensor.dtype)
                                                for tensor in (x, self.weight, self.gate_bias, self.value_bias))
            if p is not None:
                p = p.to(x.dtype).reshape(-1, self.n_masks)
            z = Projection.apply(x.reshape(-1, self.hidden_size), weight, self.mask, gate_bias, value_bias, p,
                                 Options(self.activation, self.silu_beta))
        return z.reshape(*x.shape[:-1], self.intermediate_size)

    def extra_repr(self) -> str:
        more = [f"top_k={self.top_k}"] if self.top_k else []
        more += ["bias=True"] if self.gate_bias is not None else []
        more += [] if self.learn_masks else ["learn_masks=False"]
        return ", ".join([f"{self.hidden_size} -> {self.intermediate_size}", f"{self.n_masks} masks", self.activation,
                          *more])


def _check(n_masks: int, activation: str, top_k: int) -> None:
    if not 1 <= n_masks <= MAX_MASKS:
        raise InvalidArgument(f"n_masks is {n_masks}; expected 1 to {MAX_MASKS}")
    if activation not in _activations.NAMES:
        raise InvalidArgument(f"activation is {activation!r}; expected one of {', '.join(_activations.NAMES)}")
    if not 0 <= top_k <= n_masks:
        raise InvalidArgument(f"top_k is {top_k}; expected 0 to n_masks, {n_masks}")


def _routing_weights(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """Softmax over the top_k largest logits of each token, the lower mask where two are equal; 0 for the others."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    values, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    values, order = values[..., :top_k], order[..., :top_k]
    return torch.zeros_like(logits).scatter(-1, order, values.softmax(-1))


def _autocast_dtype(device_type: str) -> torch.dtype | None:
    """What autocast computes products in on this kind of device; None outside of autocast."""
    if device_type == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
