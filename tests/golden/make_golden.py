#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Golden vectors: layers with their inputs, the expected outputs and the tolerance of each, as safetensors files.

Computed from the equations and the bound of docs/semantics.md alone, without any code of the library. Weights, biases
and inputs are small multiples of powers of two, exact in every dtype and with exact sums in double; some weights are
then quantised as docs/format.md says, and the results are the layer's. Exponentials and sums are computed in decimal
and rounded once. So the files have the same bytes on every machine.

    make_golden.py DIR           writes the files
    make_golden.py --check DIR   exits with 1 and names the files that differ from what it would write
"""

import math
import pathlib
import struct
import sys
from decimal import Decimal, getcontext

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "programs"))
import safetensors  # noqa: E402

getcontext().prec = 90

U = 2.0**-24
SMALLEST_NORMAL = 2.0**-126
ROUNDING = {"F32": (2.0**-24, SMALLEST_NORMAL), "F16": (2.0**-11, 2.0**-24), "BF16": (2.0**-8, SMALLEST_NORMAL)}
QUANTISED = {"Q8_0": "I8", "Q4_0": "U8"}
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
# The minima of SiLU with beta 1 and of both forms of GELU.
TURNING_POINTS = {"silu": -1.2784645427610738, "gelu_erf": -0.7517915246935645, "gelu_tanh": -0.7524614220710162}


class Numbers:
    """Splitmix64: the same numbers in every language."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def multiple(self, largest, step):
        """A multiple of `step` that is at most `largest` steps from 0."""
        return (self.next() % (2 * largest + 1) - largest) * step

    def matrix(self, rows, columns, largest, step):
        return [[self.multiple(largest, step) for _ in range(columns)] for _ in range(rows)]


def sigmoid(t):
    return 1 / (1 + (-t).exp())


def normal_distribution(t):
    """Phi(t) = 1/2 + (t / sqrt(2 pi)) sum of (-t^2 / 2)^k / (k! (2k + 1))"""
    term, total, k = Decimal(1), Decimal(1), 0
    while abs(term) > Decimal(10) ** -85:
        k += 1
        term *= -t * t / 2 / k
        total += term / (2 * k + 1)
    return Decimal("0.5") + t * total / (2 * PI).sqrt()


ACTIVATIONS = {
    "identity": lambda t: t,
    "relu": lambda t: max(t, Decimal(0)),
    "sigmoid": sigmoid,
    "silu": lambda t: t * sigmoid(t),
    "gelu_erf": lambda t: t * normal_distribution(t),
    "gelu_tanh": lambda t: t * sigmoid(2 * (2 / PI).sqrt() * (t + Decimal("0.044715") * t**3)),
}


def activate(name, t):
    return float(ACTIVATIONS[name](Decimal(t)))


def own_error(name, gate):
    if name in ("identity", "relu"):
        return 0.0
    if name == "sigmoid":
        return 4 * U * (1 + abs(gate)) * activate("sigmoid", gate) + SMALLEST_NORMAL
    return 8 * U * abs(gate) + SMALLEST_NORMAL


def activation_error(name, gate, error):
    """max |g(gate +- error) - g(gate)| + own error"""
    function, at = ACTIVATIONS[name], Decimal(gate)
    ends = [at - Decimal(error), at + Decimal(error)]
    turn = TURNING_POINTS.get(name)
    if turn is not None and ends[0] < turn < ends[1]:
        ends.append(Decimal(turn))
    return float(max(abs(function(end) - function(at)) for end in ends)) + own_error(name, gate)


class Sums:
    """Of one row of weights with one x: the total, T and F."""

    def __init__(self, weights, x):
        self.products = [w * v for w, v in zip(weights, x)]
        self.total = math.fsum(self.products)
        magnitude = math.fsum(map(abs, self.products))
        flushed = SMALLEST_NORMAL * math.fsum(1 + abs(w) + abs(v) for w, v in zip(weights, x))
        self.error = (2 * self.constant(len(x)) + 2) * U * magnitude + flushed

    @staticmethod
    def constant(n):
        """c of accuracy class A."""
        return min(n, 8 + math.sqrt(n))

    def selected(self, mask, bit):
        return math.fsum(product for product, one in zip(self.products, mask) if one == bit)


def route(layer, x, token):
    """(mask, p, dp) for each term of a token."""
    if "ids" in layer:
        return [(i, p, 0.0) for i, p in zip(layer["ids"][token], layer["p"][token])]
    if "router" not in layer:
        return [(i, 1.0, 0.0) for i in range(max(layer["n_m"], 1))]
    sums = [Sums(row, x) for row in layer["router"]]
    logits = [s.total for s in sums]
    error = max(s.error for s in sums)
    chosen = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: layer["top_k"]]
    if len(chosen) == 1:
        return [(chosen[0], 1.0, 0.0)]
    largest = logits[chosen[0]]
    powers = [Decimal(logits[i] - largest).exp() for i in chosen]
    terms = []
    for i, power in zip(chosen, powers):
        p = float(power / sum(powers))
        others = (sum(powers) - power) / power
        growth = Decimal(2 * error).exp()
        change = float(max(1 / (1 + others / growth) - 1 / (1 + others), 1 / (1 + others) - 1 / (1 + others * growth)))
        terms.append((i, p, change + p * (16 + 2 * (largest - logits[i])) * U + SMALLEST_NORMAL))
    return terms


def gate_and_value(layer, row, x, mask):
    """Two pairs: the sum with its bias, and delta."""
    first = Sums(layer["weight"][row], x)
    if layer["n_m"]:
        bits = layer["masks"][mask][row]
        parts = [(first.selected(bits, 1), first.error), (first.selected(bits, 0), first.error)]
    else:
        second = Sums(layer["value_weight"][row], x)
        parts = [(first.total, first.error), (second.total, second.error)]
    for side, name in enumerate(("gate_bias", "value_bias")):
        total = parts[side][0] + (layer[name][mask][row] if name in layer else 0)
        parts[side] = (total, parts[side][1] + U * abs(total))
    return parts


def projection(layer, row, x, terms):
    """z and E"""
    name, z, error, sizes = layer["activation"], 0.0, 0.0, 0.0
    for mask, p, p_error in terms:
        (gate, gate_error), (value, value_error) = gate_and_value(layer, row, x, mask)
        a, a_error = activate(name, gate), activation_error(name, gate, gate_error)
        z += p * (a * value)
        sizes += abs(p * (a * value))
        error += abs(p) * (
            abs(a) * value_error + abs(value) * a_error + a_error * value_error + 2 * U * abs(a * value)
        ) + p_error * abs(a * value) + SMALLEST_NORMAL
    return z, error + (len(terms) + 1) * U * sizes


def down_projection(layer, row, z):
    weights = layer["down"][row]
    y = math.fsum(w * value for w, (value, _) in zip(weights, z)) + layer["down_bias"][row]
    magnitude = math.fsum(abs(w) * (abs(value) + error) for w, (value, error) in zip(weights, z))
    flushed = SMALLEST_NORMAL * math.fsum(1 + abs(w) + abs(value) for w, (value, _) in zip(weights, z))
    carried = math.fsum(abs(w) * error for w, (_, error) in zip(weights, z))
    return y, carried + (2 * Sums.constant(len(z)) + 2) * U * magnitude + flushed + U * abs(y)


def forward(layer):
    """y and the tolerance, [batch][columns] in one list each."""
    unit, smallest = ROUNDING[layer["y_dtype"]]
    want, tolerance = [], []
    for token, x in enumerate(layer["x"]):
        terms = route(layer, x, token)
        outputs = [projection(layer, row, x, terms) for row in range(layer["d"])]
        if "down" in layer:
            outputs = [down_projection(layer, row, outputs) for row in range(layer["out"])]
        for column, (y, error) in enumerate(outputs):
            if "residual" in layer:
                y += layer["residual"][token][column]
                error += U * (abs(y) + error)
            want.append(y)
            tolerance.append(error + unit * (abs(y) + error) + smallest)
    return want, tolerance


def make_layer(seed, activation, dtypes, n_m, h=35, d=9, out=0, biases=False, routing=None, top_k=0, batch=3):
    numbers = Numbers(seed)
    layer = {"activation": activation, "n_m": n_m, "h": h, "d": d, "out": out, "top_k": top_k, "routing": routing}
    layer["dtype"], layer["x_dtype"], layer["y_dtype"] = dtypes
    layer["weight"] = numbers.matrix(d, h, 96, 2.0**-8)
    layer["x"] = numbers.matrix(batch, h, 127, 2.0**-6)
    if n_m:
        layer["logits"] = [numbers.matrix(d, h, 40, 2.0**-4) for _ in range(n_m)]
        layer["masks"] = [[[int(v > 0) for v in row] for row in mask] for mask in layer["logits"]]
    else:
        layer["value_weight"] = numbers.matrix(d, h, 96, 2.0**-8)
    if biases:
        layer["gate_bias"] = numbers.matrix(max(n_m, 1), d, 100, 2.0**-5)
        layer["value_bias"] = numbers.matrix(max(n_m, 1), d, 100, 2.0**-5)
    if routing == "router":
        layer["router"] = numbers.matrix(n_m, h, 60, 2.0**-8)
    if routing == "ids":
        layer["ids"] = [[numbers.next() % n_m for _ in range(top_k)] for _ in range(batch)]
        layer["ids"][0] = [layer["ids"][0][0]] * top_k
        layer["p"] = numbers.matrix(batch, top_k, 64, 2.0**-6)
    if out:
        layer["down"] = numbers.matrix(out, d, 96, 2.0**-7)
        layer["down_bias"] = numbers.matrix(1, out, 100, 2.0**-5)[0]
        layer["residual"] = numbers.matrix(batch, out, 100, 2.0**-4)
    for key in ("weight", "value_weight", "down"):
        if layer["dtype"] in QUANTISED and key in layer:
            layer[key + "_floats"], layer[key + "_quantised"] = layer[key], quantise(layer["dtype"], layer[key])
            layer[key] = meaning(*layer[key + "_quantised"])
    return layer


def mask_words(layer):
    """[d][ceil(h / 32)][n_m]: bit j of a word is column 32 g + j."""
    words = []
    for row in range(layer["d"]):
        for first in range(0, layer["h"], 32):
            for mask in layer["masks"]:
                bits = mask[row][first : first + 32]
                word = sum(bit << j for j, bit in enumerate(bits))
                words.append(word - (1 << 32) if word >> 31 else word)
    return words


def nearest(value):
    """The f32 nearest to a number."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def quantise_group(dtype, numbers):
    """The scale as it is stored and the quants of up to 32 numbers, as defined in docs/format.md."""
    largest = max(numbers, key=abs)
    scale = nearest(abs(largest) / 127 if dtype == "Q8_0" else largest / -8)
    reciprocal = nearest(1 / scale) if scale else 0.0
    scaled = [nearest(reciprocal * number) for number in numbers]
    if dtype == "Q8_0":
        quants = [int(math.copysign(math.floor(abs(number) + 0.5), number)) for number in scaled]
    else:
        quants = [min(15, math.floor(nearest(number + 8.5))) - 8 for number in scaled]
    return struct.unpack("<e", struct.pack("<e", scale))[0], quants


def quantise(dtype, matrix):
    """(scales, quants) of a matrix, both row by row."""
    groups = [[quantise_group(dtype, row[first : first + 32]) for first in range(0, len(row), 32)] for row in matrix]
    return [[scale for scale, _ in row] for row in groups], [sum((quants for _, quants in row), []) for row in groups]


def meaning(scales, quants):
    return [[of_row[i // 32] * quant for i, quant in enumerate(row)] for of_row, row in zip(scales, quants)]


def pairs(row):
    """The bytes of a row of q4_0, of whole groups: columns j and j + 16 in one byte."""
    return [row[i + j] + 8 + 16 * (row[i + j + 16] + 8) for i in range(0, len(row), 32) for j in range(16)]


def add_matrix(tensors, name, dtype, layer, key):
    """The tensors of a matrix of weights; of a quantised one also the floats that it was made from."""
    shape = [len(layer[key]), len(layer[key][0])]
    if dtype not in QUANTISED:
        tensors[name] = safetensors.tensor(dtype, shape, flat(layer[key]))
        return
    scales, quants = layer[key + "_quantised"]
    rows = quants if dtype == "Q8_0" else list(map(pairs, quants))
    tensors[name] = safetensors.tensor(QUANTISED[dtype], [shape[0], len(rows[0])], flat(rows))
    tensors[name + "_scale"] = safetensors.tensor("F16", [shape[0], len(scales[0])], flat(scales))
    tensors["golden." + key] = safetensors.tensor("F32", shape, flat(layer[key + "_floats"]))


def flat(matrix):
    return [value for row in matrix for value in row]


def encode(layer):
    """The bytes of a layer's file. Names: docs/format.md, and golden.* for everything that is not a parameter."""
    h, d, out, n_m, batch = layer["h"], layer["d"], layer["out"], layer["n_m"], len(layer["x"])
    dtype, make, tensors = layer["dtype"], safetensors.tensor, {}
    if n_m:
        add_matrix(tensors, "mlp.up_proj.weight", dtype, layer, "weight")
        tensors["mlp.up_proj.mask_bits"] = make("I32", [d, (h + 31) // 32, n_m], mask_words(layer))
        tensors["golden.mask_logits"] = make("F16", [n_m, d, h], flat(map(flat, layer["logits"])))
    else:
        add_matrix(tensors, "mlp.gate_proj.weight", dtype, layer, "weight")
        add_matrix(tensors, "mlp.up_proj.weight", dtype, layer, "value_weight")
    if "gate_bias" in layer:
        gate, value, shape = ("up_proj.gate_bias", "up_proj.value_bias", [n_m, d]) if n_m else (
            "gate_proj.bias", "up_proj.bias", [d])
        tensors["mlp." + gate] = make("F32", shape, flat(layer["gate_bias"]))
        tensors["mlp." + value] = make("F32", shape, flat(layer["value_bias"]))
    if "router" in layer:
        tensors["mlp.up_proj.router.weight"] = make(dtype, [n_m, h], flat(layer["router"]))
    if out:
        add_matrix(tensors, "mlp.down_proj.weight", dtype, layer, "down")
        tensors["mlp.down_proj.bias"] = make("F32", [out], layer["down_bias"])
        tensors["golden.residual"] = make(layer["y_dtype"], [batch, out], flat(layer["residual"]))
    if "ids" in layer:
        tensors["golden.routing_ids"] = make("I32", [batch, layer["top_k"]], flat(layer["ids"]))
        tensors["golden.routing_weights"] = make("F32", [batch, layer["top_k"]], flat(layer["p"]))
    want, tolerance = forward(layer)
    tensors["golden.x"] = make(layer["x_dtype"], [batch, h], flat(layer["x"]))
    tensors["golden.y"] = make("F64", [batch, out or d], want)
    tensors["golden.tolerance"] = make("F64", [batch, out or d], tolerance)
    return safetensors.encode(tensors, {
        "format": "pt",
        "mglu.version": "1",
        "mglu.activation": layer["activation"],
        "golden.top_k": str(layer["top_k"]),
        "golden.y_dtype": layer["y_dtype"],
        "golden.accuracy": "A",
    })


F32, F16, BF16 = ("F32",) * 3, ("F16",) * 3, ("BF16",) * 3
F16_TO_F32, BF16_TO_F32 = ("F16", "F16", "F32"), ("BF16", "BF16", "F32")

GOLDEN = {
    "masks-1-silu-f32": dict(activation="silu", dtypes=F32, n_m=1),
    "masks-1-identity-bf16": dict(activation="identity", dtypes=BF16_TO_F32, n_m=1, biases=True),
    "masks-4-gelu_erf-f16": dict(activation="gelu_erf", dtypes=F16, n_m=4),
    "masks-4-sigmoid-f32-biases": dict(activation="sigmoid", dtypes=F32, n_m=4, biases=True),
    "masks-4-silu-f16-ids": dict(activation="silu", dtypes=F16_TO_F32, n_m=4, routing="ids", top_k=2),
    "masks-4-silu-f16-router": dict(activation="silu", dtypes=F16, n_m=4, biases=True, routing="router", top_k=2),
    "masks-4-silu-f16-down": dict(activation="silu", dtypes=F16, n_m=4, d=17, out=11),
    "masks-16-gelu_tanh-bf16": dict(activation="gelu_tanh", dtypes=BF16, n_m=16, h=67),
    "masks-16-relu-bf16-block": dict(
        activation="relu", dtypes=BF16_TO_F32, n_m=16, biases=True, routing="router", top_k=3, out=7
    ),
    "plain-relu-f16": dict(activation="relu", dtypes=F16_TO_F32, n_m=0),
    "plain-silu-f32-block": dict(activation="silu", dtypes=F32, n_m=0, biases=True, d=33, out=13),
    "masks-4-silu-q8_0": dict(activation="silu", dtypes=("Q8_0", "F32", "F32"), n_m=4),
    "plain-gelu_erf-q4_0-block": dict(
        activation="gelu_erf", dtypes=("Q4_0", "F16", "F32"), n_m=0, h=64, d=32, out=7, batch=2
    ),
}


def main(arguments):
    check = arguments[:1] == ["--check"]
    if len(arguments) != 1 + check:
        sys.exit(__doc__)
    folder, stale = pathlib.Path(arguments[-1]), []
    for seed, (name, options) in enumerate(GOLDEN.items(), 1):
        path, content = folder / (name + ".safetensors"), encode(make_layer(seed, **options))
        if not check:
            path.write_bytes(content)
        elif not path.exists() or path.read_bytes() != content:
            stale.append(path.name)
    if stale:
        sys.exit("these differ from what this script writes: " + ", ".join(stale))


if __name__ == "__main__":
    main(sys.argv[1:])
