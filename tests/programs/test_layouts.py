# SPDX-License-Identifier: MIT
"""Layers under every name that they have in files, against their values in double precision."""

import math
import unittest

import safetensors
from harness import run
from layers import D, EXPERTS, FUSED, H, ORDERS, PAIRS, Glu, Masked
from layers import flat, fused, gelu_tanh, halves, interleaved, masked, matrix, pair, silu, stored, transposed, under
from layout_test import LayoutTest
from safetensors import tensor, values


class PlainTest(LayoutTest):
    def test_two_matrices(self):
        for name, names in PAIRS.items():
            for dtype in ("F32", "F16", "BF16", "F64"):
                glu = Glu((name, dtype), biases=dtype != "F16")
                self.write(under("m.mlp", pair(glu, names, dtype)))
                with self.subTest(name + " " + dtype):
                    self.assertEqual(self.listed(), ["m.mlp"])
                    self.check("m.mlp", glu)

    def test_one_matrix_in_either_order(self):
        for name, names in FUSED.items():
            for order, join in ORDERS.items():
                for dtype in ("F32", "BF16", "F64"):
                    glu = Glu((name, order, dtype), biases=dtype != "BF16")
                    self.write(under("m.mlp", fused(glu, names, join, dtype)))
                    with self.subTest(" ".join((name, order, dtype))):
                        self.assertEqual(self.listed(), ["m.mlp"])
                        for backend in ("ref", "cpu"):
                            self.check("m.mlp", glu, "--fused", order, backend=backend)

    def test_the_order_is_never_guessed(self):
        glu = Glu("order")
        for names in FUSED.values():
            self.write(under("m", fused(glu, names, halves)), config={"model_type": "unknown"})
            self.refuse_run("m", ["'m.%s.weight'" % names[0], "halves", "--fused"])

    def test_the_order_follows_from_the_model_type(self):
        glu = Glu("type")
        self.write(under("m", fused(glu, FUSED["gate_up_proj"], halves)), config={"model_type": "phi3"})
        self.check("m", glu)

    def test_a_model_with_another_operation_is_refused(self):
        for name in ("gpt_oss", "phi3small"):
            self.write(under("m", fused(Glu("oss"), FUSED["gate_up_proj"], interleaved)), config={"model_type": name})
            self.refuse_run("m", ["config.json", name, "clamp"], "--fused", "interleaved")

    def test_biases_of_every_dtype(self):
        """Of both kinds of layers; a dtype that is none of a bias is refused."""
        layers = {"plain": (Glu("b", biases=True), pair(Glu("b", biases=True), PAIRS["w1, w3"])),
                  "masked": (Masked("b", biases=True), masked(Masked("b", biases=True), "w1", "w2"))}
        for kind, (layer, tensors) in layers.items():
            for dtype in ("F32", "F16", "BF16", "F64", "I32"):
                biases = {name: tensor(dtype, item.shape, [int(v) if dtype == "I32" else v for v in values(item)])
                          for name, item in tensors.items() if name.endswith("bias")}
                self.write(under("m", {**tensors, **biases}))
                with self.subTest(kind + " " + dtype):
                    if dtype == "I32":
                        self.refuse_run("m", ["bias'", "I32"])
                    else:
                        self.check("m", layer)

    def test_a_module_that_was_saved_by_itself(self):
        glu = Glu("alone", biases=True)
        self.write(pair(glu, PAIRS["w1, w3"]))
        self.assertEqual(self.listed(), [""])
        self.check("", glu)

    def test_a_unit_without_a_gate_is_no_layer(self):
        """These names are also those of units that are not gated: the first has as many rows as the second columns."""
        for names in (FUSED["linear_fc1"], FUSED["input_linear"]):
            self.write({"m.%s.weight" % names[0]: stored("F32", matrix(D, H, 1)),
                        "m.%s.weight" % names[1]: stored("F32", matrix(H, D, 2))})
            self.refuse_run("m", ["no layer", "m"], "--fused", "halves")


class ExpertTest(LayoutTest):
    def setUp(self):
        super().setUp()
        self.experts = [Glu(("expert", i), biases=True) for i in range(EXPERTS)]

    def check_experts(self, prefix, experts, *options, file=None):
        self.assertEqual(self.listed(*options), ["%s.%d" % (prefix, i) for i in range(EXPERTS)])
        for i, expert in enumerate(experts):
            self.check("%s.%d" % (prefix, i), expert, *options, file=file)

    def stack_biases(self, first, last, tail, join):
        both = [join(one.gate_bias, one.value_bias) for one in self.experts]
        down = [one.down_bias for one in self.experts]
        return {first + tail: tensor("F32", [EXPERTS, 2 * D], flat(both)),
                last + tail: tensor("F32", [EXPERTS, H], flat(down))}

    def test_a_name_for_each_expert(self):
        tensors = {}
        for i, expert in enumerate(self.experts):
            tensors.update(under("moe.experts.%d" % i, pair(expert, PAIRS["w1, w3"])))
        self.write({**tensors, "moe.gate.weight": stored("F32", matrix(EXPERTS, H, 9))})
        self.check_experts("moe.experts", self.experts)

    def test_stacks_of_two_matrices(self):
        for tail, bias in ((".weight", ".bias"), ("", "_bias")):
            for name, names in PAIRS.items():
                parts = zip(names, ("gate", "value", "down"))
                tensors = {}
                for tensor_name, part in parts:
                    tensors["e." + tensor_name + tail] = stored("F32", *(getattr(one, part) for one in self.experts))
                    numbers = [getattr(one, part + "_bias") for one in self.experts]
                    shape = [EXPERTS, len(numbers[0])]
                    tensors["e." + tensor_name + bias] = tensor("F32", shape, flat(numbers))
                self.write(tensors)
                with self.subTest(name + tail):
                    self.check_experts("e", self.experts)

    def test_stacks_of_one_matrix(self):
        for order, join in ORDERS.items():
            for turn in (None, transposed):
                with self.subTest(order + (" [inputs, outputs]" if turn else "")):
                    self.check_stacks_of_one_matrix(FUSED["gate_up_proj"], order, join, turn)

    def test_stacks_of_one_matrix_under_other_names(self):
        for name in ("w12", "linear_fc1"):
            with self.subTest(name):
                self.check_stacks_of_one_matrix(FUSED[name], "interleaved", interleaved)

    def check_stacks_of_one_matrix(self, names, order, join, turn=None):
        both, down = [join(one.gate, one.value) for one in self.experts], [one.down for one in self.experts]
        if turn:
            both, down = [turn(one) for one in both], [turn(one) for one in down]
        first, last = ("mlp.experts." + name for name in names)
        tensors = {first: stored("F32", *both), last: stored("F32", *down)}
        tensors.update(self.stack_biases(first, last, "_bias", join))
        self.write({**tensors, "mlp.router.weight": stored("F32", matrix(EXPERTS, H, 9))})
        self.check_experts("mlp.experts", self.experts, "--fused", order)

    def test_stacks_beside_their_router(self):
        tensors = {"moe.input_linear.weight": stored("BF16", *(halves(one.gate, one.value) for one in self.experts)),
                   "moe.output_linear.weight": stored("BF16", *(one.down for one in self.experts)),
                   "moe.router.layer.weight": stored("F32", matrix(EXPERTS, H, 9))}
        tensors.update(self.stack_biases("moe.input_linear", "moe.output_linear", ".bias", halves))
        self.write(tensors, config={"model_type": "granitemoe"})
        self.check_experts("moe", self.experts)

    def test_stacks_of_masked_layers(self):
        layers = [Masked(("stack", i), biases=True) for i in range(EXPERTS)]
        bits = [bit for one in layers for mask in one.masks for bit in flat(mask)]
        for tail, beside in ((".weight", "."), ("", "_")):
            tensors = {"e.up_proj" + tail: stored("F32", *(one.weight for one in layers)),
                       "e.up_proj" + beside + "mask": tensor("U8", [EXPERTS, 2, D, H], bits),
                       "e.up_proj" + beside + "gate_bias": stored("F32", *(one.gate_bias for one in layers)),
                       "e.up_proj" + beside + "value_bias": stored("F32", *(one.value_bias for one in layers)),
                       "e.down_proj" + tail: stored("F32", *(one.down for one in layers)),
                       "e.down_proj" + beside + "bias": stored("F32", [one.down_bias for one in layers])}
            self.write(tensors)
            packed = self.folder / "packed.safetensors"
            self.succeed("pack", self.model, packed)
            with self.subTest(tail):
                self.assertEqual(self.listed(), ["e.%d.up_proj" % i for i in range(EXPERTS)])
                for i, layer in enumerate(layers):
                    self.check("e.%d" % i, layer)
                    self.check("e.%d" % i, layer, file=packed)

    def test_stacks_of_other_lengths_are_refused(self):
        tensors = {"e.%s.weight" % name: stored("F32", *(matrix(*sizes, name) for _ in range(count)))
                   for name, sizes, count in (("w1", (D, H), 3), ("w3", (D, H), 2), ("w2", (H, D), 3))}
        self.write(tensors)
        self.refuse_run("e.1", ["'e.w3.weight'", "not a stack of the 3 experts"])
        self.refuse_run("e.3", ["no layer 'e.3'"])


    def test_a_layer_that_is_no_stack_has_no_experts(self):
        self.write(under("m", masked(Masked("single"), "up_proj", "down_proj")))
        for prefix in ("m.0", "m.0.up_proj", "m.up_proj.0"):
            self.refuse_run(prefix, ["no layer '%s'; the file has 'm.up_proj'" % prefix])

    def test_names_of_experts_that_take_more_than_the_file_are_refused(self):
        stem = "a" * 60000
        self.write({stem + ".gate_up_proj": safetensors.Tensor("F16", [200000, 2, 1], bytes(800000)),
                    stem + ".down_proj": safetensors.Tensor("F16", [200000, 1, 1], bytes(400000))})
        self.refuse(1, ["names of the layers", "experts"], "inspect", self.model)


class MaskedTest(LayoutTest):
    def test_masks_on_either_matrix_of_every_layout(self):
        layouts = [(name, names[2]) for names in PAIRS.values() for name in names[:2]]
        for name, down in layouts + list(FUSED.values()):
            layer = Masked(name, biases=True)
            self.write(under("m", masked(layer, name, down)))
            packed = self.folder / "packed.safetensors"
            self.succeed("pack", self.model, packed)
            with self.subTest(name):
                self.assertEqual(self.listed(), ["m." + name])
                self.check("m", layer)
                self.check("m", layer, file=packed)

    def test_masks_of_every_dtype(self):
        bits = {dtype: (1, 0) for dtype in ("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64")}
        logits = {dtype: (0.01, -0.0) for dtype in ("F16", "BF16", "F32")}
        for dtype, (one, zero) in {**bits, **logits, "F64": (1e-300, -1e-300)}.items():
            layer = Masked(dtype)
            tensors = masked(layer, "up_proj", "down_proj")
            numbers = [one if bit else zero for mask in layer.masks for bit in flat(mask)]
            tensors["up_proj.mask"] = tensor(dtype, [2, D, H], numbers)
            self.write(under("m", tensors))
            packed = self.folder / "packed.safetensors"
            self.succeed("pack", self.model, packed)
            with self.subTest(dtype):
                self.check("m", layer)
                self.check("m", layer, file=packed)

    def test_what_is_no_mask_is_refused(self):
        for dtype, number, words in (("I64", 2, "neither 0 nor 1"), ("I8", -1, "0 nor 1"), ("F64", math.nan, "NaN")):
            tensors = masked(Masked(dtype, masks=1), "up_proj", "down_proj")
            tensors["up_proj.mask"] = tensor(dtype, [D, H], [0] * (D * H - 1) + [number])
            self.write(under("m", tensors))
            with self.subTest(dtype):
                self.refuse(1, ["'m.up_proj.mask'", words], "pack", self.model, self.folder / "out.safetensors")
                self.refuse_run("m", ["m", words])

    def test_one_mask_value_per_row_is_another_layer(self):
        for shape in ([D], [2, D], [D, 1], [2, D, 1]):
            mask = tensor("F32", shape, [0.5] * math.prod(shape))
            self.write({"m.weight": stored("F32", matrix(D, H, 1)), "m.mask": mask})
            with self.subTest(shape):
                self.refuse_run("m", ["'m.mask'", "one value per row", "one per weight"])
        self.write({"m.proj.weight": stored("F32", matrix(D, H, 1)), "m.mask": tensor("F32", [D], [0.5] * D)})
        for command in (["inspect", self.model], ["pack", self.model, self.folder / "out.safetensors"]):
            self.refuse(1, ["'m.mask'", "one value per row", "another layer"], *command)


class UnreadTest(LayoutTest):
    def test_tensors_that_nothing_reads_are_refused_by_name(self):
        plain = pair(Glu("unread"), PAIRS["gate_proj, up_proj"])
        layer = masked(Masked("unread"), "up_proj", "down_proj")
        extra, ones = stored("F32", matrix(D, H, 7)), tensor("F32", [D], [1.0] * D)
        cases = {
            "a gate beside masks": ({**layer, "gate_proj.weight": extra}, "m.gate_proj.weight"),
            "a plain bias on a masked layer": ({**layer, "up_proj.bias": ones}, "m.up_proj.bias"),
            "a norm between the matrices": ({**plain, "norm.weight": ones}, "m.norm.weight"),
            "an adapter": ({**plain, "up_proj.lora_A.weight": extra}, "m.up_proj.lora_A.weight"),
            "a second layout": ({**plain, "gate_up_proj.weight": extra}, "m.gate_up_proj.weight"),
        }
        for name, (tensors, unread) in cases.items():
            self.write(under("m", tensors))
            with self.subTest(name):
                words = ["'%s'" % unread, "nothing reads it", "--ignore-unread"]
                self.refuse_run("m", words)
                self.refuse(1, words, "pack", self.model, self.folder / "out.safetensors", "--dtype", "f16")
                source = Masked("unread") if "masked" in name or "masks" in name else Glu("unread")
                self.check("m", source, "--ignore-unread")

    def test_quants_of_other_formats_are_refused(self):
        quants = {"m.weight": tensor("I8", [D, H], [1] * D * H), "m.weight_scale": tensor("F16", [D, 2], [1.0] * 2 * D),
                  "m.mask": tensor("U8", [D, H], [1] * D * H)}
        ours = {"mglu.version": "1"}
        grouped, zero_points = tensor("I32", [H], list(range(H))), tensor("I8", [D, 2], [3] * 2 * D)
        cases = {
            "zero points": ({**quants, "m.weight_zero_point": zero_points}, ours, "weight_zero_point"),
            "a group index": ({**quants, "m.weight_g_idx": grouped}, ours, "weight_g_idx"),
            "groups of 16": ({**quants, "m.weight_scale": tensor("F16", [D, 4], [1.0] * 4 * D)}, ours, "weight_scale"),
            "a scale per row": ({**quants, "m.weight_scale": tensor("F16", [D, 1], [1.0] * D)}, ours, "weight_scale"),
            "no mglu.version": (quants, None, "mglu.version"),
            "another version": (quants, {"mglu.version": "2"}, "mglu.version"),
        }
        for name, (tensors, metadata, word) in cases.items():
            self.write(tensors, metadata)
            with self.subTest(name):
                self.refuse_run("m", [word])
                self.refuse_run("m", [word], "--ignore-unread")
                self.refuse(1, [word], "pack", self.model, self.folder / "out.safetensors")

    def test_a_file_without_layers_says_what_is_looked_for(self):
        self.write({"a.fc.weight": stored("F32", matrix(2, 3, 1)), "fp8": safetensors.Tensor("F8_E4M3", [2], b"ab")})
        words = ["no layer", "P.mask", "gate_proj + up_proj", "w12"]
        for options in ([], ["--json"]):
            self.refuse(1, words, "inspect", self.model, *options)
        self.assertEqual(run("inspect", self.model).stdout, b"a.fc.weight F32 [2, 3]\nfp8 F8_E4M3 [2]\n")
        self.assertEqual(run("inspect", self.model, "--json").stdout, b"")


class ArchitectureTest(LayoutTest):
    """The names and shapes with which transformers saves a model, and what its config.json says."""

    MODELS = {
        "llama": ("model.layers.0.mlp", "gate_proj, up_proj", {"hidden_act": "silu"}, silu),
        "mistral": ("model.layers.0.mlp", "gate_proj, up_proj", {"hidden_act": "silu"}, silu),
        "qwen2": ("model.layers.0.mlp", "gate_proj, up_proj", {"hidden_act": "silu"}, silu),
        "gemma": ("model.layers.0.mlp", "gate_proj, up_proj", {"hidden_act": "gelu_pytorch_tanh"}, gelu_tanh),
        "mixtral": ("model.layers.0.block_sparse_moe.experts.1", "w1, w3", {"hidden_act": "silu"}, silu),
        "phi3": ("model.layers.0.mlp", "gate_up_proj", {"hidden_act": "silu"}, silu),
    }

    def test_models(self):
        for model, (prefix, layout, config, act) in self.MODELS.items():
            glu = Glu(model)
            tensors = fused(glu, FUSED[layout], halves, "BF16") if layout in FUSED else pair(glu, PAIRS[layout], "BF16")
            beside = {"model.embed_tokens.weight": stored("BF16", matrix(8, H, 1)),
                      "model.layers.0.input_layernorm.weight": tensor("BF16", [H], [1.0] * H),
                      "model.layers.0.self_attn.q_proj.weight": stored("BF16", matrix(H, H, 2)),
                      "model.layers.0.block_sparse_moe.gate.weight": stored("BF16", matrix(2, H, 3))}
            self.write({**under(prefix, tensors), **beside}, {"format": "pt"}, {"model_type": model, **config})
            with self.subTest(model):
                self.check(prefix, glu, act=act, named=())


if __name__ == "__main__":
    unittest.main(verbosity=2)
