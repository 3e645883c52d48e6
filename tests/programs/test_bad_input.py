# SPDX-License-Identifier: MIT
"""For every error in files and layers: one clear line, the right status, no file left behind."""

import shutil
import struct
import unittest

import safetensors
from harness import MODEL, ProgramTest
from safetensors import raw, tensor

BLOCK = "model.layers.0.mlp"
X = "%s:%s.x" % (MODEL / "ffn_io.safetensors", BLOCK)
NAN, INFINITE = float("nan"), float("inf")


def layer(weight=None, mask=None):
    """A small checkpoint of one layer, h 32, d 4, 2 masks, with parts replaced."""
    return {
        "p.weight": weight or tensor("F32", [4, 32], [0.5] * 128),
        "p.mask": mask or tensor("F32", [2, 4, 32], [1.0, -1.0] * 128),
    }


def entry(start, end, dtype="F32", shape=(1,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


# name: (bytes of an invalid safetensors file, words of the error)
BROKEN_FILES = {
    "empty": (b"", []),
    "cut in the length": (b"\x10\0\0", []),
    "length beyond the end": (struct.pack("<Q", 1 << 40) + b"{}", []),
    "length of 2^64-1": (b"\xff" * 8 + b"{}", []),
    "no JSON": (raw("hello"), []),
    "JSON array": (raw("[]"), []),
    "deep JSON": (raw("[" * 100000), []),
    "NUL in a name": (raw('{"a\\u0000b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"1234"), []),
    "duplicate name": (raw('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},' * 1
                           + '"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"12"), []),
    "unknown dtype": (raw({"a": entry(0, 4, "F33")}, b"1234"), ["a"]),
    "negative size": (raw({"a": entry(0, 4, shape=[-1])}, b"1234"), ["a"]),
    "overflowing shape": (raw({"a": entry(0, 4, shape=[1 << 40, 1 << 40])}, b"1234"), ["a"]),
    "offsets swapped": (raw({"a": entry(4, 0)}, b"1234"), ["a"]),
    "offsets past the end": (raw({"a": entry(0, 8, shape=[2])}, b"1234"), ["a"]),
    "shape and bytes differ": (raw({"a": entry(0, 4, shape=[3])}, b"1234"), ["a"]),
    "hole": (raw({"a": entry(0, 4), "b": entry(8, 12)}, b"123456789012"), []),
    "overlap": (raw({"a": entry(0, 4), "b": entry(2, 6)}, b"123456"), []),
    "tail": (raw({"a": entry(0, 4)}, b"12345"), []),
    "terminal codes in a name": (raw({"\x1b[2J\n": entry(0, 4, "F33")}, b"1234"), []),
    "truncated data": (safetensors.encode(layer())[:-1], []),
    "a web page": (b"<!DOCTYPE html>\n<html></html>", ["a web page"]),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ["git lfs pull"]),
    "a pickle": (b"\x80\x04\x95\x34\x12" + bytes(6) + b"}", ["pickle"]),
    "a zip archive": (b"PK\3\4" + bytes(16), ["zip archive", "torch.save()"]),
    "GGUF cut short": (b"GGUF\3\0\0\0" + bytes(4), ["GGUF"]),
    "GGUF without layers": (b"GGUF\3\0\0\0" + bytes(16), ["without feed-forward layers"]),
    "truncated header": (safetensors.encode(layer())[:40], []),
}

# name: (tensors, metadata, words of the error)
BROKEN_LAYERS = {
    "no masks": (layer(mask=tensor("F32", [0, 4, 32], [])), None, ["p"]),
    "17 masks": (layer(mask=tensor("U8", [17, 4, 32], [1] * 17 * 128)), None, ["p", "17"]),
    "mask of another shape": (layer(mask=tensor("F32", [2, 32, 4], [1.0] * 256)), None, ["p.mask"]),
    "mask of rank 1": (layer(mask=tensor("F32", [256], [1.0] * 256)), None, ["p.mask"]),
    "mask of a wrong dtype": (layer(mask=safetensors.Tensor("C64", [2, 4, 32], bytes(2048))), None, ["p.mask", "C64"]),
    "NaN in a mask": (layer(mask=tensor("F32", [2, 4, 32], [1.0] * 255 + [NAN])), None, ["p"]),
    "2 in a mask of bytes": (layer(mask=tensor("U8", [2, 4, 32], [1] * 255 + [2])), None, ["p"]),
    "weight of a wrong dtype": (layer(tensor("I32", [4, 32], [1] * 128)), None, ["p.weight", "I32"]),
    "weight of rank 1": (layer(tensor("F32", [128], [1.0] * 128)), None, ["p.weight"]),
    "NaN in a weight": (layer(tensor("F32", [4, 32], [1.0] * 127 + [NAN])), None, ["p.weight"]),
    "infinite weight": (layer(tensor("F16", [4, 32], [1.0] * 127 + [INFINITE])), None, ["p.weight"]),
    "unknown activation": (layer(), {"mglu.activation": "tanhh"}, ["tanhh"]),
}

class BadFileTest(ProgramTest):
    def test_files_that_are_no_safetensors(self):
        file = self.folder / "bad.safetensors"
        for name, (content, words) in BROKEN_FILES.items():
            file.write_bytes(content)
            with self.subTest(name):
                words = ["bad.safetensors", *words]
                self.refuse(1, words, "inspect", file)
                self.refuse(1, words, "pack", file, self.folder / "out.safetensors")
                self.refuse(1, words, "run", file, "--layer", "p", "--x", X)
                self.refuse(1, words, "run", MODEL / "model.safetensors", "--layer", BLOCK, "--x", "%s:a" % file,
                            "--activation", "silu")

    def test_every_truncation_of_a_header(self):
        content = safetensors.encode(layer(), {"mglu.activation": "silu"})
        header = 8 + struct.unpack("<Q", content[:8])[0]
        file = self.folder / "cut.safetensors"
        for size in [*range(0, header + 1, 7), header, len(content) - 1]:
            file.write_bytes(content[:size])
            with self.subTest(size):
                self.refuse(1, ["cut.safetensors"], "inspect", file)

    def test_layers_that_break_the_format(self):
        file = self.folder / "bad.safetensors"
        for name, (tensors, metadata, words) in BROKEN_LAYERS.items():
            safetensors.write(file, tensors, metadata)
            with self.subTest(name):
                self.refuse(1, ["bad.safetensors", *words], "pack", file, self.folder / "out.safetensors")

    def test_packed_layers_that_break_the_format(self):
        file = self.folder / "bad.safetensors"
        packed = {"p.weight": tensor("F32", [1, 20], [1.0] * 20), "p.mask_bits": tensor("I32", [1, 1, 1], [5])}
        safetensors.write(file, packed, {"mglu.version": "1"})
        self.succeed("inspect", file)
        safetensors.write(file, packed, {"mglu.version": "2"})
        self.refuse(1, ["bad.safetensors", "version", "2"], "inspect", file)
        packed["p.mask_bits"] = tensor("I32", [1, 1, 1], [1 << 20])
        safetensors.write(file, packed, {"mglu.version": "1"})
        self.refuse(1, ["bad.safetensors", "p.mask_bits"], "inspect", file)

    def test_weight_too_large_for_the_dtype(self):
        file = self.folder / "big.safetensors"
        safetensors.write(file, layer(tensor("F32", [4, 32], [1.0] * 127 + [1e6])))
        self.refuse(1, ["p.weight"], "pack", file, self.folder / "out.safetensors", "--dtype", "f16")

    def test_paths(self):
        absent, model = self.folder / "absent", MODEL / "model.safetensors"
        file = self.folder / "file"
        file.write_bytes(b"x")
        cases = [
            (["inspect", absent], ["absent", "No such file"]),
            (["inspect", self.folder], [str(self.folder)]),
            (["pack", absent, self.folder / "out"], ["absent", "No such file"]),
            (["pack", model, file / "out"], ["out"]),
            (["pack", model, absent / "out"], ["out"]),
            (["pack", model, self.folder], ["directory"]),
            (["pack", MODEL, file], ["file", "not a directory"]),
            (["pack", MODEL, absent / "out"], ["out", "No such file"]),
            (["pack", MODEL, MODEL], ["replace the input"]),
            (["pack", model, model], ["replace the input"]),
            (["pack", self.folder, self.folder / "out"], ["neither model.safetensors nor"]),
            (["run", absent, "--layer", BLOCK, "--x", X], ["absent"]),
            (["run", model, "--layer", BLOCK, "--x", "%s:x" % absent], ["absent"]),
            (["run", model, "--layer", BLOCK, "--x", X, "--out", "%s/out:y" % absent], ["out"]),
            (["run", model, "--layer", BLOCK, "--x", X, "--out", "%s:y" % model], ["replace an input"]),
            (["perplexity", absent, "--text", MODEL / "eval.txt"], ["absent/config.json"]),
            (["perplexity", file, "--text", MODEL / "eval.txt"], ["file/config.json", "Not a directory"]),
            (["perplexity", MODEL, "--text", absent], ["absent", "No such file"]),
            (["perplexity", MODEL, "--text", self.folder], ["Is a directory"]),
            (["perplexity", MODEL, "--text", file], ["1 bytes"]),
            (["generate", self.folder, "--prompt", "a", "-n", "1"], ["config.json", "No such file"]),
        ]
        for command, words in cases:
            with self.subTest(command[0] + ": " + " ".join(words)):
                self.refuse(1, words, *command)

    def test_failed_folder_is_taken_back(self):
        model = self.folder / "model"
        model.mkdir()
        safetensors.write(model / "model.safetensors", BROKEN_LAYERS["NaN in a weight"][0])
        shutil.copy(MODEL / "config.json", model)
        self.refuse(1, ["p.weight"], "pack", model, self.folder / "out")
        (self.folder / "old").mkdir()
        self.refuse(1, ["p.weight"], "pack", model, self.folder / "old")
        (model / "config.json").write_text('{"hidden_act": "tanhh"}')
        safetensors.write(model / "model.safetensors", layer())
        self.refuse(1, ["hidden_act", "tanhh"], "pack", model, self.folder / "out")


class BadRunTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model.safetensors"
        shutil.copy(MODEL / "model.safetensors", self.model)

    def test_tensors(self):
        odd = self.folder / "odd.safetensors"
        rows = {
            "narrow": tensor("F32", [2, 64], [0.0] * 128),
            "scalar": tensor("F32", [], [0.0]),
            "whole": tensor("I32", [1, 128], [0] * 128),
            "row": tensor("F32", [128], [0.0] * 128),
            "none": tensor("F32", [0, 128], []),
        }
        safetensors.write(odd, rows)
        results = MODEL / "ffn_io.safetensors"
        cases = [
            (["--layer", BLOCK, "--x", "%s:absent" % odd], ["odd.safetensors", "absent", "missing"]),
            (["--layer", BLOCK, "--x", "%s:narrow" % odd], ["narrow", "[2, 64]", "128"]),
            (["--layer", BLOCK, "--x", "%s:scalar" % odd], ["scalar", "[]"]),
            (["--layer", BLOCK, "--x", "%s:whole" % odd], ["whole", "I32", "F32"]),
            (["--layer", "model.layers.9.mlp", "--x", X], ["model.layers.9.mlp"]),
            (["--layer", "", "--x", X], ["model.safetensors"]),
            (["--layer", BLOCK, "--x", X, "--check", "%s:absent" % odd], ["absent"]),
            (["--layer", BLOCK, "--x", X, "--check", "%s:row" % odd], ["row", "[128]", "[64, 128]"]),
            (["--layer", BLOCK, "--x", "%s:row" % odd, "--check", "%s:whole" % odd], ["whole", "I32"]),
            (["--layer", BLOCK, "--x", "%s:none" % odd, "--check", "%s:none" % odd], ["nothing to compare"]),
            (["--layer", BLOCK, "--x", X, "--check", "%s:%s.mglu_out" % (results, BLOCK)],
             ["[64, 512]", "[64, 128]", "--layer %s.up_proj" % BLOCK]),
        ]
        for arguments, words in cases:
            with self.subTest(" ".join(words)):
                self.refuse(1, words, "run", self.model, *arguments, "--activation", "silu")

    def test_absurd_sizes_beside_a_zero(self):
        empty = self.folder / "empty.safetensors"
        tensors = {
            "p.weight": tensor("F32", [4, 0], []),
            "p.mask": tensor("F32", [2, 4, 0], []),
            "x": tensor("F32", [1 << 40, 1 << 40, 0], []),
            "y": tensor("F32", [1 << 40, 0], []),
        }
        safetensors.write(empty, tensors)
        for name in ("x", "y"):
            x = "%s:%s" % (empty, name)
            self.refuse(1, ["empty.safetensors"], "run", empty, "--layer", "p", "--x", x, "--activation", "silu")

    def test_no_activation(self):
        self.refuse(1, ["activation"], "run", self.model, "--layer", BLOCK, "--x", X)
        (self.folder / "config.json").write_text("{}")
        self.refuse(1, ["activation"], "run", self.model, "--layer", BLOCK, "--x", X)
        (self.folder / "config.json").write_text('{"hidden_act": 5}')
        self.refuse(1, ["config.json", "hidden_act"], "run", self.model, "--layer", BLOCK, "--x", X)


if __name__ == "__main__":
    unittest.main(verbosity=2)
