# SPDX-License-Identifier: MIT
"""A Llama-style decoder of bytes: RMSNorm, rotary positions, causal attention, a feed-forward block that is given."""

import torch
import torch.nn.functional as F
from torch import nn

BYTES = 256
EPSILON, THETA, DEVIATION = 1e-5, 10000.0, 0.02  # of initial weights, as transformers has it for Llama


class Attention(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.out = nn.Linear(size, size, bias=False)

    def forward(self, x, turns):
        batch, length, size = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q, turns), rotate(k, turns), v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, size))


def rotate(x, turns):
    cos, sin = turns
    low, high = x.chunk(2, -1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


class Layer(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(size, EPSILON) for _ in range(2))
        self.attention = Attention(size, heads)
        self.mlp = None

    def forward(self, x, turns):
        x = x + self.attention(self.norms[0](x), turns)
        return x + self.mlp(self.norms[1](x))


class Decoder(nn.Module):
    """What is not the feed-forward block starts with the same weights for the same seed, whatever the block is."""

    def __init__(self, setting, make_mlp, seed):
        super().__init__()
        size, half = setting.hidden_size, setting.hidden_size // setting.heads // 2
        self.embedding = nn.Embedding(BYTES, size)
        self.layers = nn.ModuleList(Layer(size, setting.heads) for _ in range(setting.layers))
        self.norm = nn.RMSNorm(size, EPSILON)
        torch.manual_seed(seed)
        self.apply(start)
        for layer in self.layers:
            layer.mlp = make_mlp(size).apply(start)
        angles = torch.outer(torch.arange(setting.context), THETA ** -(torch.arange(half) / half))
        self.turns = angles.cos(), angles.sin()

    def forward(self, tokens):
        x = self.embedding(tokens)
        turns = tuple(part[: tokens.shape[1]] for part in self.turns)
        for layer in self.layers:
            x = layer(x, turns)
        return F.linear(self.norm(x), self.embedding.weight)


def start(module):
    """Matrices as Llama's start; mask logits keep the start of their own."""
    if isinstance(getattr(module, "weight", None), nn.Parameter) and module.weight.dim() == 2:
        nn.init.normal_(module.weight, std=DEVIATION)
