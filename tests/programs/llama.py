# SPDX-License-Identifier: MIT
"""A small Llama-style model with random weights, and its forward in float64 by nothing but the standard library.

The formulas are those of the transformers package: Llama, Mistral (sliding window), Qwen2 (biases of queries, keys and
values; a window from some layer on).
"""

import json
import math
import random
import struct

from safetensors import tensor, write

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
    "rope_theta": 100.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "tokenizer": "bytes",
}
HEAD = 4


def matrix(generator, rows, columns, scale):
    """Rows of numbers that f32 holds exactly."""
    def number():
        return struct.unpack("<f", struct.pack("<f", generator.gauss(0, scale)))[0]

    return [[number() for _ in range(columns)] for _ in range(rows)]


def make_weights(biases=(), seed=1):
    """Named matrices; vectors have one row. Queries and keys are large, so that positions matter."""
    generator = random.Random(seed)
    h, d = SIZES["hidden_size"], SIZES["intermediate_size"]
    narrow = HEAD * SIZES["num_key_value_heads"]
    weights = {"model.embed_tokens.weight": matrix(generator, 256, h, 1), "model.norm.weight": matrix(generator, 1, h, 1)}
    shapes = {
        "self_attn.q_proj": (h, h, 0.6),
        "self_attn.k_proj": (narrow, h, 0.6),
        "self_attn.v_proj": (narrow, h, 0.3),
        "self_attn.o_proj": (h, h, 0.3),
        "mlp.gate_proj": (d, h, 0.3),
        "mlp.up_proj": (d, h, 0.3),
        "mlp.down_proj": (h, d, 0.3),
    }
    for layer in range(SIZES["num_hidden_layers"]):
        prefix = "model.layers.%d." % layer
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[prefix + name + ".weight"] = matrix(generator, 1, h, 1)
        for name, (rows, columns, scale) in shapes.items():
            weights[prefix + name + ".weight"] = matrix(generator, rows, columns, scale)
            if name.rsplit(".", 1)[-1] in biases:
                weights[prefix + name + ".bias"] = matrix(generator, 1, rows, 0.5)
    return weights


def tensors(weights):
    """The weights as tensors of a file."""
    named = {}
    for name, rows in weights.items():
        is_vector = name.endswith("bias") or "norm" in name
        shape = [len(rows[0])] if is_vector else [len(rows), len(rows[0])]
        named[name] = tensor("F32", shape, [number for row in rows for number in row])
    return named


def write_model(folder, config, weights):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / "model.safetensors", tensors(weights))


def multiply(rows, x, bias=None):
    sums = [math.fsum(w * value for w, value in zip(row, x)) for row in rows]
    return [total + b for total, b in zip(sums, bias[0])] if bias else sums


def norm(x, weight, epsilon):
    scale = 1 / math.sqrt(math.fsum(value * value for value in x) / len(x) + epsilon)
    return [value * scale * w for value, w in zip(x, weight[0])]


def frequencies(theta, scaling):
    """Radians per position of each pair of a head."""
    plain = [theta ** (-2 * i / HEAD) for i in range(HEAD // 2)]
    kind = scaling.get("rope_type", "default")
    if kind == "linear":
        return [value / scaling["factor"] for value in plain]
    if kind == "llama3":
        return [llama3(value, scaling) for value in plain]
    return plain


def llama3(frequency, scaling):
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    wavelength = 2 * math.pi / frequency
    if wavelength > original / low:
        return frequency / scaling["factor"]
    if wavelength < original / high:
        return frequency
    smooth = (original / wavelength - low) / (high - low)
    return (1 - smooth) * frequency / scaling["factor"] + smooth * frequency


def rotate(heads, position, turns):
    result = []
    for first in range(0, len(heads), HEAD):
        head, half = heads[first : first + HEAD], HEAD // 2
        angles = [position * turn for turn in turns]
        result += [head[i] * math.cos(a) - head[i + half] * math.sin(a) for i, a in enumerate(angles)]
        result += [head[i + half] * math.cos(a) + head[i] * math.sin(a) for i, a in enumerate(angles)]
    return result


def attend(query, keys, values):
    scores = [math.fsum(q * k for q, k in zip(query, key)) / math.sqrt(HEAD) for key in keys]
    shares = [math.exp(score - max(scores)) for score in scores]
    total = math.fsum(shares)
    return [math.fsum(share * value[i] for share, value in zip(shares, values)) / total for i in range(HEAD)]


def attention(weights, prefix, inputs, turns, window):
    """The rows that attention adds; `window` 0: a row attends to all before it."""
    def project(name, x):
        return multiply(weights[prefix + name + ".weight"], x, weights.get(prefix + name + ".bias"))

    group = SIZES["num_attention_heads"] // SIZES["num_key_value_heads"] * HEAD
    keys = [rotate(project("k_proj", x), at, turns) for at, x in enumerate(inputs)]
    values = [project("v_proj", x) for x in inputs]
    results = []
    for at, x in enumerate(inputs):
        query, result = rotate(project("q_proj", x), at, turns), []
        seen = range(max(0, at + 1 - window) if window else 0, at + 1)
        for first in range(0, len(query), HEAD):
            part = slice(first // group * HEAD, first // group * HEAD + HEAD)
            result += attend(query[first : first + HEAD], [keys[i][part] for i in seen], [values[i][part] for i in seen])
        results.append(project("o_proj", result))
    return results


def feed_forward(weights, prefix, x):
    def project(name, x):
        return multiply(weights[prefix + name + ".weight"], x, weights.get(prefix + name + ".bias"))

    gate, value = project("gate_proj", x), project("up_proj", x)
    return project("down_proj", [g / (1 + math.exp(-g)) * v for g, v in zip(gate, value)])


def negative_log_likelihood(weights, text, theta=SIZES["rope_theta"], scaling=None, windows=(0, 0),
                            epsilon=SIZES["rms_norm_eps"], block=feed_forward):
    """Nats per byte of a text's bytes but the first; `windows` of the layers; `block` in place of feed_forward()."""
    turns = frequencies(theta, scaling or {})
    hidden = [weights["model.embed_tokens.weight"][byte] for byte in text[:-1]]
    for layer in range(SIZES["num_hidden_layers"]):
        prefix = "model.layers.%d." % layer
        normed = [norm(x, weights[prefix + "input_layernorm.weight"], epsilon) for x in hidden]
        added = attention(weights, prefix + "self_attn.", normed, turns, windows[layer])
        hidden = [[a + b for a, b in zip(*rows)] for rows in zip(hidden, added)]
        normed = [norm(x, weights[prefix + "post_attention_layernorm.weight"], epsilon) for x in hidden]
        added = [block(weights, prefix + "mlp.", x) for x in normed]
        hidden = [[a + b for a, b in zip(*rows)] for rows in zip(hidden, added)]
    total = 0
    for x, byte in zip(hidden, text[1:]):
        logits = multiply(weights["model.embed_tokens.weight"], norm(x, weights["model.norm.weight"], epsilon))
        most = max(logits)
        total += math.log(math.fsum(math.exp(logit - most) for logit in logits)) + most - logits[byte]
    return total / (len(text) - 1)
