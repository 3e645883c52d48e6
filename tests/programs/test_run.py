# SPDX-License-Identifier: MIT
"""Single layers of a trained model against their exact results, element by element."""

import os
import re
import unittest

import safetensors
from harness import MODEL, ProgramTest, run

LAYERS = ["model.layers.%d.mlp" % number for number in range(4)]
FFN_IO = MODEL / "ffn_io.safetensors"


class Run(ProgramTest):
    def setUp(self):
        super().setUp()
        self.packed = self.folder / "packed"
        self.succeed("pack", MODEL, self.packed)
        self.model = self.packed / "model.safetensors"

    def run_layer(self, prefix, x, backend, env, *more):
        return self.succeed(
            "run", self.model, "--layer", prefix, "--x", x, "--backend", backend, *more, env=env
        ).decode()

    def check(self, prefix, x, want, backend, env):
        text = self.run_layer(prefix, x, backend, env, "--check", want)
        if backend != "auto":
            self.assertRegex(text, r"(?m)^device: %s: " % backend)
        largest, elements = re.search(r"check: largest error (\S+) of the bound .* (\d+) elements", text).groups()
        self.assertLessEqual(float(largest), 1)
        return int(elements)


class EachVariantTest(Run):
    def test_blocks_and_projections(self):
        def body(backend, env):
            for block in LAYERS:
                x = "%s:%s.x" % (FFN_IO, block)
                self.assertEqual(self.check(block, x, "%s:%s.ffn_out" % (FFN_IO, block), backend, env), 64 * 128)
                projection = block + ".up_proj"
                self.assertEqual(self.check(projection, x, "%s:%s.mglu_out" % (FFN_IO, block), backend, env), 64 * 512)

        self.on_each_variant(body)

    def test_half_precision_against_ref(self):
        """x and y in f16 and bf16: compared with the reference backend's results for the same x in f64."""
        source = safetensors.read(FFN_IO)[0][LAYERS[0] + ".x"]
        for dtype in ("F16", "BF16"):
            narrow = safetensors.tensor(dtype, source.shape, safetensors.values(source))
            wide = safetensors.tensor("F64", source.shape, safetensors.values(narrow))
            file = self.folder / (dtype + ".safetensors")
            safetensors.write(file, {"x": narrow, "wide": wide})
            for prefix in (LAYERS[0], LAYERS[0] + ".up_proj"):
                want = "%s:y" % (self.folder / "want.safetensors")
                self.run_layer(prefix, "%s:wide" % file, "ref", {}, "--out", want)
                x = "%s:x" % file
                self.on_each_variant(lambda backend, env: self.check(prefix, x, want, backend, env))


class RunTest(Run):
    def test_instruction_set_and_threads(self):
        x = "%s:%s.x" % (FFN_IO, LAYERS[0])
        text = self.run_layer(LAYERS[0], x, "cpu", {}, "--max-isa", "baseline", "--threads", "1")
        self.assertRegex(text, r"(?m)^device: cpu: .*\bisa=baseline threads=1\b")

    def test_output(self):
        source = safetensors.read(FFN_IO)[0][LAYERS[1] + ".x"]
        row = safetensors.Tensor("F32", [128], source.data[: 4 * 128])
        cube = safetensors.Tensor("F32", [2, 32, 128], source.data)
        half = safetensors.tensor("F16", [1, 128], safetensors.values(row))
        file = self.folder / "x.safetensors"
        out = self.folder / "y.safetensors"
        safetensors.write(file, {"row": row, "cube": cube, "half": half})
        for name, dtype, shape in (("row", "F32", [512]), ("cube", "F32", [2, 32, 512]), ("half", "F16", [1, 512])):
            with self.subTest(name):
                self.run_layer(
                    LAYERS[1] + ".up_proj", "%s:%s" % (file, name), "auto", {}, "--out", "%s:y.%s" % (out, name)
                )
                tensors = safetensors.read(out)[0]
                self.assertEqual(list(tensors), ["y." + name])
                self.assertEqual((tensors["y." + name].dtype, tensors["y." + name].shape), (dtype, shape))

    def test_activation_of_the_command_line_wins(self):
        x = "%s:%s.x" % (FFN_IO, LAYERS[0])
        answer = run("pack", "in", "out", "--activation", "?").stderr.decode()
        activations = re.search("known: (.*)", answer).group(1).split(", ")
        self.assertIn("gelu_erf", activations)
        for activation in activations:
            with self.subTest(activation):
                want = "%s:y" % (self.folder / (activation + ".safetensors"))
                more = ["--activation", activation]
                self.run_layer(LAYERS[0], x, "ref", {}, "--out", want, *more)
                text = self.run_layer(LAYERS[0], x, "auto", {}, "--check", want, *more)
                self.assertIn(activation, text)

    def test_corrupted_expectation_fails(self):
        exact = safetensors.read(FFN_IO)[0][LAYERS[2] + ".ffn_out"]
        numbers = safetensors.values(exact)
        file = self.folder / "want.safetensors"
        for name, index, value in (("a bit off", 77, numbers[77] + 0.1), ("NaN", 8191, float("nan"))):
            with self.subTest(name):
                wrong = list(numbers)
                wrong[index] = value
                safetensors.write(file, {"want": safetensors.tensor("F64", exact.shape, wrong)})
                command = ["run", self.model, "--layer", LAYERS[2], "--x", "%s:%s.x" % (FFN_IO, LAYERS[2])]
                command += ["--check", "%s:want" % file]
                for backend in ("ref", "auto"):
                    self.refuse(1, ["check", "above 1"], *command, "--backend", backend)

    def test_of_the_files_of_x_and_of_the_check_nothing_else_is_read(self):
        tensors = safetensors.read(FFN_IO)[0]
        names, length, large = {"x": LAYERS[0] + ".x", "want": LAYERS[0] + ".ffn_out"}, 0, 900 << 30
        header = {}
        for name, source in names.items():
            item = tensors[source]
            header[name] = {"dtype": item.dtype, "shape": item.shape,
                            "data_offsets": [length, length + len(item.data)]}  # fmt: skip
            length += len(item.data)
        header["large"] = {"dtype": "U8", "shape": [large], "data_offsets": [length, length + large]}
        file = self.folder / "io.safetensors"
        file.write_bytes(safetensors.raw(header, b"".join(tensors[source].data for source in names.values())))
        os.truncate(file, file.stat().st_size + large)
        self.check(LAYERS[0], f"{file}:x", f"{file}:want", "auto", {})

    def test_not_finite_x_matches_not_finite_result(self):
        source = safetensors.read(FFN_IO)[0][LAYERS[0] + ".x"]
        numbers = safetensors.values(source)
        numbers[5] = float("nan")
        file = self.folder / "x.safetensors"
        safetensors.write(file, {"x": safetensors.tensor("F32", source.shape, numbers)})
        want = "%s:y" % (self.folder / "y.safetensors")
        self.run_layer(LAYERS[0], "%s:x" % file, "ref", {}, "--out", want)
        self.check(LAYERS[0], "%s:x" % file, want, "auto", {})


if __name__ == "__main__":
    unittest.main(verbosity=2)
