# SPDX-License-Identifier: MIT
"""A model gives the same perplexity in every layout of its feed-forward layers, packed or not."""

import json
import unittest

import llama
import safetensors
from harness import MODEL, ProgramTest
from layers import FUSED, ORDERS, PAIRS

TEXT = (MODEL / "eval.txt").read_bytes()[:25]
CONFIG = {**llama.SIZES, "architectures": ["LlamaForCausalLM"]}
BIASES = ("gate_proj", "up_proj", "down_proj")


def renamed(tensors, names):
    """The tensors with other names for the matrices of each block `mlp`; `names` is {old: new}."""
    result = {}
    for name, item in tensors.items():
        before, block, matrix = name.partition(".mlp.")
        matrix, dot, rest = matrix.partition(".")
        result[before + block + names.get(matrix, matrix) + dot + rest] = item
    return result


def fused(weights, names, join):
    """The same model with the rows of gate and value in one matrix, and their biases in one vector."""
    result = {}
    for name, rows in weights.items():
        other, matrix = name.replace("gate_proj", "up_proj"), name.rsplit(".", 2)[-2]
        if matrix == "gate_proj" and name.endswith("weight"):
            result[name.replace(matrix, names[0])] = join(rows, weights[other])
        elif matrix == "gate_proj":
            result[name.replace(matrix, names[0])] = [join(rows[0], weights[other][0])]
        elif matrix != "up_proj":
            result[name.replace("down_proj", names[1])] = rows
    return result


class ModelLayoutTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model, self.packed, self.text = self.folder / "model", self.folder / "packed", self.folder / "text"
        self.text.write_bytes(TEXT)

    def command(self, model, *options):
        return ("perplexity", model, "--text", self.text, "--backend", "ref", "--json", *options)

    def perplexity(self, model, *options):
        return json.loads(self.succeed(*self.command(model, *options)))["nll_nats_per_byte"]

    def write(self, tensors, config):
        self.model.mkdir(exist_ok=True)
        (self.model / "config.json").write_text(json.dumps(config))
        safetensors.write(self.model / "model.safetensors", tensors, {"format": "pt"})

    def check(self, want, *options, pack=()):
        """The options are needed by the unpacked model alone: the packed one says how its rows are ordered."""
        self.assertEqual(self.perplexity(self.model, *options), want)
        self.succeed("pack", self.model, self.packed, *pack, *options)
        self.assertEqual(self.perplexity(self.packed), want)


class MaskedTest(ModelLayoutTest):
    def test_masks_on_either_matrix_of_every_layout(self):
        tensors, _ = safetensors.read(MODEL / "model.safetensors")
        config = json.loads((MODEL / "config.json").read_text())
        want = self.perplexity(MODEL)
        pairs = [(name, names[2]) for names in PAIRS.values() for name in names[:2]]
        for name, down in pairs + list(FUSED.values()):
            with self.subTest(name):
                self.write(renamed(tensors, {"up_proj": name, "down_proj": down}), config)
                self.check(want)


class PlainTest(ModelLayoutTest):
    def setUp(self):
        super().setUp()
        self.weights = llama.make_weights(BIASES)
        self.write(llama.tensors(self.weights), CONFIG)
        self.want = self.perplexity(self.model)
        self.assertAlmostEqual(self.want, llama.negative_log_likelihood(self.weights, TEXT), delta=2e-6)

    def test_two_matrices(self):
        for layout, names in PAIRS.items():
            with self.subTest(layout):
                self.write(renamed(llama.tensors(self.weights), dict(zip(BIASES, names))), CONFIG)
                self.check(self.want, pack=("--dtype", "f32"))

    def test_one_matrix_in_either_order(self):
        for layout, names in FUSED.items():
            for order, join in ORDERS.items():
                with self.subTest(layout + " " + order):
                    self.write(llama.tensors(fused(self.weights, names, join)), CONFIG)
                    self.check(self.want, "--fused", order, pack=("--dtype", "f32"))
                    other = next(name for name in ORDERS if name != order)
                    self.assertNotAlmostEqual(self.perplexity(self.model, "--fused", other), self.want, delta=1e-3)

    def test_the_order_is_never_guessed(self):
        for names in FUSED.values():
            with self.subTest(names[0]):
                self.write(llama.tensors(fused(self.weights, names, ORDERS["halves"])), CONFIG)
                self.refuse(1, ["model.layers.0.mlp.%s.weight" % names[0], "--fused"], *self.command(self.model))

    def test_blocks_under_other_names_are_refused(self):
        for block in ("feed_forward", "block_sparse_moe.experts.0", "ffn"):
            with self.subTest(block):
                names = {name.replace(".mlp.", ".%s." % block): rows for name, rows in self.weights.items()}
                self.write(llama.tensors(names), CONFIG)
                self.refuse(1, ["model.layers.0.mlp", "model.layers.0." + block], *self.command(self.model))


if __name__ == "__main__":
    unittest.main()
