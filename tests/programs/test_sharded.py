# SPDX-License-Identifier: MIT
"""Models in shards are what they are in one file, and large ones take little memory."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest

import safetensors
from harness import MODEL, PROGRAM, ProgramTest
from safetensors import tensor
from test_files import MEASURE

INDEX = "model.safetensors.index.json"
# Bytes of each tensor of a large file.
TENSOR = 32 << 20


def write_shards(folder, tensors, metadata, count):
    """Distributes tensors over shards in turn, and writes their index."""
    folder.mkdir()
    shards = [dict(list(tensors.items())[number::count]) for number in range(count)]
    weight_map = {}
    for number, shard in enumerate(shards):
        name = "model-%05d-of-%05d.safetensors" % (number + 1, count)
        safetensors.write(folder / name, shard, metadata)
        weight_map.update((tensor_name, name) for tensor_name in shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))


def read_folder(folder):
    """The tensors of every shard, as the index has them."""
    weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    files = {name: safetensors.read(folder / name)[0] for name in set(weight_map.values())}
    return {name: files[file][name] for name, file in weight_map.items()}


class ShardedTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.tensors, self.metadata = safetensors.read(MODEL / "model.safetensors")
        self.model = self.folder / "model"
        write_shards(self.model, self.tensors, self.metadata, 3)
        (self.model / "config.json").write_bytes((MODEL / "config.json").read_bytes())

    def assert_same(self, got, want):
        self.assertEqual(sorted(got), sorted(want))
        for name, item in want.items():
            self.assertEqual((got[name].dtype, got[name].shape), (item.dtype, item.shape), name)
            self.assertEqual(got[name].data, item.data, name)

    def test_packed_shards_have_the_tensors_of_one_packed_file(self):
        whole, out = self.folder / "whole", self.folder / "out"
        for options in ([], ["--dtype", "q8_0"]):
            self.succeed("pack", MODEL, whole, *options)
            self.succeed("pack", self.model, out, *options)
            self.assert_same(read_folder(out), safetensors.read(whole / "model.safetensors")[0])
            self.assertEqual((out / "config.json").read_bytes(), (MODEL / "config.json").read_bytes())
            self.assertEqual(sorted(os.listdir(out)), sorted(os.listdir(self.model)))

    def test_size_of_shards(self):
        whole, out, one = self.folder / "whole", self.folder / "out", self.folder / "one"
        self.succeed("pack", MODEL, whole)
        self.succeed("pack", self.model, out, "--shard-size", "100KB")
        want = safetensors.read(whole / "model.safetensors")[0]
        self.assert_same(read_folder(out), want)
        shards = [safetensors.read(path)[0] for path in out.glob("model-*.safetensors")]
        self.assertGreater(len(shards), 3)
        for shard in shards:
            self.assertTrue(len(shard) == 1 or sum(len(item.data) for item in shard.values()) <= 100000)
        index = json.loads((out / INDEX).read_text())
        self.assertEqual(index["metadata"]["total_size"], sum(len(item.data) for item in want.values()))
        self.succeed("pack", self.model, one, "--shard-size", "1GB")
        self.assertEqual(sorted(os.listdir(one)), ["config.json", "model.safetensors"])
        self.assert_same(safetensors.read(one / "model.safetensors")[0], want)

    def test_commands_read_shards(self):
        text = self.folder / "text"
        text.write_bytes((MODEL / "eval.txt").read_bytes()[:40])
        prefix = json.loads(self.succeed("inspect", MODEL / "model.safetensors", "--json"))["layers"][0]["prefix"]
        columns = self.tensors[prefix + ".weight"].shape[1]
        safetensors.write(self.folder / "x", {"x": tensor("F32", [1, columns], [i % 7 - 3 for i in range(columns)])})
        run = ["--layer", prefix, "--x", "%s:x" % (self.folder / "x"), "--backend", "ref"]
        for command, options in (("perplexity", ["--text", text, "--backend", "ref", "--json"]),
                                 ("generate", ["--prompt", "Permission", "-n", "4", "--backend", "ref"])):
            whole, sharded = (self.succeed(command, folder, *options) for folder in (MODEL, self.model))
            if command == "perplexity":
                whole, sharded = (json.loads(found)["nll_nats_per_byte"] for found in (whole, sharded))
            self.assertEqual(sharded, whole, command)
        for folder in (self.model, MODEL):
            self.succeed("run", folder, *run, "--out", "%s:y" % (self.folder / ("y-" + folder.name)))
        self.assertEqual((self.folder / "y-model").read_bytes(), (self.folder / ("y-" + MODEL.name)).read_bytes())
        whole, sharded = (json.loads(self.succeed("inspect", folder, "--json")) for folder in (MODEL, self.model))
        self.assertEqual(*({layer["prefix"]: layer for layer in found["layers"]} for found in (whole, sharded)))

    def test_mapped_files_compute_the_same(self):
        packed, text = self.folder / "packed", self.folder / "text"
        text.write_bytes((MODEL / "eval.txt").read_bytes()[:40])
        self.succeed("pack", self.model, packed, "--dtype", "bf16")
        command = ["perplexity", packed, "--text", text, "--backend", "cpu", "--json"]
        read, mapped = (json.loads(self.succeed(*command, *more)) for more in ([], ["--mmap"]))
        self.assertEqual(mapped["nll_nats_per_byte"], read["nll_nats_per_byte"])

    def test_wrong_arguments(self):
        out = self.folder / "out"
        for size in ("0", "5TB", "-1", "", "GB", "5 GB", "99999999999999999999"):
            self.refuse(2, ["--shard-size"], "pack", self.model, out, "--shard-size", size)
        self.refuse(1, ["--shard-size is for the model in a folder"], "pack", MODEL / "model.safetensors", out,
                    "--shard-size", "1MB")
        (self.model / "model-00002-of-00003.safetensors").unlink()
        for command in (["pack", self.model, out], ["inspect", self.model]):
            self.refuse(1, ["model-00002-of-00003.safetensors", "is not in the folder"], *command)

    def test_failed_packing_leaves_no_shards(self):
        layer = next(name for name in self.tensors if name.endswith("up_proj.weight"))
        broken = dict(self.tensors)
        item = broken.pop(layer)
        broken[layer] = safetensors.Tensor(item.dtype, item.shape, item.data[:-2] + b"\xff\x7f")
        model = self.folder / "broken"
        write_shards(model, broken, self.metadata, 3)
        self.refuse(1, [layer, "not finite"], "pack", model, self.folder / "out", "--activation", "silu")


class EndTest(ProgramTest):
    """Packing that is ended leaves the older folder, or none, or the new one; never a part, nor a temporary file."""

    def setUp(self):
        super().setUp()
        rows, columns = 512, 2048
        tensors = {}
        for i in range(3):
            tensors["l%d.weight" % i] = safetensors.Tensor("F16", [rows, columns], bytes(2 * rows * columns))
            tensors["l%d.mask" % i] = safetensors.Tensor("BOOL", [2, rows, columns], bytes(2 * rows * columns))
        self.input, self.out = self.folder / "in", self.folder / "out"
        write_shards(self.input, tensors, {"mglu.activation": "silu"}, 3)
        (self.input / "config.json").write_text("{}")
        self.succeed("pack", self.input, self.folder / "older")
        begin = time.monotonic()
        self.succeed("pack", self.input, self.folder / "new", "--dtype", "q8_0")
        self.seconds = time.monotonic() - begin
        self.older, self.new = content(self.folder / "older"), content(self.folder / "new")

    def begin(self, older, **options):
        shutil.rmtree(self.out, ignore_errors=True)
        if older:
            shutil.copytree(self.folder / "older", self.out)
        command = [PROGRAM, "pack", self.input, self.out, "--dtype", "q8_0"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)

    def assert_whole(self, older, case):
        self.assertIn(content(self.out), (self.older if older else {}, self.new), case)
        self.assertEqual(self.out.exists(), bool(content(self.out)), case)
        self.assertEqual(sorted(set(os.listdir(self.folder)) - {"out"}), ["in", "new", "older"], case)

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            for older in (False, True):
                for step in range(3):
                    program = self.begin(older)
                    while not self.out.exists() and program.poll() is None:  # its first step that can be seen
                        time.sleep(0.001)
                    time.sleep(self.seconds * step / 16)
                    program.send_signal(number)
                    program.communicate(timeout=60)
                    self.assert_whole(older, (number, older, step))

    def test_limit_of_file_sizes(self):
        for older in (False, True):
            program = self.begin(
                older, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
            self.assertIn(b"File too large", program.communicate(timeout=60)[1])
            self.assertEqual((program.returncode, content(self.out)), (1, self.older if older else {}))
            self.assert_whole(older, older)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def write_sparse(path, count):
    """Masked layers of zeros, which take no space on the disk."""
    header, offset = {"__metadata__": {"mglu.activation": "silu"}}, 0
    for i in range(count):
        for name, dtype, shape in (("weight", "F32", [4096, 2048]), ("mask", "U8", [4, 4096, 2048])):
            header["l%d.%s" % (i, name)] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + TENSOR]}
            offset += TENSOR
    path.write_bytes(safetensors.raw(header))
    os.truncate(path, path.stat().st_size + offset)


@unittest.skipIf(os.environ.get("MGLU_TEST_SANITIZED"), "sanitizers take memory of their own")
class LargeTest(ProgramTest):
    """16 MB at most, beside what a file of 1 KB takes, whatever the size of a tensor."""

    def peak(self, *arguments):
        output = subprocess.check_output([sys.executable, "-S", "-c", MEASURE, PROGRAM, *map(str, arguments)],
                                         stderr=subprocess.DEVNULL)
        status, kib = map(int, output.split())
        self.assertEqual(status, 0, arguments)
        return kib * 1024

    def test_inspecting(self):
        """GGUF with blocks of quants and scales too, of which nothing is copied."""
        large, blocks = self.folder / "large", self.folder / "blocks.gguf"
        write_sparse(large, 4)
        self.succeed("pack", large, blocks, "--dtype", "q8_0")
        for file in (large, blocks):
            self.assertLessEqual(self.peak("inspect", file), 16e6, file)

    def test_packing(self):
        small, large, out = self.folder / "small", self.folder / "large", self.folder / "out"
        safetensors.write(small, {"l.weight": tensor("F16", [1, 1], [1]), "l.mask": tensor("U8", [1, 1], [1])})
        write_sparse(large, 4)
        for options in ([], ["--dtype", "bf16"], ["--dtype", "q8_0"], ["--format", "gguf"]):
            base = self.peak("pack", small, out, "--activation", "silu", *options)
            found = self.peak("pack", large, out, "--activation", "silu", *options)
            self.assertLessEqual(found - base, 16e6, options)

    def test_mapped_weights_are_used_in_place(self):
        """The limit counts memory that a process may write to, so not a mapped file; a copy of the weights exceeds it."""
        large, packed, x = self.folder / "large", self.folder / "packed", self.folder / "x"
        write_sparse(large, 1)
        self.succeed("pack", large, packed, "--dtype", "f16")
        safetensors.write(x, {"x": tensor("F32", [1, 2048], [1] * 2048)})
        limit = TENSOR // 4  # the weights have TENSOR / 2 bytes
        options = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
                   "env": {"MGLU_NUM_THREADS": "1"}}
        command = ["run", packed, "--layer", "l0", "--x", "%s:x" % x, "--backend", "cpu"]
        self.succeed(*command, "--mmap", **options)
        self.refuse(1, ["out of memory"], *command, **options)


@unittest.skipIf(os.environ.get("MGLU_TEST_SANITIZED"), "sanitizers take memory of their own")
class AddressSpaceTest(ProgramTest):
    def test_packing_a_gigabyte_in_a_quarter(self):
        large, limit = self.folder / "large", 256 << 20
        write_sparse(large, 16)
        self.succeed("pack", large, self.folder / "out",
                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))


if __name__ == "__main__":
    unittest.main()
