# SPDX-License-Identifier: MIT
"""Layers under every name that they have in files, against their values in double precision."""

import json
import math
import random
import struct
import unittest
from fractions import Fraction

import safetensors
from harness import ProgramTest, run
from layers import D, EXPERTS, FUSED, H, ORDERS, PAIRS, TOKENS, Glu, Masked
from layers import flat, fused, gelu_tanh, halves, interleaved, masked, matrix, pair, silu, stored, transposed, under
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
        self.write(under("m", fused(Glu("oss"), FUSED["gate_up_proj"], interleaved)), config={"model_type": "gpt_oss"})
        self.refuse_run("m", ["config.json", "gpt_oss", "clamp"], "--fused", "interleaved")

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
                both = [join(one.gate, one.value) for one in self.experts]
                down = [one.down for one in self.experts]
                if turn:
                    both, down = [turn(one) for one in both], [turn(one) for one in down]
                tensors = {"mlp.experts.gate_up_proj": stored("F32", *both),
                           "mlp.experts.down_proj": stored("F32", *down)}
                tensors.update(self.stack_biases("mlp.experts.gate_up_proj", "mlp.experts.down_proj", "_bias", join))
                self.write({**tensors, "mlp.router.weight": stored("F32", matrix(EXPERTS, H, 9))})
                with self.subTest(order + (" [inputs, outputs]" if turn else "")):
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


class PackTest(LayoutTest):
    def dequantised(self, tensors, name):
        found = tensors[name]
        numbers = safetensors.dequantised(found, tensors[name + "_scale"])
        columns = found.shape[-1] * (2 if found.dtype == "U8" else 1)
        return [numbers[first : first + columns] for first in range(0, len(numbers), columns)]

    def test_plain_layers_are_quantised(self):
        for dtype in ("q8_0", "q4_0"):
            for order, join in ORDERS.items():
                glu = Glu(dtype, biases=True)
                self.write(under("m", fused(glu, FUSED["w12"], join)))
                packed = self.folder / "packed.safetensors"
                self.succeed("pack", self.model, packed, "--dtype", dtype, "--fused", order)
                rows = self.dequantised(safetensors.read(packed)[0], "m.w12.weight")
                glu.gate, glu.value = (rows[:D], rows[D:]) if join is halves else (rows[0::2], rows[1::2])
                glu.down = self.dequantised(safetensors.read(packed)[0], "m.w3.weight")
                with self.subTest(dtype + " " + order):
                    self.check("m", glu, file=packed)

    def test_stacks_are_quantised(self):
        experts = [Glu(("q", i)) for i in range(EXPERTS)]
        self.write({"e.gate_up_proj": stored("F64", *(halves(one.gate, one.value) for one in experts)),
                    "e.down_proj": stored("F16", *(one.down for one in experts))})
        packed = self.folder / "packed.safetensors"
        self.succeed("pack", self.model, packed, "--dtype", "q8_0", "--fused", "halves")
        tensors = safetensors.read(packed)[0]
        self.assertEqual(tensors["e.gate_up_proj_scale"].shape, [EXPERTS, 2 * D, H // 32])
        rows, down = self.dequantised(tensors, "e.gate_up_proj"), self.dequantised(tensors, "e.down_proj")
        for i, expert in enumerate(experts):
            own = rows[2 * D * i : 2 * D * (i + 1)]
            expert.gate, expert.value, expert.down = own[:D], own[D:], down[H * i : H * (i + 1)]
            self.check("e.%d" % i, expert, file=packed)

    def test_stacks_of_rows_of_outputs_are_converted_but_not_quantised(self):
        experts = [Glu(("t", i)) for i in range(EXPERTS)]
        self.write({"e.gate_up_proj": stored("F32", *(transposed(halves(one.gate, one.value)) for one in experts)),
                    "e.down_proj": stored("F32", *(transposed(one.down) for one in experts))})
        packed = self.folder / "packed.safetensors"
        words = ["'e.gate_up_proj'", "[experts, inputs, outputs]"]
        self.refuse(1, words, "pack", self.model, packed, "--dtype", "q8_0", "--fused", "halves")
        self.succeed("pack", self.model, packed, "--dtype", "bf16", "--fused", "halves")
        self.check("e.1", experts[1], file=packed)

    def test_f64_is_rounded_once(self):
        """Numbers just beside the middle of two neighbours: rounded to f32 first, some would end on the wrong side."""
        source = random.Random(1)
        numbers = []
        for bits in (7, 10, 23):
            for _ in range(300):
                number = source.choice((-1, 1)) * (1 + (source.getrandbits(bits) + 0.5) / 2**bits)
                beside = source.choice((0, -1, 1)) * 2.0 ** -source.randint(30, 52)
                numbers.append((number + beside) * 2.0 ** source.choice((0, 3, -3, -14, -20, -24)))
        numbers += [0.0, -0.0, 2.0**-149, 2.0**-150, 1.5 * 2.0**-150, 2.0**-25, 2.0**-25 * (1 + 2.0**-40), 5e-324]
        numbers += [65519.99]
        numbers += [1.0] * (-len(numbers) % H)
        rows = len(numbers) // H
        self.write({"w1.weight": tensor("F64", [rows, H], numbers), "w3.weight": tensor("F64", [rows, H], numbers)})
        packed = self.folder / "packed.safetensors"
        for dtype, rounded in (("f16", f16_bits), ("bf16", bf16_bits), ("f32", f32_bits)):
            self.succeed("pack", self.model, packed, "--dtype", dtype)
            with self.subTest(dtype):
                self.assertEqual(safetensors.read(packed)[0]["w1.weight"].data, b"".join(map(rounded, numbers)))

    def test_f64_that_overflows_is_refused(self):
        self.write({"w1.weight": tensor("F64", [1, 2], [1.0, 1e39]), "w3.weight": tensor("F64", [1, 2], [1.0, 1.0])})
        self.refuse(1, ["'w1.weight'", "[0, 1]", "f32"], "pack", self.model, self.folder / "out", "--dtype", "f32")

    def test_layers_without_masks_need_a_dtype(self):
        self.write(under("m", pair(Glu("none"), PAIRS["w1, w3"])))
        self.refuse(1, ["nothing to pack", "no masks", "--dtype"], "pack", self.model, self.folder / "out.safetensors")


def f16_bits(number):
    return struct.pack("<e", number)


def f32_bits(number):
    return struct.pack("<f", number)


def bf16_bits(number):
    """The nearest bf16, ties to even, in exact arithmetic."""
    exponent = max(math.frexp(number)[1] - 8, -133) if number else 0
    steps = round(Fraction(abs(number)) / Fraction(2) ** exponent)  # to even
    bits = struct.unpack("<I", struct.pack("<f", math.ldexp(steps, exponent)))[0] >> 16
    return struct.pack("<H", bits | (0x8000 if math.copysign(1, number) < 0 else 0))


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
