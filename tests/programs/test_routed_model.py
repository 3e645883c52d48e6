# SPDX-License-Identifier: MIT
"""A model whose feed-forward layers have routers: config.json says how many masks they select."""

import json
import math
import random
import unittest

import llama
from harness import ProgramTest
from layers import silu, times
from safetensors import tensor, write

TEXT = bytes((7 * i * i + 3 * i) % 256 for i in range(25))
MASKS, SELECTED = 3, 2
H, D = llama.SIZES["hidden_size"], llama.SIZES["intermediate_size"]
CONFIG = {**llama.SIZES, "architectures": ["LlamaForCausalLM"], "num_masks": MASKS}


def make_routed():
    """Weights as llama.make_weights() has them, and the masks of each layer."""
    source, weights, masks = random.Random(2), llama.make_weights(), {}
    for layer in range(llama.SIZES["num_hidden_layers"]):
        prefix = "model.layers.%d.mlp.up_proj." % layer
        del weights[prefix.replace("up_proj", "gate_proj") + "weight"]
        weights[prefix + "router.weight"] = llama.matrix(source, MASKS, H, 1)
        masks[prefix + "mask"] = [[[source.randint(0, 1) for _ in range(H)] for _ in range(D)] for _ in range(MASKS)]
    return weights, masks


def selection(logits, count):
    """{mask: share} of the largest logits."""
    chosen = sorted(range(len(logits)), key=lambda i: -logits[i])[:count]
    shares = {i: math.exp(logits[i] - logits[chosen[0]]) for i in chosen}
    return {i: share / math.fsum(shares.values()) for i, share in shares.items()}


def routed(masks, count):
    """The forward of a layer, as llama.feed_forward()."""

    def forward(weights, prefix, x):
        matrix, sums = weights[prefix + "up_proj.weight"], [0.0] * D
        logits = times(weights[prefix + "up_proj.router.weight"], x)
        for i, share in selection(logits, count).items():
            mask = masks[prefix + "up_proj.mask"][i]
            gates = times([[w * m for w, m in zip(*rows)] for rows in zip(matrix, mask)], x)
            sums = [s + share * silu(g) * (t - g) for s, g, t in zip(sums, gates, times(matrix, x))]
        return times(weights[prefix + "down_proj.weight"], sums)

    return forward


class RoutedModelTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model, self.text = self.folder / "model", self.folder / "text"
        self.text.write_bytes(TEXT)
        self.weights, self.masks = make_routed()

    def write(self, changes):
        named = llama.tensors(self.weights)
        for name, masks in self.masks.items():
            named[name] = tensor("U8", [MASKS, D, H], [bit for mask in masks for row in mask for bit in row])
        self.model.mkdir(exist_ok=True)
        (self.model / "config.json").write_text(json.dumps({**CONFIG, **changes}))
        write(self.model / "model.safetensors", named)

    def command(self, model, backend="ref"):
        return ("perplexity", model, "--text", self.text, "--backend", backend, "--json")

    def test_as_many_masks_are_selected_as_config_json_says(self):
        figures = []
        for count in range(1, MASKS + 1):
            want = llama.negative_log_likelihood(self.weights, TEXT, block=routed(self.masks, count))
            self.write({"num_masks_per_tok": count})
            packed = self.folder / ("packed-%d" % count)
            self.succeed("pack", self.model, packed)
            for model in (self.model, packed):
                for backend in ("ref", "cpu"):
                    with self.subTest("%d of %s on %s" % (count, model.name, backend)):
                        said = json.loads(self.succeed(*self.command(model, backend)))["nll_nats_per_byte"]
                        self.assertAlmostEqual(said, want, delta=2e-6)
            figures.append(want)
        ordered = sorted(figures)
        self.assertGreater(min(b - a for a, b in zip(ordered, ordered[1:])), 1e-4)

    def test_what_is_refused(self):
        for value, words in ((None, ["router", "num_masks_per_tok", "missing"]), (MASKS + 1, ["3 masks", "4"])):
            with self.subTest(value):
                self.write({"num_masks_per_tok": value})
                self.refuse(1, ["model.layers.0.mlp", *words], *self.command(self.model))


if __name__ == "__main__":
    unittest.main()
