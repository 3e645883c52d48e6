# SPDX-License-Identifier: MIT
"""PyTorch: modules to train masked gated linear units with, and packed layers as modules: docs/python.md.

Packed layers themselves take tensors: y = layer(x). The operator for torch.compile needs torch 2.4 or later; all else
works from torch 1.13 on.
"""

from ._inference import GLU, TensorParallel, operator
from ._mlp import MLP, replace_mlp
from ._module import MGLU

__all__ = ["GLU", "MGLU", "MLP", "TensorParallel", "operator", "replace_mlp"]
