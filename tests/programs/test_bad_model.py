# SPDX-License-Identifier: MIT
"""For every error in config.json or the tensors of a model: one clear line, and the right status."""

import json
import shutil
import unittest

import safetensors
from harness import MODEL, ProgramTest
from safetensors import tensor

BLOCK = "model.layers.0.mlp"
NAN, INFINITE = float("nan"), float("inf")
DELETE = object()

# key: [(value, words of the error)]; each has the key itself in it
BROKEN_CONFIG = {
    "hidden_size": [(DELETE, ["missing"]), ("128", ["whole number"]), (0, ["0"]), (-1, ["-1"]), (1.5, ["whole"]),
                    (1 << 60, [str(1 << 60)]), ([128], ["whole number"]), (True, ["whole number"])],
    "intermediate_size": [(DELETE, ["missing"]), (None, ["missing"]), (0, ["0"])],
    "num_hidden_layers": [(DELETE, ["missing"]), (0, ["0"]), (1 << 40, [str(1 << 40)])],
    "num_attention_heads": [(DELETE, ["missing"]), (0, ["0"]), (3, ["divide", "128"]), (256, ["divide"])],
    "num_key_value_heads": [(3, ["divide"]), (0, ["0"]), ("4", ["whole number"])],
    "head_dim": [(31, ["odd"]), (0, ["0"]), (1 << 23, ["too large"])],
    "vocab_size": [(DELETE, ["missing"]), (1000, ["256", "1000"])],
    "max_position_embeddings": [(0, ["0"]), (1 << 30, [])],
    "rms_norm_eps": [("1e-5", ["number"]), (-1e-5, ["-1e-05"])],
    "rope_theta": [(0, ["0"]), ({}, ["number"])],
    "hidden_act": [("tanhh", ["tanhh", "gelu_pytorch_tanh"]), (3, ["text"])],
    "num_masks": [(17, ["17"]), (-1, ["-1"]), ("4", ["whole number"]), (3, ["3", "4"]), (0, ["0", "4"])],
    "num_masks_per_tok": [(0, ["0"]), (2, ["no router", "2"])],
    "tie_word_embeddings": [("yes", ["true"]), (1, ["true"])],
    "attention_bias": [("no", ["true"])],
    "tokenizer": [(DELETE, ["missing"]), ("llama", ["llama", "bytes"]), (7, ["text"])],
    "rope_scaling": [({"factor": 2}, ["rope_type", "missing"])],
}

NEEDED_TENSORS = [
    "model.embed_tokens.weight",
    "model.norm.weight",
    "model.layers.3.input_layernorm.weight",
    "model.layers.2.post_attention_layernorm.weight",
    "model.layers.1.self_attn.q_proj.weight",
    "model.layers.1.self_attn.k_proj.weight",
    "model.layers.1.self_attn.v_proj.weight",
    "model.layers.1.self_attn.o_proj.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.mlp.down_proj.weight",
]


class BadModelTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.config = json.loads((MODEL / "config.json").read_text())
        self.tensors, _ = safetensors.read(MODEL / "model.safetensors")
        shutil.copy(MODEL / "config.json", self.folder)
        shutil.copy(MODEL / "model.safetensors", self.folder)

    def refuse_model(self, words):
        self.refuse(1, words, "perplexity", self.folder, "--text", MODEL / "eval.txt", "--window", "1")

    def test_config_keys(self):
        for key, cases in BROKEN_CONFIG.items():
            for value, words in cases:
                changed = {name: item for name, item in self.config.items() if name != key}
                if value is not DELETE:
                    changed[key] = value
                (self.folder / "config.json").write_text(json.dumps(changed))
                with self.subTest("%s: %s" % (key, "missing" if value is DELETE else value)):
                    self.refuse_model([key, *words])

    def test_config_texts(self):
        for text in ("", "{", "[]", "3", '{"hidden_size":1,"hidden_size":1}', "\0", '{"a":"\x1b[2J\n"}', "[" * 5000,
                     " " * (1 << 21), '{"rope_theta": 1e999}'):
            (self.folder / "config.json").write_text(text)
            with self.subTest(text[:20]):
                self.refuse_model(["config.json"])

    def test_config_against_the_file(self):
        cases = {
            "hidden_size": (64, ["model.embed_tokens.weight", "[256, 128]", "[256, 64]"]),
            "intermediate_size": (256, [BLOCK, "512", "256"]),
            "num_hidden_layers": (5, ["model.layers.4.", "missing"]),
            "num_key_value_heads": (2, ["k_proj.weight", "[128, 128]", "[64, 128]"]),
            "head_dim": (16, ["q_proj.weight", "[128, 128]", "[64, 128]"]),
            "tie_word_embeddings": (False, ["lm_head.weight", "missing"]),
            "attention_bias": (True, ["q_proj.bias", "missing"]),
        }
        for key, (value, words) in cases.items():
            (self.folder / "config.json").write_text(json.dumps({**self.config, key: value}))
            with self.subTest(key):
                self.refuse_model(["model.safetensors", *words])

    def test_missing_tensors(self):
        for name in NEEDED_TENSORS:
            rest = {other: item for other, item in self.tensors.items() if other != name}
            safetensors.write(self.folder / "model.safetensors", rest)
            with self.subTest(name):
                self.refuse_model(["model.safetensors", name.split(".mlp.")[0]])

    def test_missing_masks(self):
        del self.tensors[BLOCK + ".up_proj.mask"]
        safetensors.write(self.folder / "model.safetensors", self.tensors)
        self.refuse_model(["model.safetensors", "no layer '%s'" % BLOCK])

    def test_replaced_tensors(self):
        cases = [
            ("model.norm.weight", tensor("F32", [1, 128], [1.0] * 128), ["[1, 128]", "[128]"]),
            ("model.norm.weight", tensor("I32", [128], [1] * 128), ["I32"]),
            ("model.norm.weight", tensor("F32", [128], [1.0] * 127 + [NAN]), ["127", "finite"]),
            ("model.layers.0.self_attn.q_proj.bias", tensor("F32", [64], [0.0] * 64), ["--ignore-unread"]),
            (BLOCK + ".down_proj.weight", tensor("F16", [128, 512], [INFINITE] + [0.0] * 65535), []),
            (BLOCK + ".down_proj.weight", tensor("F16", [64, 512], [0.0] * 32768), []),
        ]
        for name, item, words in cases:
            safetensors.write(self.folder / "model.safetensors", {**self.tensors, name: item})
            with self.subTest(name):
                self.refuse_model([name.removesuffix(".down_proj.weight"), *words])

    def test_activations_that_disagree(self):
        self.succeed("pack", MODEL / "model.safetensors", self.folder / "model.safetensors", "--activation", "relu")
        self.refuse_model(["model.safetensors", "relu", "hidden_act", "silu"])

    def test_missing_weights_file(self):
        (self.folder / "model.safetensors").unlink()
        self.refuse_model(["has neither model.safetensors nor model.safetensors.index.json"])

    def test_lengths(self):
        text = MODEL / "eval.txt"
        self.refuse(1, ["257", "256"], "perplexity", MODEL, "--text", text, "--window", "257")
        self.refuse(1, ["257", "256"], "generate", MODEL, "--prompt", "You", "-n", "254")
        self.refuse(1, ["300", "256"], "generate", MODEL, "--prompt", "a" * 300, "-n", "0")
        self.refuse(1, ["empty"], "generate", MODEL, "--prompt", "", "-n", "5")
        self.succeed("generate", MODEL, "--prompt", "You", "-n", "253")


if __name__ == "__main__":
    unittest.main(verbosity=2)
