# SPDX-License-Identifier: MIT
"""The output and the JSON that the program guarantees."""

import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import unittest

import safetensors
from harness import MODEL, PROGRAM, ProgramTest, devices, instruction_sets, run

COMMANDS = ["devices", "pack", "inspect", "run", "perplexity", "generate", "help"]


class HelpTest(ProgramTest):
    def test_list_of_commands(self):
        alone = self.succeed().decode()
        self.assertEqual(alone, self.succeed("--help").decode())
        for command in COMMANDS:
            self.assertRegex(alone, r"(?m)^  %s +\S" % command)

    def test_help_of_commands(self):
        for command in COMMANDS:
            with self.subTest(command):
                text = self.succeed(command, "--help").decode()
                self.assertTrue(text.startswith("Usage: mglu %s" % command), text)
                self.assertIn("mglu %s" % command, self.succeed(command, "--usage").decode())

    def test_help_as_a_command(self):
        self.assertEqual(self.succeed("help"), self.succeed("--help"))
        for command in COMMANDS:
            with self.subTest(command):
                self.assertEqual(self.succeed("help", command), self.succeed(command, "--help"))
        self.refuse(2, ["nonsense: unknown command", "devices", "help"], "help", "nonsense")
        self.refuse(2, ["run: unexpected operand"], "help", "pack", "run")

    def test_version(self):
        version = self.succeed("--version").decode()
        self.assertRegex(version, r"^mglu \d+\.\d+\.\d+ \(.*\)\n$")
        for command in COMMANDS:
            self.assertEqual(self.succeed(command, "--version").decode(), version)


class StartTest(ProgramTest):
    """How the program is started, and what its process may use."""

    def test_through_the_dynamic_loader(self):
        program = pathlib.Path(PROGRAM).read_bytes()
        loader = re.search(rb"(/[\w./-]*/ld[\w.-]*)\0", program)
        if not loader:
            self.skipTest("linked statically")
        result = subprocess.run([loader[1].decode(), PROGRAM, "--version"], capture_output=True, timeout=600)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertEqual(result.stdout, self.succeed("--version"))

    def test_fewer_threads_than_asked_for(self):
        if b"__asan_init" in pathlib.Path(PROGRAM).read_bytes():
            self.skipTest("sanitizers need more address space than the limit")
        command = ["generate", MODEL, "--prompt", "You may", "-n", "5", "--backend", "cpu"]
        limit = 1 << 30
        # Without an OpenCL driver: some of them end the process then.
        result = run(*command, "--threads", "4096", env={"OCL_ICD_VENDORS": "/nonexistent"},
                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        self.assertRegex(result.stderr.decode(), r"^mglu generate: \d+ of 4096 threads are used: .*\n$")
        self.assertEqual((result.returncode, result.stdout), (0, self.succeed(*command)))


class DevicesTest(ProgramTest):
    def test_json(self):
        listed = devices()
        self.assertTrue({"cuda", "opencl", "cpu", "ref"} <= {device["backend"] for device in listed})
        for device in listed:
            self.assertEqual(
                set(device),
                {"backend", "name", "available", "reason", "memory_bytes", "details", "instruction_sets"},
                device,
            )
            self.assertEqual(device["available"], device["reason"] == "", device)

    def test_each_instruction_set_can_be_asked_for(self):
        names = instruction_sets()
        self.assertEqual(names[0], "baseline")
        for name in names:
            cpu = next(device for device in devices({"MGLU_MAX_ISA": name}) if device["backend"] == "cpu")
            self.assertIn("isa=" + name, cpu["details"].split())
            self.assertEqual(cpu["instruction_sets"], names)

    def test_table(self):
        lines = self.succeed("devices").decode().splitlines()
        self.assertEqual(sum(line.startswith("* ") for line in lines[:-1]), 1)
        for device in devices():
            self.assertTrue(any(line[2:].startswith(device["backend"] + " ") for line in lines))


    def test_one_backend(self):
        listed = json.loads(self.succeed("devices", "--backend", "ref", "--json"))
        self.assertEqual([device["backend"] for device in listed], ["ref"])
        self.refuse(1, ["abacus", "no such backend"], "devices", "--backend", "abacus")


class PackTest(ProgramTest):
    def test_folder(self):
        out = self.folder / "packed"
        self.succeed("pack", MODEL, out)
        self.assertEqual(sorted(os.listdir(out)), ["config.json", "model.safetensors"])
        self.assertEqual((out / "config.json").read_bytes(), (MODEL / "config.json").read_bytes())
        tensors, metadata = safetensors.read(out / "model.safetensors")
        self.assertEqual(metadata["mglu.activation"], "silu")
        bits = tensors["model.layers.0.mlp.up_proj.mask_bits"]
        self.assertEqual((bits.dtype, bits.shape), ("I32", [512, 4, 4]))

    def test_file(self):
        out = self.folder / "packed.safetensors"
        text = self.succeed("pack", MODEL / "model.safetensors", out).decode()
        self.assertIn("4 layers packed", text)
        self.assertEqual(safetensors.read(out)[1]["mglu.activation"], "silu")
        again = self.folder / "again.safetensors"
        self.succeed("pack", out, again, "--activation", "relu", "--dtype", "bf16")
        tensors, metadata = safetensors.read(again)
        self.assertEqual(metadata["mglu.activation"], "relu")
        self.assertEqual(tensors["model.layers.0.mlp.up_proj.weight"].dtype, "BF16")

    def test_quantised(self):
        name = "model.layers.0.mlp.down_proj.weight"
        before = safetensors.values(safetensors.read(MODEL / "model.safetensors")[0][name])
        shapes = {"q8_0": ("I8", [128, 512], 1 / 127), "q4_0": ("U8", [128, 256], 1 / 8)}
        for dtype, (file_dtype, shape, step) in shapes.items():
            out = self.folder / dtype
            self.succeed("pack", MODEL / "model.safetensors", out, "--dtype", dtype)
            tensors, _ = safetensors.read(out)
            self.assertEqual((tensors[name].dtype, tensors[name].shape), (file_dtype, shape))
            scales = tensors[name + "_scale"]
            self.assertEqual((scales.dtype, scales.shape), ("F16", [128, 16]))
            after = safetensors.dequantised(tensors[name], scales)
            for first in range(0, len(before), 32):
                group = before[first : first + 32]
                far = max(abs(a - b) for a, b in zip(group, after[first : first + 32]))
                self.assertLessEqual(far, 1.01 * step * max(map(abs, group)), first)

    def test_older_output_is_replaced_only_by_success(self):
        out = self.folder / "packed.safetensors"
        out.write_bytes(b"older")
        bad = self.folder / "bad.safetensors"
        bad.write_bytes(b"no model")
        self.refuse(1, ["bad.safetensors"], "pack", bad, out)
        self.assertEqual(out.read_bytes(), b"older")
        self.succeed("pack", MODEL / "model.safetensors", out)


class InspectTest(ProgramTest):
    def test_json(self):
        out = self.folder / "packed.safetensors"
        self.succeed("pack", MODEL / "model.safetensors", out)
        checkpoint = json.loads(self.succeed("inspect", MODEL / "model.safetensors", "--json"))
        packed = json.loads(self.succeed("inspect", out, "--json"))
        self.assertEqual(len(packed["layers"]), 4)
        for before, after in zip(checkpoint["layers"], packed["layers"]):
            self.assertIsNone(before.pop("activation"))
            self.assertEqual(after.pop("activation"), "silu")
            self.assertEqual(before, after)
        layer = packed["layers"][2]
        self.assertEqual(layer["prefix"], "model.layers.2.mlp.up_proj")
        self.assertEqual([layer[key] for key in ("kind", "h", "d", "n_masks", "dtype")], ["masked", 128, 512, 4, "f16"])
        self.assertEqual((layer["bytes"], layer["glu_bytes"]), (128 * 512 * 20 // 8, 128 * 512 * 32 // 8))
        self.assertEqual((packed["bytes"], packed["glu_bytes"]), (4 * layer["bytes"], 4 * layer["glu_bytes"]))

    def test_quantised(self):
        for dtype, twice_the_bits in {"q8_0": 17, "q4_0": 9}.items():
            out = self.folder / dtype
            self.succeed("pack", MODEL / "model.safetensors", out, "--dtype", dtype)
            layer = json.loads(self.succeed("inspect", out, "--json"))["layers"][2]
            self.assertEqual([layer[key] for key in ("h", "d", "n_masks", "dtype")], [128, 512, 4, dtype])
            self.assertEqual(layer["bytes"], 128 * 512 * (twice_the_bits + 8) // 16)
            self.assertEqual(layer["glu_bytes"], 128 * 512 * 2 * twice_the_bits // 16)

    def test_share_of_ones(self):
        file = self.folder / "x.safetensors"
        mask = [1] * 33 + [0] * 33 + [0] * 65 + [1]
        safetensors.write(
            file,
            {
                "p.weight": safetensors.tensor("F32", [2, 33], [1] * 66),
                "p.mask": safetensors.tensor("U8", [2, 2, 33], mask),
                "m.gate_proj.weight": safetensors.tensor("F16", [2, 8], [1] * 16),
                "m.up_proj.weight": safetensors.tensor("F16", [2, 8], [1] * 16),
            },
        )
        masked, plain = json.loads(self.succeed("inspect", file, "--json"))["layers"]
        self.assertEqual(masked["ones_per_mask"], [33 / 66, 1 / 66])
        self.assertAlmostEqual(masked["ones"], 34 / 132)
        self.assertEqual(masked["bytes"], 66 * 4 + 2 * 2 * 2 * 4)
        self.assertEqual((plain["kind"], plain["bytes"], plain["ones"]), ("plain", 64, None))
        self.assertIn("2 layers", self.succeed("inspect", file).decode())


class OutputTest(ProgramTest):
    """Output that cannot be written is a failure."""

    CASES = [
        ["--help"],
        ["devices", "--json"],
        ["inspect", MODEL / "model.safetensors"],
        ["generate", MODEL, "--prompt", "You", "-n", "50"],
    ]

    def test_full_disk(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        for command in self.CASES:
            with self.subTest(command[0]), open("/dev/full", "wb") as full:
                self.refuse(1, ["standard output"], *command, stdout=full)

    def test_closed_pipe(self):
        for command in self.CASES:
            with self.subTest(command[0]):
                reader, writer = os.pipe()
                os.close(reader)
                with os.fdopen(writer, "wb") as pipe:
                    self.refuse(1, ["standard output"], *command, stdout=pipe)

    def test_terminal(self):
        """On a terminal there is progress on stderr, and a newline at the end of the generated text."""
        try:
            controller, terminal = os.openpty()
        except OSError as error:
            self.skipTest(f"no pseudo-terminal here: {error}")
        self.addCleanup(os.close, controller)
        self.addCleanup(os.close, terminal)
        result = run("generate", MODEL, "--prompt", "You", "-n", "2", stdout=terminal)
        self.assertEqual(result.returncode, 0)
        self.assertTrue(os.read(controller, 100).endswith(b"\n"))
        environment = dict(os.environ, MGLU_BACKEND="auto")
        command = [os.environ["MGLU_PROGRAM"], "pack", str(MODEL), str(self.folder / "packed")]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=terminal, check=True)
        self.assertIn(b"packing [", os.read(controller, 4096))


class DecoderTest(ProgramTest):
    """A model with features that the trained one lacks."""

    def test_untied_grouped_biased_plain(self):
        model = self.folder / "model"
        model.mkdir()
        config = json.loads((MODEL / "config.json").read_text())
        config.update(num_hidden_layers=1, num_key_value_heads=2, tie_word_embeddings=False, attention_bias=True)
        config.update(num_masks=0, hidden_act="gelu_pytorch_tanh")
        (model / "config.json").write_text(json.dumps(config))
        source, _ = safetensors.read(MODEL / "model.safetensors")
        tensors = {name: item for name, item in source.items() if ".layers." not in name or ".layers.0." in name}
        tensors["lm_head.weight"] = source["model.embed_tokens.weight"]
        attention = "model.layers.0.self_attn."
        for name, size in (("q_proj", 128), ("k_proj", 64), ("v_proj", 64), ("o_proj", 128)):
            weight = source[attention + name + ".weight"]
            tensors[attention + name + ".weight"] = safetensors.Tensor("F16", [size, 128], weight.data[: size * 256])
            tensors[attention + name + ".bias"] = safetensors.tensor("F32", [size], [0.125] * size)
        mlp = "model.layers.0.mlp."
        del tensors[mlp + "up_proj.mask"]
        tensors[mlp + "gate_proj.weight"] = source["model.layers.1.mlp.up_proj.weight"]
        safetensors.write(model / "model.safetensors", tensors)
        command = ["--prompt", "You may", "-n", "30"]
        want = self.succeed("generate", model, *command, "--backend", "ref")
        self.assertEqual(len(want), 37)
        self.assertEqual(self.succeed("generate", model, *command), want)
        shutil.copy(MODEL / "model.safetensors", model)
        self.refuse(1, ["lm_head.weight", "missing"], "generate", model, *command)


if __name__ == "__main__":
    unittest.main(verbosity=2)
