# SPDX-License-Identifier: MIT
"""For every error in arguments or settings: one clear line, and the right status."""

import unittest

from harness import MODEL, ProgramTest, devices

BLOCK = "model.layers.0.mlp"
X = "%s:%s.x" % (MODEL / "ffn_io.safetensors", BLOCK)


class UsageTest(ProgramTest):
    def test_bad_usage(self):
        model = MODEL / "model.safetensors"
        cases = [
            (["nonsense"], ["nonsense", "perplexity"]),
            (["--nonsense"], ["--nonsense"]),
            (["devices", "more"], ["more"]),
            (["devices", "--nonsense"], ["--nonsense"]),
            (["inspect"], ["FILE", "missing"]),
            (["inspect", "a", "b"], ["b"]),
            (["pack"], ["IN", "missing"]),
            (["pack", model], ["OUT", "missing"]),
            (["pack", "a", "b", "c"], ["c"]),
            (["pack", model, "out", "--dtype"], ["dtype"]),
            (["pack", model, "out", "--dtype", "f8"], ["f8", "f16", "bf16", "f32"]),
            (["pack", model, "out", "--activation", "swish2"], ["swish2", "gelu_tanh"]),
            (["run", model, "--layer", BLOCK], ["--x", "missing"]),
            (["run", model, "--x", X], ["--layer", "missing"]),
            (["run", "--layer", BLOCK, "--x", X], ["FILE", "missing"]),
            (["run", model, "--layer", BLOCK, "--x", "no-colon"], ["no-colon", "FILE:TENSOR"]),
            (["run", model, "--layer", BLOCK, "--x", "file:"], ["FILE:TENSOR"]),
            (["run", model, "--layer", BLOCK, "--x", ":x"], ["FILE:TENSOR"]),
            (["run", model, "--layer", BLOCK, "--x", X, "--activation", "x"], ["'x'", "silu"]),
            (["perplexity", MODEL], ["--text", "missing"]),
            (["perplexity", "--text", "x"], ["DIR", "missing"]),
            (["perplexity", MODEL, "--text", "x", "--window", "0"], ["--window", "0"]),
            (["perplexity", MODEL, "--text", "x", "--window", "ten"], ["ten"]),
            (["perplexity", MODEL, "--text", "x", "--window", "9" * 30], ["--window"]),
            (["generate", MODEL, "-n", "5"], ["--prompt", "missing"]),
            (["generate", MODEL, "--prompt", "a"], ["-n", "missing"]),
            (["generate", MODEL, "--prompt", "a", "-n", "-1"], ["-n", "-1"]),
            (["generate", MODEL, "--prompt", "a", "-n", "5x"], ["5x"]),
        ]
        for command, words in cases:
            with self.subTest(" ".join(map(str, command[:1] + words))):
                self.refuse(2, words, *command)

    def test_settings(self):
        commands = [
            ["run", MODEL / "model.safetensors", "--layer", BLOCK, "--x", X],
            ["perplexity", MODEL, "--text", MODEL / "eval.txt"],
            ["generate", MODEL, "--prompt", "a", "-n", "1"],
        ]
        cases = [
            ({"MGLU_BACKEND": "nonsense"}, ["MGLU_BACKEND", "nonsense", "cpu", "ref"]),
            ({"MGLU_MAX_ISA": "nonsense"}, ["nonsense", "baseline"]),
            ({"MGLU_NUM_THREADS": "-3"}, ["MGLU_NUM_THREADS", "-3"]),
            ({"MGLU_NUM_THREADS": "0"}, ["MGLU_NUM_THREADS", "0"]),
            ({"MGLU_NUM_THREADS": "abc"}, ["MGLU_NUM_THREADS", "abc"]),
            ({"MGLU_LOG": "nonsense"}, ["MGLU_LOG", "nonsense", "debug"]),
        ]
        for device in devices():
            if not device["available"]:
                cases.append(({"MGLU_BACKEND": device["backend"]}, [device["backend"], device["reason"]]))
        for env, words in cases:
            for command in commands:
                with self.subTest(command[0], **env):
                    self.refuse(1, words, *command, env=env)

    def test_threads_and_instruction_set_of_the_command_line(self):
        command = ["generate", MODEL, "--prompt", "a", "-n", "1", "--backend", "cpu"]
        self.refuse(2, ["--threads", "whole number"], *command, "--threads", "0")
        self.refuse(1, ["nonsense", "baseline"], *command, "--max-isa", "nonsense")

    def test_backend_of_the_command_line(self):
        command = ["generate", MODEL, "--prompt", "a", "-n", "1", "--backend"]
        self.refuse(1, ["nonsense", "cpu"], *command, "nonsense")
        for device in devices():
            if not device["available"]:
                self.refuse(1, [device["backend"], device["reason"]], *command, device["backend"])
        self.succeed(*command, "ref", env={"MGLU_BACKEND": "cuda"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
