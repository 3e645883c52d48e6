# SPDX-License-Identifier: MIT
"""GGUF files of the gguf package are read, and those that mglu writes are read by it. Truth: float64 in numpy."""

import json
import pathlib
import re
import unittest

import packages
import safetensors
from harness import MODEL, ProgramTest

packages.enter("python")
try:
    import gguf
    import numpy as np
except ImportError as error:
    packages.skip(error)

TYPES = {name: gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0")}
H, D, ROWS = 64, 96, 5


def silu(gate):
    return gate / (1 + np.exp(-gate))


def gelu_tanh(gate):
    return 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))


# What transformers computes for the models that these architectures come from.
ARCHITECTURES = {"llama": silu, "qwen2": silu, "mistral3": silu, "gemma": gelu_tanh, "gemma2": gelu_tanh}


class Model:
    """Tensors of random numbers, and the numbers in float64 that they have in the file."""

    def __init__(self, path, architecture, seed=1, **options):
        self.path, self.random, self.wide = path, np.random.default_rng(seed), {}
        self.writer = gguf.GGUFWriter(str(path), architecture, **options)

    def tensor(self, name, shape, kind):
        narrow = gguf.quants.quantize(self.random.standard_normal(shape).astype(np.float32), TYPES.get(kind, kind))
        self.writer.add_tensor(name, narrow, raw_dtype=TYPES.get(kind, kind))
        self.wide[name] = gguf.quants.dequantize(narrow, TYPES.get(kind, kind)).astype(np.float64)

    def layer(self, kind, block=0, suffix="", stack=(), bias=False):
        for part, shape in {"gate": (D, H), "up": (D, H), "down": (H, D)}.items():
            self.tensor("blk.%d.ffn_%s%s.weight" % (block, part, suffix), (*stack, *shape), kind)
            if bias:
                self.tensor("blk.%d.ffn_%s%s.bias" % (block, part, suffix), (*stack, shape[0]), "F32")

    def write(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def plain(x, activation, gate, up, down, biases=(0, 0, 0)):
    return (activation(x @ gate.T + biases[0]) * (x @ up.T + biases[1])) @ down.T + biases[2]


class GgufTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.file = self.folder / "model.gguf"
        self.x = np.random.default_rng(2).standard_normal((ROWS, H))
        self.x_argument = "%s:x" % self.save("x", "F32", self.x)
        self.x = self.x.astype(np.float32).astype(np.float64)

    def save(self, name, dtype, array):
        path = self.folder / (name + ".safetensors")
        kinds = {"F32": np.float32, "F64": np.float64}
        safetensors.write(path, {name: safetensors.Tensor(dtype, array.shape, array.astype(kinds[dtype]).tobytes())})
        return path

    def check(self, file, layer, want, *more):
        """The program's own check compares each element with its error bound."""
        want = "%s:want" % self.save("want", "F64", want)
        command = ["run", file, "--layer", layer, "--x", self.x_argument, "--check", want, *more]
        self.on_each_variant(lambda backend, env: self.succeed(*command, "--backend", backend, env=env))


class ReadTest(GgufTest):
    def parts(self, model, suffix="", expert=None, leaf="weight"):
        for part in ("gate", "up", "down"):
            wide = model.wide["blk.0.ffn_%s%s.%s" % (part, suffix, leaf)]
            yield wide if expert is None else wide[expert]

    def test_each_type(self):
        for kind in TYPES:
            with self.subTest(kind):
                model = Model(self.file, "llama")
                model.layer(kind)
                model.write()
                self.check(self.file, "blk.0", plain(self.x, silu, *self.parts(model)))
                layer, = json.loads(self.succeed("inspect", self.file, "--json"))["layers"]
                self.assertEqual([layer[key] for key in ("prefix", "kind", "h", "d", "dtype", "activation")],
                                 ["blk.0", "plain", H, D, kind.lower(), "silu"])

    def test_each_architecture(self):
        for architecture, activation in ARCHITECTURES.items():
            with self.subTest(architecture):
                model = Model(self.file, architecture)
                model.layer("F16", bias=True)
                model.write()
                biases = list(self.parts(model, leaf="bias"))
                self.check(self.file, "blk.0", plain(self.x, activation, *self.parts(model), biases))

    def test_the_document_lists_the_architectures(self):
        sources = pathlib.Path(__file__).parents[2]
        document = (sources / "docs" / "format.md").read_text()
        table = (sources / "common" / "io" / "gguf_architectures.c").read_text()
        rows = re.findall(r"(?m)^\| (silu|silu, fused|gelu_tanh) \| (.*) \|$", document)
        self.assertEqual({name for _, names in rows for name in names.split(", ")},
                         set(re.findall(r'{"([^"]*)", "', table)))
        for activation, names in rows:
            for name in names.split(", "):
                with self.subTest(name):
                    model = Model(self.file, name)
                    fused = "fused" in activation
                    for part in ("up", "down") if fused else ("gate", "up", "down"):
                        model.tensor("blk.0.ffn_%s.weight" % part, (2, 1 if fused and part == "down" else 2), "F32")
                    model.write()
                    layer, = json.loads(self.succeed("inspect", self.file, "--json"))["layers"]
                    self.assertEqual(layer["activation"], activation.split(",")[0])

    def test_unknown_architecture(self):
        model = Model(self.file, "martian")
        model.layer("F16")
        model.write()
        out = self.folder / "out.safetensors"
        self.refuse(1, ["model.gguf", "--activation"], "run", self.file, "--layer", "blk.0", "--x", self.x_argument)
        self.refuse(1, ["model.gguf", "martian", "--activation"], "pack", self.file, out)
        want = plain(self.x, gelu_tanh, *self.parts(model))
        self.check(self.file, "blk.0", want, "--activation", "gelu_tanh")
        self.succeed("pack", self.file, out, "--activation", "gelu_tanh")
        self.check(out, "blk.0", want)

    def test_experts(self):
        model = Model(self.file, "qwen2moe")
        model.layer("Q8_0", suffix="_exps", stack=(3,), bias=True)
        model.layer("Q8_0", suffix="_shexp")
        model.write()
        for expert in range(3):
            biases = list(self.parts(model, "_exps", expert, "bias"))
            want = plain(self.x, silu, *self.parts(model, "_exps", expert), biases)
            self.check(self.file, "blk.0.experts.%d" % expert, want)
        self.check(self.file, "blk.0.shared_expert", plain(self.x, silu, *self.parts(model, "_shexp")))

    def test_fused(self):
        for kind in ("F32", "Q4_0"):
            model = Model(self.file, "phi3")
            model.tensor("blk.0.ffn_up.weight", (2 * D, H), kind)
            model.tensor("blk.0.ffn_down.weight", (H, D), kind)
            model.write()
            gate, up = np.split(model.wide["blk.0.ffn_up.weight"], 2)
            self.check(self.file, "blk.0", plain(self.x, silu, gate, up, model.wide["blk.0.ffn_down.weight"]))

    def test_every_kind_of_metadata(self):
        model = Model(self.file, "llama")
        model.layer("F32")
        writer = model.writer
        for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "uint64", "int64",
                     "float64"):
            getattr(writer, "add_" + kind)("test." + kind, 1)
        writer.add_string("test.string", "text")
        writer.add_array("test.strings", ["", "b", "ü"])
        writer.add_array("test.numbers", [1.5, 2.5])
        writer.add_array("test.arrays", [[1, 2], [3]])
        writer.add_custom_alignment(256)
        model.write()
        self.check(self.file, "blk.0", plain(self.x, silu, *self.parts(model)))

    def test_other_types_are_refused_by_name(self):
        for kind in ("Q4_1", "Q5_0", "Q5_1"):
            model = Model(self.file, "llama")
            model.layer(gguf.GGMLQuantizationType[kind])
            model.write()
            self.refuse(1, ["blk.0.ffn_gate.weight", kind, "llama-quantize"], "inspect", self.file)
            self.refuse(1, ["blk.0.ffn_gate.weight", kind], "pack", self.file, self.folder / "out.safetensors")

    def test_big_endian_is_refused_by_name(self):
        model = Model(self.file, "llama", endianess=gguf.GGUFEndian.BIG)
        model.layer("F32")
        model.write()
        self.refuse(1, ["model.gguf", "big-endian"], "inspect", self.file)

    def test_packed(self):
        for kind in TYPES:
            model = Model(self.file, "gemma")
            model.layer(kind)
            model.writer.add_name("small")
            model.write()
            out = self.folder / "out.safetensors"
            self.assertIn("1 layers written, none with masks", self.succeed("pack", self.file, out).decode())
            self.check(out, "blk.0", plain(self.x, gelu_tanh, *self.parts(model)))
            tensors, metadata = safetensors.read(out)
            self.assertEqual(metadata["mglu.activation"], "gelu_tanh")
            self.assertIn("blk.0.gate_proj.weight", tensors)


def masked(x, weight, masks, gate_bias, value_bias):
    """Equation 2 of arXiv 2506.23225 with biases: masks [n_m, d, h] of 0 and 1."""
    return sum(silu(x @ (mask * weight).T + gate) * (x @ ((1 - mask) * weight).T + value)
               for mask, gate, value in zip(masks, gate_bias, value_bias))


class WriteTest(GgufTest):
    N_MASKS = 3

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(3)
        self.logits = random.standard_normal((self.N_MASKS, D, H))
        shapes = {"a.up_proj.weight": (D, H), "a.up_proj.gate_bias": (self.N_MASKS, D),
                  "a.up_proj.value_bias": (self.N_MASKS, D), "a.down_proj.weight": (H, D), "a.down_proj.bias": (H,)}
        self.arrays = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        self.source = self.folder / "source.safetensors"
        tensors = {**self.arrays, "a.up_proj.mask": self.logits.astype(np.float32)}
        safetensors.write(self.source, {name: safetensors.Tensor("F32", array.shape, array.tobytes())
                                        for name, array in tensors.items()}, {"mglu.activation": "silu"})

    def read(self):
        reader = gguf.GGUFReader(self.file)
        return reader, {tensor.name: tensor for tensor in reader.tensors}

    def test_the_gguf_package_reads_every_number(self):
        for kind, type_ in TYPES.items():
            with self.subTest(kind):
                self.succeed("pack", self.source, self.file, "--dtype", kind.lower())
                reader, tensors = self.read()
                keys = {key: reader.fields[key].contents() for key in reader.fields if not key.startswith("GGUF.")}
                producer = keys.pop("mglu.producer")
                self.assertTrue(producer.startswith("mglu "), producer)
                self.assertEqual(keys, {"general.architecture": "mglu", "general.alignment": 64, "mglu.version": "1",
                                        "mglu.activation": "silu", "mglu.layer.0": "a.up_proj"})
                self.assertEqual(set(tensors), {"blk.0." + name for name in (
                    "ffn_mglu.weight", "ffn_mglu.mask", "ffn_mglu.gate_bias", "ffn_mglu.value_bias", "ffn_down.weight",
                    "ffn_down.bias")})
                wide = {name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
                        for name, tensor in tensors.items() if not name.endswith("mask")}
                sources = {"ffn_mglu.weight": "a.up_proj.weight", "ffn_down.weight": "a.down_proj.weight"}
                for name, source in sources.items():
                    self.assertEqual(tensors["blk.0." + name].tensor_type, type_)
                    # Quantised like the package does it: the same numbers.
                    want = gguf.quants.dequantize(gguf.quants.quantize(self.arrays[source], type_), type_)
                    np.testing.assert_array_equal(wide["blk.0." + name], want.reshape(self.arrays[source].shape))
                words = tensors["blk.0.ffn_mglu.mask"].data
                self.assertEqual(words.shape, (D, H // 32, self.N_MASKS, 4))
                bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")  # [d, groups, masks, 32]
                bits = bits.transpose(2, 0, 1, 3).reshape(self.N_MASKS, D, H)
                np.testing.assert_array_equal(bits, self.logits.astype(np.float32) > 0)
                want = masked(self.x, wide["blk.0.ffn_mglu.weight"], bits.astype(np.float64),
                              wide["blk.0.ffn_mglu.gate_bias"], wide["blk.0.ffn_mglu.value_bias"])
                self.check(self.file, "a.up_proj", want)
                self.check(self.file, "a", want @ wide["blk.0.ffn_down.weight"].T + wide["blk.0.ffn_down.bias"])

    def test_format_is_chosen_by_name_or_option(self):
        other = self.folder / "other"
        self.succeed("pack", self.source, other, "--format", "gguf")
        self.assertEqual(other.read_bytes()[:4], b"GGUF")
        self.succeed("pack", self.source, self.file, "--format", "safetensors")
        self.assertIn("a.up_proj.mask_bits", safetensors.read(self.file)[0])
        self.refuse(2, ["onnx", "safetensors", "gguf"], "pack", self.source, other, "--format", "onnx")
        self.refuse(1, ["is a folder"], "pack", MODEL, self.file)

    def test_inspect_shows_the_same_layers(self):
        out = self.folder / "out.safetensors"
        for path in (out, self.file):
            self.succeed("pack", MODEL / "model.safetensors", path)
        self.assertEqual(self.succeed("inspect", self.file, "--json"), self.succeed("inspect", out, "--json"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
