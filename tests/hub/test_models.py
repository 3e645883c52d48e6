# SPDX-License-Identifier: MIT
"""Models that the transformers package makes and saves, with random weights; its modules in float64 are the truth."""

import json
import pathlib
import sys
import unittest

try:
    import torch
    import transformers
    from safetensors.torch import save_file
except ImportError:
    print("skipped: the Python packages torch and transformers were not found; tools/setup hub installs them")
    sys.exit(77)

# Last in the path: it has a safetensors.py of its own.
sys.path.append(str(pathlib.Path(__file__).parent.parent / "programs"))
from harness import ProgramTest  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

TOKENS, H, D = 3, 64, 96
SIZES = {"vocab_size": 256, "hidden_size": H, "intermediate_size": D, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0}
EXPERTS = {"num_local_experts": 3, "num_experts_per_tok": 2}
MOE = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": D, "shared_expert_intermediate_size": 32}
T5 = {"vocab_size": 256, "d_model": H, "d_ff": D, "num_layers": 1, "num_heads": 4, "d_kv": 16}

# Class of the model; what its configuration has besides SIZES; layers, by their names in the file; options of mglu run.
LAYERS = {
    "Llama": (SIZES, ["model.layers.1.mlp"], ()),
    "Llama with biases": ({**SIZES, "mlp_bias": True}, ["model.layers.1.mlp"], ()),
    "Mistral": (SIZES, ["model.layers.1.mlp"], ()),
    "Qwen2": (SIZES, ["model.layers.1.mlp"], ()),
    "Gemma": ({**SIZES, "head_dim": 16}, ["model.layers.1.mlp"], ()),
    "Gemma2": ({**SIZES, "head_dim": 16}, ["model.layers.1.mlp"], ()),
    "Phi3": (SIZES, ["model.layers.1.mlp"], ()),
    "Glm": ({**SIZES, "head_dim": 16}, ["model.layers.1.mlp"], ()),
    "Mixtral": ({**SIZES, **EXPERTS}, ["model.layers.1.block_sparse_moe.experts.%d" % i for i in range(3)], ()),
    "Qwen2Moe": ({**SIZES, **MOE}, ["model.layers.1.mlp.experts.2", "model.layers.1.mlp.shared_expert"], ()),
    "Olmoe": ({**SIZES, **MOE}, ["model.layers.1.mlp.experts.2"], ()),
    "T5": ({**T5, "feed_forward_proj": "gated-gelu"}, ["encoder.block.0.layer.1.DenseReluDense"],
           ("--activation", "gelu_tanh")),
}
# Models whose experts are stacks, input_linear and output_linear: their block. JetMoe's has a bias for what comes out
# of the block, which nothing reads, and a key for the activation that only it has.
STACKS = {
    "GraniteMoe": ({**SIZES, **EXPERTS}, "model.layers.1.block_sparse_moe", ()),
    "JetMoe": ({**SIZES, **EXPERTS, "kv_channels": 16}, "model.layers.1.mlp",
               ("--ignore-unread", "--activation", "silu")),
}

ROPE = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
# Class of the model, and what its configuration has besides SIZES.
DECODERS = [
    ("Llama", {}),
    ("Llama", {"tie_word_embeddings": True, "head_dim": 32, "rope_theta": 50.0}),
    ("Llama", {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu_pytorch_tanh"}),
    ("Llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    ("Llama", {"rope_scaling": {"rope_type": "llama3", **ROPE}}),
    ("Mistral", {"sliding_window": 5}),
    ("Mistral", {"sliding_window": None, "rope_theta": 20.0}),
    ("Qwen2", {}),
    ("Qwen2", {"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 0}),
]
# Models whose number of heads is the default, and the keys that have none.
DEFAULTS = [
    ("Llama", {"num_key_value_heads": 4}),
    ("Mistral", {"num_attention_heads": 8, "num_key_value_heads": 8}),
    ("Qwen2", {"num_attention_heads": 32, "num_key_value_heads": 32}),
]
REQUIRED = ("architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads", "vocab_size")
TEXT = bytes((7 * i * i + 3 * i) % 256 for i in range(60))


def make(kind, changes):
    """A model with weights large enough to tell operations apart: transformers' own start near 0."""
    torch.manual_seed(1)
    config = getattr(transformers, kind + "Config")(**changes, attn_implementation="eager")
    suffix = "ForConditionalGeneration" if kind == "T5" else "ForCausalLM"
    model = getattr(transformers, kind + suffix)(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = weight.shape[-1] ** -0.5 if weight.dim() > 1 and "embed" not in name else 0.5
            weight.normal_(0, scale)
    return model


class HubTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model, self.io = self.folder / "model", self.folder / "io.safetensors"
        self.text = self.folder / "text"
        self.text.write_bytes(TEXT)
        torch.manual_seed(2)
        self.x = torch.randn(TOKENS, H)

    def save(self, kind, changes, dtype=torch.float32):
        """Saves a model; returns it with the saved weights in float64."""
        model = make(kind, changes).to(dtype)
        model.save_pretrained(self.model)
        return model.double()

    def check(self, prefix, y, *options, file=None):
        """A layer of the saved model computes y, within the error bound of every element."""
        save_file({"x": self.x, "y": y.detach().contiguous()}, self.io)
        for backend in ("ref", "cpu"):
            self.succeed("run", file or self.model / "model.safetensors", "--layer", prefix, "--x", "%s:x" % self.io,
                         "--check", "%s:y" % self.io, "--backend", backend, *options)

    def test_layers(self):
        for name, (changes, prefixes, options) in LAYERS.items():
            for dtype in (torch.float32, torch.bfloat16):
                model = self.save(name.split()[0], changes, dtype)
                for prefix in prefixes:
                    with self.subTest("%s %s %s" % (name, dtype, prefix)):
                        self.check(prefix, model.get_submodule(prefix)(self.x.double()), *options)

    def test_stacks_of_experts(self):
        """The block mixes its experts; an expert alone is the module's formula, with its activation."""
        for name, (changes, prefix, options) in STACKS.items():
            block = self.save(name, changes).get_submodule(prefix)
            for i in range(changes["num_local_experts"]):
                gate, value = (block.input_linear.weight[i] @ self.x.double().T).chunk(2)
                y = (block.output_linear.weight[i] @ (block.activation(gate) * value)).T
                with self.subTest("%s %d" % (name, i)):
                    self.check("%s.%d" % (prefix, i), y, *options)

    def likelihood(self, model):
        """Nats per byte. transformers computes norms and softmax in float32 even in a model of float64."""
        text = torch.tensor(list(TEXT))
        with torch.no_grad():
            logits = model(text[None]).logits[0].double()
        return torch.nn.functional.cross_entropy(logits[:-1], text[1:]).item()

    def command(self, folder):
        return ("perplexity", folder, "--text", self.text, "--backend", "ref", "--json")

    def perplexity(self, folder):
        return json.loads(self.succeed(*self.command(folder)))["nll_nats_per_byte"]

    def test_whole_models(self):
        """All keys that transformers writes are known: no option is needed to read its config.json."""
        figures = []
        for kind, changes in DECODERS:
            with self.subTest("%s %s" % (kind, changes)):
                want = self.likelihood(self.save(kind, {**SIZES, **changes}))
                self.add_tokenizer()
                self.assertAlmostEqual(self.perplexity(self.model), want, delta=1e-6)
                self.succeed("pack", self.model, self.folder / "packed", "--dtype", "f32")
                self.assertAlmostEqual(self.perplexity(self.folder / "packed"), want, delta=1e-6)
                figures.append(want)
        ordered = sorted(figures)
        self.assertGreater(min(b - a for a, b in zip(ordered, ordered[1:])), 1e-4, "two cases that do not differ")

    def test_shards(self):
        """A folder that transformers saves in shards, and what is packed from it, in shards and as one file."""
        model = self.save("Llama", SIZES)
        want = self.likelihood(model)
        y = model.get_submodule("model.layers.1.mlp")(self.x.double())
        for path in self.model.iterdir():
            path.unlink()
        model.float().save_pretrained(self.model, max_shard_size="100KB")
        self.assertGreater(len(list(self.model.glob("model-*-of-*.safetensors"))), 2)
        self.add_tokenizer()
        folders = {"as saved": self.model, "the same shards": self.folder / "same", "one file": self.folder / "one",
                   "other shards": self.folder / "other"}
        self.succeed("pack", self.model, folders["the same shards"], "--dtype", "f32")
        self.succeed("pack", self.model, folders["one file"], "--dtype", "f32", "--shard-size", "1GB")
        self.succeed("pack", self.model, folders["other shards"], "--dtype", "f32", "--shard-size", "60KB")
        names = [sorted(path.name for path in folder.glob("model*")) for folder in folders.values()]
        self.assertEqual(names[0], names[1])
        self.assertEqual(names[2], ["model.safetensors"])
        self.assertGreater(len(names[3]), len(names[0]))
        for name, folder in folders.items():
            with self.subTest(name):
                self.assertAlmostEqual(self.perplexity(folder), want, delta=1e-6)
                self.check("model.layers.1.mlp", y, file=folder)
                read = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
                self.assertAlmostEqual(self.likelihood(read.double()), want, delta=1e-6)

    def add_tokenizer(self, keys=None):
        """Adds the one key of config.json that is mglu's own; of the others, leaves all or these."""
        path = self.model / "config.json"
        left = {key: value for key, value in json.loads(path.read_text()).items() if not keys or key in keys}
        path.write_text(json.dumps({**left, "tokenizer": "bytes"}))

    def test_missing_keys_have_the_defaults_of_transformers(self):
        for kind, changes in DEFAULTS:
            with self.subTest(kind):
                self.save(kind, {**SIZES, **changes})
                self.add_tokenizer(REQUIRED)
                model = transformers.AutoModelForCausalLM.from_pretrained(self.model, attn_implementation="eager")
                self.assertAlmostEqual(self.perplexity(self.model), self.likelihood(model.double()), delta=1e-6)

    def test_other_architectures_are_refused(self):
        for kind in ("Gemma", "Phi3", "Mixtral"):
            with self.subTest(kind):
                self.save(kind, LAYERS[kind][0])
                self.add_tokenizer()
                self.refuse(1, ["architectures", kind + "ForCausalLM"], *self.command(self.model))


if __name__ == "__main__":
    unittest.main()
