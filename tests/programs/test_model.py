# SPDX-License-Identifier: MIT
"""A trained model gives PyTorch's figures in float64, packed or not, on every backend and instruction set."""

import json
import unittest

from harness import MODEL, REFERENCE, ProgramTest

START_BYTES = 513


class Model:
    """The model, packed, and a text; for the backends that a class below names."""

    backends = ()

    def setUp(self):
        super().setUp()
        self.packed = self.folder / "packed"
        self.succeed("pack", MODEL, self.packed)
        self.text = MODEL / "eval.txt"

    def use_start_of_text(self, count):
        self.text = self.folder / "start.txt"
        self.text.write_bytes((MODEL / "eval.txt").read_bytes()[:count])

    def perplexity(self, model, backend, env, *more):
        command = ["perplexity", model, "--text", self.text, "--backend", backend, "--json", *more]
        return json.loads(self.succeed(*command, env=env))

    def check_perplexity(self, predicted_bytes, nats_per_byte):
        def body(backend, env):
            result = self.perplexity(self.packed, backend, env)
            self.assertEqual(result["backend"], backend)
            self.assertEqual(result["predicted_bytes"], predicted_bytes)
            self.assertAlmostEqual(result["nll_nats_per_byte"], nats_per_byte, delta=1e-5)
            self.assertGreater(result["tokens_per_second"], 0)

        self.on_each_variant(body, self.backends)


class WholeText(Model):
    """The figure that PyTorch gave."""

    def test_perplexity(self):
        self.check_perplexity(REFERENCE["predicted_bytes"], REFERENCE["nll_nats_per_byte"])


class StartOfText(Model):
    """Tests that take seconds. For the start of the text only the reference backend's perplexity is known."""

    def test_perplexity(self):
        self.use_start_of_text(START_BYTES)
        self.check_perplexity(START_BYTES - 1, self.perplexity(MODEL, "ref", {})["nll_nats_per_byte"])

    def test_first_bytes(self):
        self.use_start_of_text(17)
        want = sum(REFERENCE["first_16_nll"]) / 16

        def body(backend, env):
            self.assertAlmostEqual(self.perplexity(self.packed, backend, env)["nll_nats_per_byte"], want, delta=1e-5)

        self.on_each_variant(body, self.backends)

    def test_generate(self):
        want = REFERENCE["greedy_240_bytes"].encode()
        prompt = REFERENCE["prompt"]
        command = ["generate", self.packed, "--prompt", prompt, "-n", len(want) - len(prompt)]

        def body(backend, env):
            self.assertEqual(self.succeed(*command, "--backend", backend, env=env), want)

        self.on_each_variant(body, self.backends)


class AutoTest(Model, ProgramTest):
    """Tests that depend on no backend, on the device that the program selects."""

    def test_generate(self):
        prompt = REFERENCE["prompt"]
        want = REFERENCE["greedy_240_bytes"].encode()[: len(prompt) + 16]
        self.assertEqual(self.succeed("generate", self.packed, "--prompt", prompt, "-n", 16), want)

    def test_checkpoint_is_the_packed_model(self):
        self.use_start_of_text(START_BYTES)
        figures = [self.perplexity(model, "auto", {})["nll_nats_per_byte"] for model in (MODEL, self.packed)]
        self.assertEqual(*figures)

    def test_window_of_one_byte_has_no_context(self):
        self.text = self.folder / "same.txt"
        self.text.write_bytes(b"aaaa")
        many = self.perplexity(MODEL, "auto", {}, "--window", "1")
        self.text.write_bytes(b"aa")
        self.assertEqual(many["predicted_bytes"], 3)
        self.assertAlmostEqual(many["nll_nats_per_byte"], self.perplexity(MODEL, "auto", {})["nll_nats_per_byte"])

    def test_generate_nothing(self):
        self.assertEqual(self.succeed("generate", self.packed, "--prompt", "You may", "-n", "0"), b"You may")


class ReferenceTest(StartOfText, ProgramTest):
    backends = ("ref",)


class ReferenceWholeTextTest(WholeText, ProgramTest):
    backends = ("ref",)


class OpenClTest(StartOfText, ProgramTest):
    backends = ("opencl",)


class OpenClWholeTextTest(WholeText, ProgramTest):
    backends = ("opencl",)


class CpuWholeTextTest(WholeText, ProgramTest):
    backends = ("cpu",)


class CpuTest(StartOfText, ProgramTest):
    backends = ("cpu",)

    def test_x_quantised_to_8_bits_costs_little(self):
        quantised = self.folder / "quantised"
        self.succeed("pack", MODEL, quantised, "--dtype", "q8_0")
        self.use_start_of_text(START_BYTES)

        def body(backend, env):
            nll = [
                self.perplexity(quantised, backend, env, "--window", "7", *more)["nll_nats_per_byte"]
                for more in ([], ["--quantised-x"])
            ]
            self.assertAlmostEqual(*nll, delta=0.01)

        self.on_each_variant(body, self.backends)

    def test_threads_change_no_bit(self):
        self.use_start_of_text(START_BYTES)
        figures = {
            self.perplexity(self.packed, "cpu", {"MGLU_NUM_THREADS": threads})["nll_nats_per_byte"]
            for threads in ("1", "2", "3")
        }
        self.assertEqual(len(figures), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
