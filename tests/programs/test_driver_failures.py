# SPDX-License-Identifier: MIT
"""mglu run on a driver each call of which fails in turn: an error that names the call, or the right output.

MGLU_TEST_DRIVER is the folder of a library that makes calls fail: of tests/unit/cuda/fake or tests/unit/opencl.
"""

import os
import unittest

import safetensors
from harness import MODEL, ProgramTest, run

LAYER = "model.layers.0.mlp"
DRIVER = os.environ["MGLU_TEST_DRIVER"]

# Backend: a code of the driver and its text.
FAILURES = {"cuda": (2, "CUDA_ERROR_OUT_OF_MEMORY (2)"), "opencl": (-5, "CL_OUT_OF_RESOURCES (-5)")}


class DriverTest(ProgramTest):
    backend = os.environ["MGLU_TEST_BACKEND"]

    def setUp(self):
        super().setUp()
        self.model = self.folder / "packed"
        self.succeed("pack", MODEL, self.model)
        source = safetensors.read(MODEL / "ffn_io.safetensors")[0][LAYER + ".x"]
        x = safetensors.tensor("F32", [1, source.shape[1]], safetensors.values(source)[: source.shape[1]])
        safetensors.write(self.folder / "x.safetensors", {"x": x})

    def run_layer(self, out, **env):
        libraries = DRIVER + ":" + os.environ.get("LD_LIBRARY_PATH", "")
        return run(
            "run", self.model / "model.safetensors", "--layer", LAYER, "--x", "%s:x" % (self.folder / "x.safetensors"),
            "--backend", self.backend, "--out", "%s:y" % out, env={"LD_LIBRARY_PATH": libraries, **env},
        )

    def check(self, call, code, result, out, want):
        errors = result.stderr.decode(errors="replace")
        said = "%s fails, status %d: %s" % (call, result.returncode, errors)
        if result.returncode == 0:
            self.assertEqual((out.read_bytes(), errors), (want, ""), said)
            return
        self.assertEqual((result.returncode, len(errors.splitlines())), (1, 1), said)
        self.assertIn(call, errors, said)
        self.assertIn(code, errors, said)
        self.assertFalse(out.exists(), said)

    def test_each_call(self):
        healthy, out, name = (self.folder / name for name in ("healthy", "out", "name"))
        self.assertEqual(self.run_layer(healthy).returncode, 0)
        want = healthy.read_bytes()
        number, text = FAILURES[self.backend]
        for k in range(10000):
            result = self.run_layer(
                out, MGLU_FAILING_CALL=str(k), MGLU_FAILURE=str(number), MGLU_FAILED_CALL_FILE=str(name)
            )
            if not name.exists():
                break
            self.check(name.read_text(), text, result, out, want)
            name.unlink()
            out.unlink(missing_ok=True)
        print("%d calls failed" % k)
        self.assertGreater(k, 30)


if __name__ == "__main__":
    unittest.main()
