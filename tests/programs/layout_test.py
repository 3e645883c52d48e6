# SPDX-License-Identifier: MIT
"""A file with layers, and what they compute."""

import json

import safetensors
from harness import ProgramTest
from layers import H, TOKENS, flat, matrix, silu, stored
from safetensors import tensor


class LayoutTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model, self.io = self.folder / "model.safetensors", self.folder / "io.safetensors"
        self.rows = matrix(TOKENS, H, "x")

    def write(self, tensors, metadata=None, config=None):
        safetensors.write(self.model, tensors, metadata)
        if config:
            (self.folder / "config.json").write_text(json.dumps(config))

    def check(self, prefix, layer, *options, file=None, act=silu, named=("--activation", "silu"), backend="ref"):
        """The layer of this prefix computes what `layer` does, within the error bound of every element."""
        want = [layer.forward(row, act) for row in self.rows]
        safetensors.write(self.io, {"x": stored("F32", self.rows), "y": tensor("F64", [TOKENS, H], flat(want))})
        command = ["run", file or self.model, "--layer", prefix, "--x", "%s:x" % self.io, "--check", "%s:y" % self.io]
        self.succeed(*command, "--backend", backend, *named, *options)

    def refuse_run(self, prefix, words, *options):
        safetensors.write(self.io, {"x": stored("F32", self.rows)})
        command = ["run", self.model, "--layer", prefix, "--x", "%s:x" % self.io, "--activation", "silu", *options]
        self.refuse(1, words, *command)

    def listed(self, *options):
        layers = json.loads(self.succeed("inspect", self.model, "--json", *options))["layers"]
        return [layer["prefix"] for layer in layers]
