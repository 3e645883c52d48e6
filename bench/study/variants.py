# SPDX-License-Identifier: MIT
"""The feed-forward blocks that are compared. They differ in the projection, and in its width on the second axis."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import nn

import mglu.torch

WEIGHT_BITS = 16


class Variant(NamedTuple):
    title: str
    kind: str  # of PROJECTIONS
    masks: int = 0
    activation: str = "silu"
    width: float = 1  # of the intermediate size that the setting says
    top_k: int = 0
    fixed: bool = False  # masks stay as they start


VARIANTS = {
    "gelu": Variant("GELU, no gate", "plain"),
    "swiglu": Variant("SwiGLU", "gated"),
    "swiglu-shared": Variant("SwiGLU, W_g = W_v", "shared"),
    "swimglu-1": Variant("SwiMGLU, n_m = 1", "masked", 1),
    "swimglu-2": Variant("SwiMGLU, n_m = 2", "masked", 2),
    "swimglu-4": Variant("SwiMGLU, n_m = 4", "masked", 4),
    "swimglu-8": Variant("SwiMGLU, n_m = 8", "masked", 8),
    "swimglu-2-fixed": Variant("SwiMGLU, n_m = 2, masks fixed", "masked", 2, fixed=True),
    "gemglu-4": Variant("GeMGLU, n_m = 4", "masked", 4, "gelu_erf"),
    "remglu-4": Variant("ReMGLU, n_m = 4", "masked", 4, "relu"),
    "swimglu-4-top-2": Variant("SwiMGLU, top-2 of 4", "masked", 4, top_k=2),
    # Equal bytes: 48 d h bits of a SwiGLU with its down-projection, 36 d h of a SwiMGLU with four masks.
    "swiglu-narrow": Variant("SwiGLU of as many bytes as SwiMGLU, n_m = 4", "gated", width=3 / 4),
    "swimglu-4-wide": Variant("SwiMGLU, n_m = 4, of as many bytes as SwiGLU", "masked", 4, width=4 / 3),
}


class Plain(nn.Module):
    def __init__(self, size, width, variant):
        super().__init__()
        self.up = nn.Linear(size, width, bias=False)

    def forward(self, x):
        return F.gelu(self.up(x))


class Gated(nn.Module):
    def __init__(self, size, width, variant):
        super().__init__()
        self.gate = nn.Linear(size, width, bias=False)
        self.up = nn.Linear(size, width, bias=False)

    def forward(self, x):
        return F.silu(self.gate(x)) * self.up(x)


class Shared(nn.Module):
    def __init__(self, size, width, variant):
        super().__init__()
        self.up = nn.Linear(size, width, bias=False)

    def forward(self, x):
        total = self.up(x)
        return F.silu(total) * total


def masked(size, width, variant):
    return mglu.torch.MGLU(size, width, variant.masks, activation=variant.activation, top_k=variant.top_k,
                           learn_masks=not variant.fixed)  # fmt: skip


PROJECTIONS = {"plain": Plain, "gated": Gated, "shared": Shared, "masked": masked}


class Block(nn.Module):
    def __init__(self, size, width, variant):
        super().__init__()
        width = round(width * variant.width)
        self.projection = PROJECTIONS[variant.kind](size, width, variant)
        self.down = nn.Linear(width, size, bias=False)

    def forward(self, x):
        return self.down(self.projection(x))

    def bytes(self):
        """As packed: the masks' logits are a bit each."""
        bits = {True: 1, False: WEIGHT_BITS}
        return sum(bits[name.endswith(".mask")] * value.numel() for name, value in self.state_dict().items()) // 8

    def share_of_ones(self):
        """Of all masks of the block; None where it has none."""
        mask = getattr(self.projection, "mask", None)
        return None if mask is None else (mask > 0).double().mean().item()
