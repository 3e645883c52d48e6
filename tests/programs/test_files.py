# SPDX-License-Identifier: MIT
"""What happens to files: links, modes, signals, pipes, memory."""

import json
import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
import unittest

import safetensors
from harness import MODEL, PROGRAM, ProgramTest, run, snapshot
from safetensors import tensor

MODEL_FILE = MODEL / "model.safetensors"
ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL]

# Starts a program from a small process and prints its status and its peak memory in KiB: a larger one's would count.
MEASURE = """
import os, sys
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def write_many_layers(path, count):
    """A file of masked layers without elements: header and nothing else."""
    entry = '"l%06d.weight":{"dtype":"F16","shape":[0,0],"data_offsets":[0,0]},' \
            '"l%06d.mask":{"dtype":"U8","shape":[1,0,0],"data_offsets":[0,0]}'
    length = count * (len(entry % (0, 0)) + 1) + 1
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length) + b"{")
        for i in range(count):
            file.write((entry % (i, i) + (",}"[i + 1 == count])).encode())
    return path.stat().st_size


class OutputTest(ProgramTest):
    def test_link_is_followed(self):
        (self.folder / "store").mkdir()
        for name, older in (("older", b"older"), ("absent", None)):
            target, link = self.folder / "store" / name, self.folder / ("link to " + name)
            if older:
                target.write_bytes(older)
            link.symlink_to("store/" + name)
            self.succeed("pack", MODEL_FILE, link)
            self.assertTrue(link.is_symlink())
            self.assertIn("model.norm.weight", safetensors.read(target)[0])

    def test_circle_of_links_is_refused(self):
        (self.folder / "a").symlink_to("b")
        (self.folder / "b").symlink_to("a")
        self.refuse(1, ["a", "links"], "pack", MODEL_FILE, self.folder / "a")

    def test_mode_of_an_older_file_is_kept(self):
        out = self.folder / "out"
        for mode in (0o600, 0o640, 0o444):
            out.touch()
            out.chmod(mode)
            self.succeed("pack", MODEL_FILE, out)
            self.assertEqual(stat.S_IMODE(out.stat().st_mode), mode)
            self.assertGreater(out.stat().st_size, 5)

    @unittest.skipIf(os.getuid() != 0, "only root can make files of others")
    def test_owner_of_an_older_file_is_kept(self):
        out = self.folder / "out"
        out.touch()
        os.chown(out, 1234, 2345)
        self.succeed("pack", MODEL_FILE, out)
        self.assertEqual((out.stat().st_uid, out.stat().st_gid), (1234, 2345))

    def test_config_of_a_folder_keeps_its_mode(self):
        out = self.folder / "out"
        self.succeed("pack", MODEL, out)
        (out / "config.json").chmod(0o600)
        self.succeed("pack", MODEL, out)
        self.assertEqual(stat.S_IMODE((out / "config.json").stat().st_mode), 0o600)

    def test_output_is_checked_before_the_input_is_read(self):
        """The input is refused by its data, which comes after the header is known to be right."""
        bad = self.folder / "bad"
        safetensors.write(bad, {"p.weight": tensor("F32", [1, 1], [float("nan")]), "p.mask": tensor("U8", [1, 1], [1])})
        self.refuse(1, ["File name too long"], "pack", bad, self.folder / ("x" * 256))
        self.refuse(1, ["No such file"], "pack", bad, self.folder / "absent" / "x")
        self.refuse(1, ["p.weight", "not finite"], "pack", bad, self.folder / "x")
        self.succeed("inspect", bad)  # which reads no weights

    @unittest.skipIf(os.getuid() == 0, "root may write everywhere")
    def test_folder_that_cannot_be_written(self):
        (self.folder / "closed").mkdir(0o555)
        self.refuse(1, ["Permission denied"], "pack", MODEL_FILE, self.folder / "closed" / "x")


class EndTest(ProgramTest):
    """A program that is ended leaves the older file or the new one, and nothing else."""

    def setUp(self):
        super().setUp()
        rows, columns = 512, 2048
        self.input = self.folder / "in"
        tensors = {}
        for i in range(2):
            tensors["l%d.weight" % i] = safetensors.Tensor("F16", [rows, columns], bytes(2 * rows * columns))
            tensors["l%d.mask" % i] = safetensors.Tensor("BOOL", [4, rows, columns], bytes(4 * rows * columns))
        safetensors.write(self.input, tensors, {"mglu.activation": "silu"})
        self.whole = self.folder / "whole"
        begin = time.monotonic()
        self.succeed("pack", self.input, self.whole)
        self.seconds = time.monotonic() - begin

    def test_signals(self):
        out = self.folder / "out"
        for number in ENDING:
            for step in range(4):
                out.write_bytes(b"older")
                program = subprocess.Popen([PROGRAM, "pack", self.input, out], stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL)
                time.sleep(self.seconds * step / 4)
                program.send_signal(number)
                program.wait(timeout=60)
                content = out.read_bytes()
                self.assertTrue(content == b"older" or content == self.whole.read_bytes(), (number, step))
                self.assertEqual(sorted(os.listdir(self.folder)), ["in", "out", "whole"], (number, step))

    def test_limit_of_file_sizes(self):
        out = self.folder / "out"
        out.write_bytes(b"older")
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        result = run("pack", self.input, out, preexec_fn=limit)
        self.assertEqual((result.returncode, out.read_bytes()), (1, b"older"))
        self.assertIn(b"File too large", result.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), ["in", "out", "whole"])


class PipeTest(ProgramTest):
    def test_pipe_as_config_is_refused_at_once(self):
        model = self.folder / "model"
        model.mkdir()
        shutil.copy(MODEL_FILE, model)
        os.mkfifo(model / "config.json")
        words = ["config.json", "not a regular file"]
        self.refuse(1, words, "pack", model, self.folder / "out", timeout=20)
        self.refuse(1, words, "pack", model / "model.safetensors", self.folder / "out", timeout=20)
        self.refuse(1, words, "perplexity", model, "--text", MODEL / "eval.txt", timeout=20)

    def test_text_may_come_through_a_pipe(self):
        text = (MODEL / "eval.txt").read_bytes()[:100]
        outputs = [self.succeed("perplexity", MODEL, "--json", "--text", "/dev/stdin", input=text)]
        (self.folder / "text").write_bytes(text)
        outputs.append(self.succeed("perplexity", MODEL, "--json", "--text", self.folder / "text"))
        self.assertEqual(*(json.loads(output)["nll_nats_per_byte"] for output in outputs))

    def test_text_is_limited(self):
        with (self.folder / "text").open("wb") as file:
            file.truncate((1 << 30) + 1)
        self.refuse(1, ["text", "larger than"], "perplexity", MODEL, "--text", self.folder / "text")


@unittest.skipIf(os.environ.get("MGLU_TEST_SANITIZED"), "sanitizers take memory of their own")
class MemoryTest(ProgramTest):
    """At most 2 times the file and 16 MB, beside what the program takes for a file of 1 KB."""

    def peak(self, *arguments):
        output = subprocess.check_output([sys.executable, "-S", "-c", MEASURE, PROGRAM, *map(str, arguments)],
                                         stderr=subprocess.DEVNULL)
        status, kib = map(int, output.split())
        return status, kib * 1024

    def test_many_layers(self):
        file, small, out = self.folder / "file", self.folder / "small", self.folder / "out"
        write_many_layers(small, 8)
        commands = [
            ["inspect"], ["inspect", "--json"], ["pack", "--activation", "silu"],
            ["pack", "--activation", "silu", "--dtype", "q8_0"],
        ]
        for count, status, tried in ((40000, 0, commands), (300000, 1, commands[1:3])):
            size = write_many_layers(file, count)
            for command in tried:
                outputs = [out] if command[0] == "pack" else []
                base = self.peak(*command, small, *outputs)
                found = self.peak(*command, file, *outputs)
                self.assertEqual((base[0], found[0]), (0, status), command)
                self.assertLessEqual(found[1] - base[1], 2 * size + 16e6, (count, command))
        self.refuse(1, ["more than 262144 layers"], "inspect", file)

    def test_sizes_of_matrices_without_elements(self):
        file, x = self.folder / "file", self.folder / "x"
        safetensors.write(x, {"x": tensor("F32", [1, 0], [])})
        safetensors.write(file, {"p.weight": tensor("F16", [1 << 24, 0], []), "p.mask": tensor("U8", [1 << 24, 0], [])})
        for command in (["inspect", file], ["run", file, "--layer", "p", "--x", "%s:x" % x, "--activation", "silu"],
                        ["pack", file, self.folder / "out", "--dtype", "q8_0"]):
            self.refuse(1, ["p.weight", "65536"], *command)

    def test_sparse_file_with_a_bad_header(self):
        file = self.folder / "file"
        file.write_bytes(safetensors.raw('{"a":x'))
        os.truncate(file, 900 << 30)
        self.refuse(1, ["expected a value"], "inspect", file)
        status, found = self.peak("inspect", file)
        self.assertEqual(status, 1)
        self.assertLess(found, 100e6)

    def test_little_memory_is_a_clear_error(self):
        """Long texts in the header, and not enough memory for them."""
        file = self.folder / "file"
        tensors = {"p.weight": tensor("F32", [1, 1], [1.0]), "p.mask": tensor("U8", [1, 1], [1])}
        safetensors.write(file, tensors, {"text": "\u00e4" * 10000000})
        for mib in (150, 200, 300):
            limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))
            result = run("inspect", file, preexec_fn=limit, env={"MGLU_NUM_THREADS": "1"})
            if result.returncode != 0:
                self.assertEqual(result.returncode, 1, (mib, result.stderr))
                self.assertIn(b"out of memory", result.stderr, mib)


if __name__ == "__main__":
    unittest.main(verbosity=2)
