# SPDX-License-Identifier: MIT
"""The library's enums in the OpenCL kernels. Needs MGLU_SOURCE, the root of the sources."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["MGLU_SOURCE"])
TYPES = SOURCE / "include" / "mglu" / "types.h"


def embed(header, source):
    return subprocess.run([sys.executable, SOURCE / "backends" / "opencl" / "embed.py", "--enums", header, source],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


class EmbedTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.source = self.folder / "kernels.cl"
        self.source.write_text("#include <stdint.h>\nint kernels;\n")

    def test_kernels_have_every_dtype_and_activation_with_its_value(self):
        result = embed(TYPES, self.source)
        program = bytes(int(number) for number in re.findall(r"\d+", result.stdout)).decode()
        values = re.findall(r"MGLU_(?:DTYPE|ACTIVATION)_\w+ = \d+", TYPES.read_text())
        self.assertGreaterEqual(len(values), 11)
        for value in values:
            self.assertIn(value, program)
        self.assertTrue(program.endswith("mglu_mask_form;\nint kernels;\n"), program[-200:])

    def test_a_header_whose_enums_cannot_be_read_fails_the_build(self):
        for text in ("typedef enum { A = 0 } a;\n", "enum a { A = 0 };\n"):
            header = self.folder / "types.h"
            header.write_text(text)
            result = embed(header, self.source)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("types.h: found 0 enums", result.stderr)


if __name__ == "__main__":
    unittest.main()
