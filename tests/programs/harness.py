# SPDX-License-Identifier: MIT
"""Helpers of the tests of the mglu program. Needs MGLU_PROGRAM and MGLU_TEST_DATA."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["MGLU_PROGRAM"]
MODEL = pathlib.Path(os.environ["MGLU_TEST_DATA"]) / "licence-lm"
REFERENCE = json.loads((MODEL / "reference.json").read_text())


OWN_VARIABLES = ("MGLU_BACKEND", "MGLU_MAX_ISA", "MGLU_NUM_THREADS", "MGLU_LOG")


def run(*arguments, env=None, **options):
    """Runs the program; the caller's settings for the library do not reach it."""
    environment = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    environment.update(env or {})
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("timeout", 600)
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    return subprocess.run([PROGRAM, *map(str, arguments)], env=environment, stderr=subprocess.PIPE, **options)


def devices(env=None):
    result = run("devices", "--json", env=env)
    if result.returncode != 0:
        raise AssertionError("devices --json: " + result.stderr.decode())
    return json.loads(result.stdout)


def instruction_sets():
    """The values of MGLU_MAX_ISA on this machine, in ascending order."""
    return next(device["instruction_sets"] for device in devices() if device["backend"] == "cpu")


def variants(backends):
    """(name, backend, environment) of each way to compute."""
    if "ref" in backends:
        yield "ref", "ref", {}
    if "opencl" in backends:
        yield "opencl", "opencl", {}
    for isa in instruction_sets() if "cpu" in backends else []:
        # One thread: on a busy machine several would mostly wait for each other, and no result depends on the number.
        yield "cpu " + isa, "cpu", {"MGLU_MAX_ISA": isa, "MGLU_NUM_THREADS": "1"}


def snapshot(folder):
    """Every file under a folder with its size."""
    return sorted((str(path), path.stat().st_size if path.is_file() else 0) for path in folder.rglob("*"))


class ProgramTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def succeed(self, *arguments, **options):
        result = run(*arguments, **options)
        self.assertEqual((result.returncode, result.stderr), (0, b""), arguments)
        return result.stdout

    def refuse(self, status, words, *arguments, **options):
        """The program prints one line with these words and leaves no file behind."""
        before = snapshot(self.folder)
        result = run(*arguments, **options)
        lines = result.stderr.decode(errors="replace").splitlines()
        said = "%s\nstatus %d, stderr:\n%s" % (arguments, result.returncode, "\n".join(lines))
        self.assertEqual(result.returncode, status, said)
        if status == 2:
            self.assertIn("Try ", lines.pop(), said)
        self.assertEqual(len(lines), 1, said)
        self.assertTrue(lines[0].startswith("mglu"), said)
        for word in words:
            self.assertIn(word, lines[0], said)
        self.assertEqual(snapshot(self.folder), before, said)

    def on_each_variant(self, body, backends=("ref", "cpu")):
        """Calls body(backend, env) for each of variants()."""
        for name, backend, env in variants(backends):
            with self.subTest(name):
                body(backend, env)
