# SPDX-License-Identifier: MIT
"""Gated linear units in double precision, and their tensors under the names that files have for them."""

import math
import random

from safetensors import tensor

H, D, EXPERTS, TOKENS = 64, 32, 3, 2


def matrix(rows, columns, seed):
    """Numbers that every float dtype holds exactly, of which any two are rarely equal."""
    source = random.Random(repr(seed))
    return [[source.randint(-120, 120) / 64 for _ in range(columns)] for _ in range(rows)]


def vector(size, seed):
    return matrix(1, size, seed)[0]


def flat(rows):
    return [number for row in rows for number in row]


def stored(dtype, *matrices):
    """A tensor of one matrix, or a stack of several."""
    shape = [len(matrices[0]), len(matrices[0][0])]
    shape = [len(matrices), *shape] if len(matrices) > 1 else shape
    return tensor(dtype, shape, [number for one in matrices for number in flat(one)])


def times(rows, x, bias=None):
    return [math.fsum(w * t for w, t in zip(row, x)) + (bias[i] if bias else 0) for i, row in enumerate(rows)]


def silu(t):
    return t / (1 + math.exp(-t)) if t >= 0 else t * math.exp(t) / (1 + math.exp(t))


def gelu_tanh(t):
    return t / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (t + 0.044715 * t**3)))


class Glu:
    """A gated linear unit with its biases, if any."""

    def __init__(self, seed, biases=False, d=D):
        self.gate, self.value, self.down = matrix(d, H, (seed, 0)), matrix(d, H, (seed, 1)), matrix(H, d, (seed, 2))
        self.gate_bias, self.value_bias = (vector(d, (seed, i)) if biases else None for i in (3, 4))
        self.down_bias = vector(H, (seed, 5)) if biases else None

    def forward(self, x, act=silu):
        gates, values = times(self.gate, x, self.gate_bias), times(self.value, x, self.value_bias)
        return times(self.down, [act(g) * v for g, v in zip(gates, values)], self.down_bias)


class Masked:
    """A masked one: the matrix `weight`, and for each mask its own biases, if any."""

    def __init__(self, seed, masks=2, biases=False):
        self.weight, self.down = matrix(D, H, (seed, 0)), matrix(H, D, (seed, 1))
        source = random.Random(repr(seed))
        self.masks = [[[source.randint(0, 1) for _ in range(H)] for _ in range(D)] for _ in range(masks)]
        self.gate_bias, self.value_bias = (matrix(masks, D, (seed, i)) if biases else None for i in (3, 4))
        self.down_bias = vector(H, (seed, 5)) if biases else None

    def forward(self, x, act=silu):
        sums = [0.0] * D
        for i, mask in enumerate(self.masks):
            gate = [[w * m for w, m in zip(*rows)] for rows in zip(self.weight, mask)]
            value = [[w * (1 - m) for w, m in zip(*rows)] for rows in zip(self.weight, mask)]
            gates = times(gate, x, self.gate_bias and self.gate_bias[i])
            values = times(value, x, self.value_bias and self.value_bias[i])
            sums = [s + act(g) * v for s, g, v in zip(sums, gates, values)]
        return times(self.down, sums, self.down_bias)


def halves(gate, value):
    return gate + value


def interleaved(gate, value):
    return [row for pair in zip(gate, value) for row in pair]


def transposed(rows):
    return [list(column) for column in zip(*rows)]


def biases(glu, names, join=None):
    """Biases under the names of the matrices; `join` puts gate and value into one."""
    if not glu.gate_bias:
        return {}
    if join:
        both = join(glu.gate_bias, glu.value_bias)
        return {names[0] + ".bias": tensor("F32", [2 * D], both),
                names[-1] + ".bias": tensor("F32", [H], glu.down_bias)}
    of = zip(names, [glu.gate_bias, glu.value_bias, glu.down_bias])
    return {name + ".bias": tensor("F32", [len(bias)], bias) for name, bias in of}


PAIRS = {
    "gate_proj, up_proj": ("gate_proj", "up_proj", "down_proj"),
    "w1, w3": ("w1", "w3", "w2"),
    "wi_0, wi_1": ("wi_0", "wi_1", "wo"),
}
FUSED = {
    "gate_up_proj": ("gate_up_proj", "down_proj"),
    "w12": ("w12", "w3"),
    "linear_fc1": ("linear_fc1", "linear_fc2"),
    "input_linear": ("input_linear", "output_linear"),
}
ORDERS = {"halves": halves, "interleaved": interleaved}


def pair(glu, names, dtype="F32"):
    parts = zip(names, (glu.gate, glu.value, glu.down))
    return {**{name + ".weight": stored(dtype, part) for name, part in parts}, **biases(glu, names)}


def fused(glu, names, join, dtype="F32"):
    tensors = {names[0] + ".weight": stored(dtype, join(glu.gate, glu.value)),
               names[1] + ".weight": stored(dtype, glu.down)}
    return {**tensors, **biases(glu, names, join)}


def masked(layer, name, down, dtype="F32"):
    tensors = {
        name + ".weight": stored(dtype, layer.weight),
        name + ".mask": tensor("BOOL", [len(layer.masks), D, H], [bit for mask in layer.masks for bit in flat(mask)]),
        down + ".weight": stored(dtype, layer.down),
    }
    if layer.gate_bias:
        tensors[name + ".gate_bias"] = stored("F32", layer.gate_bias)
        tensors[name + ".value_bias"] = stored("F32", layer.value_bias)
        tensors[down + ".bias"] = tensor("F32", [H], layer.down_bias)
    return tensors


def under(prefix, tensors):
    return {prefix + "." + name: item for name, item in tensors.items()}
