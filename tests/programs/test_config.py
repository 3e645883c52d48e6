# SPDX-License-Identifier: MIT
"""What a model's folder says is computed, or refused by name. The right values come from float64."""

import json
import unittest

import llama
from harness import MODEL, ProgramTest

TEXT = bytes((7 * i * i + 3 * i) % 256 for i in range(25))
SCALING = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
LLAMA, MISTRAL, QWEN2 = ({"architectures": [name + "ForCausalLM"]} for name in ("Llama", "Mistral", "Qwen2"))
QKV, QKVO = ("q_proj", "k_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def scaled(kind, key="rope_type"):
    return {key: kind, **SCALING}


# Keys of config.json; the layers' biases; what the float64 forward is to compute.
COMPUTED = [
    (LLAMA, (), {}),
    ({"model_type": "llama"}, (), {}),
    ({**LLAMA, "rope_theta": 10.0}, (), {"theta": 10.0}),
    ({**LLAMA, "rope_theta": None, "rope_parameters": {"rope_theta": 10.0, "rope_type": "default"}}, (), {"theta": 10.0}),
    ({**LLAMA, "rope_theta": None}, (), {"theta": 10000.0}),
    ({**LLAMA, "rope_scaling": None, "sliding_window": None}, (), {}),
    ({**LLAMA, "rope_scaling": scaled("linear")}, (), {"scaling": scaled("linear")}),
    ({**LLAMA, "rope_scaling": scaled("linear", "type")}, (), {"scaling": scaled("linear")}),
    ({**LLAMA, "rope_parameters": scaled("llama3")}, (), {"scaling": scaled("llama3")}),
    ({**LLAMA, "rope_scaling": {**scaled("llama3"), "partial_rotary_factor": 1.0}}, (), {"scaling": scaled("llama3")}),
    ({**LLAMA, "hidden_act": "swish"}, (), {}),
    ({**LLAMA, "hidden_act": None, "max_position_embeddings": None, "tie_word_embeddings": True}, (), {}),
    ({**LLAMA, "hidden_act": "gelu", "hidden_activation": "silu"}, (), {}),
    ({**LLAMA, "rms_norm_eps": None}, (), {"epsilon": 1e-6}),
    ({**LLAMA, "attention_bias": True}, QKVO, {}),
    ({**LLAMA, "mlp_bias": True}, MLP, {}),
    ({**MISTRAL, "sliding_window": 5}, (), {"windows": (5, 5)}),
    ({**MISTRAL, "sliding_window": None}, (), {}),
    (MISTRAL, (), {}),
    ({**MISTRAL, "layer_types": ["sliding_attention"] * 2}, (), {}),  # the default is a window, of 4096
    (QWEN2, QKV, {}),
    ({**QWEN2, "sliding_window": 5, "use_sliding_window": False}, QKV, {}),
    ({**QWEN2, "sliding_window": 5, "use_sliding_window": True, "max_window_layers": 1,
      "layer_types": ["full_attention", "sliding_attention"]}, QKV, {"windows": (0, 5)}),
    ({**LLAMA, "torch_dtype": "float16", "use_cache": True, "pruned_heads": {}, "is_encoder_decoder": False,
      "final_logit_softcapping": None, "never_heard_of": None, "attention_dropout": float("nan"),
      "initializer_range": float("-inf")}, (), {}),
]

# Changes of a model's config.json, and words of the message.
REFUSED = [
    ({"architectures": ["Gemma2ForCausalLM"]}, ["architectures", "Gemma2ForCausalLM", "LlamaForCausalLM"]),
    ({"architectures": ["LlamaForCausalLM", "MistralForCausalLM"]}, ["architectures"]),
    ({"architectures": "LlamaForCausalLM"}, ["architectures"]),
    ({"architectures": None}, ["architectures", "missing"]),
    ({"architectures": None, "model_type": "phi3"}, ["model_type", "phi3", "mistral"]),
    ({"model_type": "mistral"}, ["model_type", "mistral", "LlamaForCausalLM"]),
    ({"rope_scaling": scaled("yarn")}, ["rope_scaling.rope_type", "yarn", "llama3"]),
    ({"rope_parameters": scaled("longrope")}, ["rope_parameters.rope_type", "longrope"]),
    ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, ["rope_scaling.type", "dynamic"]),
    ({"rope_scaling": {"type": "linear", "rope_type": "llama3"}}, ["rope_scaling.type", "linear", "llama3"]),
    ({"rope_scaling": {"factor": 2.0}}, ["rope_scaling.rope_type", "missing"]),
    ({"rope_scaling": {"type": "linear"}}, ["rope_scaling.factor", "missing"]),
    ({"rope_scaling": {**scaled("llama3"), "high_freq_factor": 1.0}}, ["rope_scaling.high_freq_factor"]),
    ({"rope_scaling": {**scaled("linear"), "attention_factor": 2.0}}, ["rope_scaling.attention_factor"]),
    ({"rope_scaling": scaled("linear"), "rope_parameters": scaled("linear")}, ["rope_scaling", "rope_parameters"]),
    ({"rope_parameters": {"rope_theta": 5.0}}, ["rope_parameters.rope_theta", "5", "100"]),
    ({"rope_parameters": {"full_attention": scaled("linear")}}, ["rope_parameters.full_attention"]),
    ({"rope_parameters": {"partial_rotary_factor": 0.5}}, ["rope_parameters.partial_rotary_factor"]),
    ({"rope_scaling": 3}, ["rope_scaling", "not an object"]),
    ({"sliding_window": 5}, ["sliding_window", "llama"]),
    ({"layer_types": ["full_attention", "sliding_attention"]}, ["layer_types", "layer 1"]),
    ({"layer_types": ["full_attention"]}, ["layer_types", "2"]),
    ({"num_local_experts": 8}, ["num_local_experts"]),
    ({"final_logit_softcapping": 30.0}, ["final_logit_softcapping"]),
    ({"residual_multiplier": 0.22}, ["residual_multiplier"]),
    ({"partial_rotary_factor": 0.5}, ["partial_rotary_factor"]),
    ({"quantization_config": {"quant_method": "gptq"}}, ["quantization_config"]),
    ({"text_config": {"hidden_size": 8}}, ["text_config"]),
    ({"auto_map": {"AutoModel": "x.Y"}}, ["auto_map"]),
    ({"never_heard_of": 1}, ["never_heard_of", "--ignore-unknown-keys"]),
    ({"hidden_act": "quick_gelu"}, ["hidden_act", "quick_gelu", "1.702"]),
    ({"hidden_act": "xielu"}, ["hidden_act", "xielu", "gelu_pytorch_tanh"]),
    ({"mlp_bias": True}, ["mlp_bias", "model.layers.0.mlp"]),
    ({"attention_bias": True}, ["self_attn.q_proj.bias", "missing"]),
    ({"num_hidden_layers": 1}, ["model.layers.1.", "--ignore-unread"]),
]

# Tensors that no key accounts for.
UNREAD = [
    ("model.layers.0.self_attn.q_proj.bias", [[0.5] * 16], "attention_bias is false"),
    ("model.layers.0.self_attn.q_norm.weight", [[2.0] * 4], "a second norm"),
    ("model.layers.0.pre_feedforward_layernorm.weight", [[2.0] * 16], "a norm of Gemma"),
    ("model.layers.00.mlp.up_proj.weight", [[2.0] * 16], "not a layer's number"),
    ("lm_head.weight", [[0.5] * 16] * 256, "differs from the tied embedding"),
    ("visual.patch.weight", [[0.5] * 16], "no part of a decoder"),
]


class ConfigTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.text = self.folder / "text"
        self.text.write_bytes(TEXT)
        self.weights = llama.make_weights()

    def write(self, changes, weights=None):
        llama.write_model(self.model, {**llama.SIZES, **changes}, weights or self.weights)

    def command(self, *more):
        return ("perplexity", self.model, "--text", self.text, "--backend", "ref", "--json", *more)

    def perplexity(self, *more):
        return json.loads(self.succeed(*self.command(*more)))["nll_nats_per_byte"]

    def test_what_is_computed(self):
        for changes, biases, forward in COMPUTED:
            with self.subTest(changes):
                weights = llama.make_weights(biases)
                self.write(changes, weights)
                want = llama.negative_log_likelihood(weights, TEXT, **forward)
                self.assertAlmostEqual(self.perplexity(), want, delta=2e-6)

    def test_that_the_cases_differ(self):
        """A forward that ignored a key would not pass for one that heeds it."""
        figures = {}
        for _, biases, forward in COMPUTED:
            weights = llama.make_weights(biases)
            figures[str((biases, forward))] = llama.negative_log_likelihood(weights, TEXT, **forward)
        ordered = sorted(figures.values())
        self.assertGreater(min(b - a for a, b in zip(ordered, ordered[1:])), 1e-4)

    def test_what_is_refused(self):
        for changes, words in REFUSED:
            with self.subTest(changes):
                self.write({**LLAMA, **changes})
                self.refuse(1, words, *self.command())

    def test_a_byte_order_mark_is_skipped(self):
        self.write(LLAMA)
        path = self.model / "config.json"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        self.assertAlmostEqual(self.perplexity(), llama.negative_log_likelihood(self.weights, TEXT), delta=2e-6)

    def test_tensors_that_nothing_reads(self):
        want = llama.negative_log_likelihood(self.weights, TEXT)
        for name, rows, why in UNREAD:
            with self.subTest(why):
                self.write(LLAMA, {**self.weights, name: rows})
                self.refuse(1, ["model.safetensors", name, "--ignore-unread"], *self.command())
                self.assertAlmostEqual(self.perplexity("--ignore-unread"), want, delta=2e-6)

    def test_unknown_keys_ignored(self):
        self.write({**LLAMA, "never_heard_of": 1})
        want = llama.negative_log_likelihood(self.weights, TEXT)
        self.assertAlmostEqual(self.perplexity("--ignore-unknown-keys"), want, delta=2e-6)

    def test_tensors_that_say_the_same_again(self):
        copies = {"lm_head.weight": self.weights["model.embed_tokens.weight"],
                  "model.layers.0.self_attn.rotary_emb.inv_freq": [[1.0, 0.1]]}
        self.write(LLAMA, {**self.weights, **copies})
        want = llama.negative_log_likelihood(self.weights, TEXT)
        self.assertAlmostEqual(self.perplexity(), want, delta=2e-6)

    def test_an_output_layer_of_its_own(self):
        self.write({**LLAMA, "tie_word_embeddings": False},
                   {**self.weights, "lm_head.weight": self.weights["model.embed_tokens.weight"]})
        want = llama.negative_log_likelihood(self.weights, TEXT)
        self.assertAlmostEqual(self.perplexity(), want, delta=2e-6)

    def test_layers_beyond_the_number_ignored(self):
        self.write({**LLAMA, "num_hidden_layers": 1})
        self.assertGreater(self.perplexity("--ignore-unread"), 0)


# What config.json means for a layer alone: the activation, or words of the message.
ACTIVATIONS = [
    ({"hidden_act": "silu"}, "silu"),
    ({"hidden_act": "swish"}, "silu"),
    ({"hidden_act": "gelu"}, "gelu_erf"),
    ({"hidden_act": "gelu_python"}, "gelu_erf"),
    ({"hidden_act": "gelu_fast"}, "gelu_tanh"),
    ({"hidden_act": "linear"}, "identity"),
    ({"model_type": "gemma", "hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"}, "gelu_tanh"),
    ({"model_type": "gemma2", "hidden_activation": "gelu_pytorch_tanh"}, "gelu_tanh"),
    ({"model_type": "gemma2"}, "gelu_tanh"),
    ({"model_type": "llama"}, "silu"),
    ({"model_type": "gemma3", "text_config": {"hidden_activation": "gelu_pytorch_tanh"}}, "gelu_tanh"),
    ({"model_type": "gemma", "hidden_act": "gelu"}, ["hidden_act", "hidden_activation"]),
    ({"hidden_act": "quick_gelu"}, ["quick_gelu", "1.702"]),
    ({"hidden_act": "SiLU"}, ["SiLU", "silu"]),
    ({"text_config": 5}, ["text_config", "not an object"]),
    ({"model_type": "unheard_of"}, ["activation"]),
]


class ActivationTest(ProgramTest):
    def test_activation_of_a_layer(self):
        weights = {"m.gate_proj.weight": [[1.0, -2.0]], "m.up_proj.weight": [[1.0, 0.5]], "x": [[0.75, 0.5], [1.5, 0.25]]}
        model = self.folder / "model.safetensors"
        llama.write(model, llama.tensors(weights))
        run = ("run", model, "--layer", "m", "--x", "%s:x" % model, "--backend", "ref")
        for config, expected in ACTIVATIONS:
            (self.folder / "config.json").unlink(missing_ok=True)
            with self.subTest(config):
                if isinstance(expected, list):
                    (self.folder / "config.json").write_text(json.dumps(config))
                    self.refuse(1, expected, *run)
                    continue
                self.assertEqual(self.first_y(run, "--activation", expected), self.first_y(run, config=config))

    def first_y(self, run, *more, config=None):
        if config:
            (self.folder / "config.json").write_text(json.dumps(config))
        out = self.folder / "y.safetensors"
        self.succeed(*run, *more, "--out", "%s:y" % out)
        data = out.read_bytes()
        out.unlink()
        return data


if __name__ == "__main__":
    unittest.main()
