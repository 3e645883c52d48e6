# SPDX-License-Identifier: MIT
"""The projection of a masked GLU as a module that learns its masks."""

from __future__ import annotations

import math
from typing import Any

import torch

from .._errors import InvalidArgument, Unsupported
from . import _activations
from ._compile import is_compiling
from ._frozen import Freezable
from ._function import Options, Projection
from ._kernels import KernelProjection, Parameters, Plan, plan_of

MAX_MASKS = 16
KERNELS = ("auto", "torch", "mglu")


class MGLU(Freezable):
    """z = sum over i of g(x (M_i * W)^T) * (x ((1 - M_i) * W)^T), in place of the gate and up projections of a GLU.

    activation: "silu", "gelu_erf", "gelu_tanh", "relu", "sigmoid" or "identity". silu_beta: beta of SiLU; 0 means 1.
    bias: gate_bias and value_bias, for each mask. top_k: a router selects so many masks for each token; 0: all masks.
    mask_std: standard deviation of the logits at first. learn_masks: False keeps the random masks as they are. kernels:
    "mglu", the library's, for float32 and bfloat16 on CPUs, "torch", PyTorch's operations, or "auto", the library's
    where they can be used; also an attribute, to be changed at any time.

    Parameters are `weight` [d, h] as torch.nn.Linear's, `mask` [n_masks, d, h], whose logits above 0 are ones (with
    learn_masks=False a buffer of 0 and 1), `gate_bias`, `value_bias` [n_masks, d] and `router.weight` [n_masks, h]: the
    names of docs/format.md, which `mglu pack` reads. Gradients pass straight through the threshold (arXiv 2506.23225,
    appendix D). Only first derivatives are computed.
    """

    def __init__(self, hidden_size: int, intermediate_size: int, n_masks: int, *, activation: str = "silu",
                 silu_beta: float = 0.0, bias: bool = False, top_k: int = 0, mask_std: float = 0.01,
                 learn_masks: bool = True, kernels: str = "auto", device: Any = None,
                 dtype: torch.dtype | None = None):
        super().__init__()
        _check(n_masks, activation, silu_beta, top_k)
        self.kernels = kernels
        self.hidden_size, self.intermediate_size, self.n_masks = hidden_size, intermediate_size, n_masks
        self.activation, self.silu_beta, self.top_k, self.mask_std = activation, silu_beta, top_k, mask_std
        self.learn_masks = learn_masks
        self._make_parameters(bias, device, dtype)
        self.reset_parameters()

    def _make_parameters(self, bias: bool, device: Any, dtype: torch.dtype | None) -> None:
        def parameter(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        n, d, h = self.n_masks, self.intermediate_size, self.hidden_size
        self.weight = parameter(d, h)
        if self.learn_masks:
            self.mask: torch.Tensor = parameter(n, d, h)
        else:
            self.register_buffer("mask", torch.empty((n, d, h), device=device, dtype=torch.uint8))
        self.gate_bias = parameter(n, d) if bias else None
        self.value_bias = parameter(n, d) if bias else None
        self.router = torch.nn.Linear(h, n, bias=False, device=device, dtype=dtype) if self.top_k else None

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
        z: torch.Tensor = (self.frozen or self._train)(x)
        return z

    def _train(self, x: torch.Tensor) -> torch.Tensor:
        logits = None if self.router is None else self.router(x).reshape(-1, self.n_masks)
        dtype = _autocast_dtype(x.device.type)
        rows = _cast(x.reshape(-1, self.hidden_size), dtype)
        if dtype is None and rows.dtype != self.weight.dtype:
            raise InvalidArgument(f"x is {x.dtype}; expected {self.weight.dtype}, as the weight is, or torch.autocast")
        plan = self._plan(rows)
        if plan is not None:
            vectors = (_cast(tensor, torch.float32) for tensor in (self.gate_bias, self.value_bias, logits))
            z = KernelProjection.apply(rows, self.weight, self.mask, *vectors, plan, torch.is_grad_enabled())
        else:
            weight, *biases = (_cast(tensor, dtype) for tensor in (self.weight, self.gate_bias, self.value_bias))
            p = None if logits is None else _routing_weights(logits, self.top_k).to(rows.dtype)
            z = Projection.apply(rows, weight, self.mask, *biases, p, Options(self.activation, self.silu_beta))
        y: torch.Tensor = z.reshape(*x.shape[:-1], self.intermediate_size)
        return y

    def kernels_for(self, x: torch.Tensor) -> str:
        """Whose kernels compute a call with x: "mglu" or "torch"."""
        rows = _cast(x.reshape(-1, self.hidden_size), _autocast_dtype(x.device.type))
        return "mglu" if self.frozen is not None or self._plan(rows) is not None else "torch"

    def _plan(self, rows: torch.Tensor) -> Plan | None:
        """For the library's kernels; None where PyTorch's operations are to be used."""
        if self.kernels not in KERNELS:
            raise InvalidArgument(f"kernels is {self.kernels!r}; expected one of {', '.join(KERNELS)}")
        if self.kernels == "torch":
            return None
        parameters = Parameters(self.hidden_size, self.intermediate_size, self.n_masks, self.activation, self.silu_beta,
                                self.top_k, self.gate_bias is not None)
        plan = _compiled() if is_compiling() else plan_of(parameters, rows, self.weight, self.mask)
        if isinstance(plan, Plan):
            return plan
        if self.kernels == "mglu":
            raise plan
        return None

    def _arrays(self) -> dict[str, torch.Tensor | None]:
        return {"weight": self.weight, "masks": self.mask > 0, "gate_bias": self.gate_bias,
                "value_bias": self.value_bias, "router": None if self.router is None else self.router.weight}

    def _operation(self) -> dict[str, Any]:
        return {"activation": self.activation, "silu_beta": self.silu_beta, "top_k": self.top_k}

    def extra_repr(self) -> str:
        more = [f"top_k={self.top_k}"] if self.top_k else []
        more += ["bias=True"] if self.gate_bias is not None else []
        more += [] if self.learn_masks else ["learn_masks=False"]
        return ", ".join([f"{self.hidden_size} -> {self.intermediate_size}", f"{self.n_masks} masks", self.activation,
                          *more])


def _check(n_masks: int, activation: str, silu_beta: float, top_k: int) -> None:
    if not 1 <= n_masks <= MAX_MASKS:
        raise InvalidArgument(f"n_masks is {n_masks}; expected 1 to {MAX_MASKS}")
    if activation not in _activations.NAMES:
        raise InvalidArgument(f"activation is {activation!r}; expected one of {', '.join(_activations.NAMES)}")
    if silu_beta and activation != "silu":
        raise InvalidArgument(f"silu_beta is {silu_beta}; expected 0 for {activation}")
    if not 0 <= top_k <= n_masks:
        raise InvalidArgument(f"top_k is {top_k}; expected 0 to n_masks, {n_masks}")


def _compiled() -> Unsupported:
    return Unsupported("torch.compile can't trace the library's kernels; expected kernels='auto' or 'torch'")


def _routing_weights(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """Softmax over the top_k largest logits of each token, the lower mask where two are equal; 0 for the others."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    values, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    values, order = values[..., :top_k], order[..., :top_k]
    return torch.zeros_like(logits).scatter(-1, order, values.softmax(-1))


def _autocast_dtype(device_type: str) -> torch.dtype | None:
    """What autocast computes products in on this kind of device; None outside of autocast."""
    if not hasattr(torch, "get_autocast_dtype"):  # before torch 2.4
        if device_type == "cpu":
            return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
    enabled = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
    return torch.get_autocast_dtype(device_type) if enabled else None


def _cast(tensor: Any, dtype: torch.dtype | None) -> Any:
    """As autocast does: to its dtype, but for float64."""
    return tensor if tensor is None or dtype is None or tensor.dtype == torch.float64 else tensor.to(dtype)
