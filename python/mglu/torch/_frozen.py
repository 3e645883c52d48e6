# SPDX-License-Identifier: MIT
"""Modules that can compute with a packed layer of the library in place of PyTorch's operations."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from .._layer import Layer
from .._weights import Weights
from ._inference import GLU

_Self = TypeVar("_Self", bound="Freezable")


class Freezable(torch.nn.Module):
    """`frozen` is the packed layer that computes, or None."""

    frozen: GLU | None

    def __init__(self) -> None:
        super().__init__()
        self.frozen = None

    def freeze(self: _Self, *, dtype: str | None = None, device: Any = None, **options: Any) -> _Self:
        """Packs the parameters as they are now; from then on the packed layer computes, without gradients.

        dtype: what the matrices are stored as, "f32", "f16", "bf16", "q8_0" or "q4_0"; None: as the weight is. device:
        one of the library's; None: the CUDA backend's for parameters on a GPU, else the CPU. options: of mglu.Layer, as
        max_batch. The parameters stay as they are: state_dict() has them, and unfreeze() goes on with them.
        """
        tensors = {name: tensor.detach() for name, tensor in self._arrays().items() if tensor is not None}
        if device is None and tensors["weight"].is_cuda:
            device = "cuda"
        arrays: dict[str, Any] = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        weights = Weights(**arrays, dtype=dtype, device=device)
        self.frozen = GLU(Layer(weights, **{**self._operation(), **options}))
        return self

    def unfreeze(self: _Self) -> _Self:
        """Frees the packed layer: the module computes with its parameters again, and gradients."""
        self.frozen = None
        return self

    def _arrays(self) -> dict[str, torch.Tensor | None]:
        """The arguments of mglu.Weights; None where there is no such array."""
        raise NotImplementedError

    def _operation(self) -> dict[str, Any]:
        """The arguments of mglu.Layer that the module defines."""
        raise NotImplementedError
