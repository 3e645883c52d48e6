# SPDX-License-Identifier: MIT
"""What the safetensors package reads is read, and passes through `mglu pack`; what it refuses is refused."""

import json
import pathlib
import struct
import sys
import unittest

try:
    import safetensors
except ImportError:
    print("skipped: the Python package safetensors was not found; tools/setup hub installs it")
    sys.exit(77)

# Last in the path: it has a safetensors.py of its own.
sys.path.append(str(pathlib.Path(__file__).parent.parent / "programs"))
from harness import ProgramTest, run  # noqa: E402

# A masked layer of one row of 32 weights and one mask: 1.0 and 0.5, everything gate.
WEIGHT, MASK = struct.pack("<32f", *[1.0] * 16, *[0.5] * 16), b"\1" * 32
LAYER = {"p.weight": {"dtype": "F32", "shape": [1, 32], "data_offsets": [0, 128]},
         "p.mask": {"dtype": "BOOL", "shape": [1, 32], "data_offsets": [128, 160]}}


def beside(dtype, shape, size, name="other"):
    """The header of a file with another tensor, of `size` bytes, beside the layer."""
    return json.dumps({**LAYER, name: {"dtype": dtype, "shape": shape, "data_offsets": [160, 160 + size]}}), size


def edited(change, size=0):
    return change(json.dumps(LAYER)), size


DTYPES = {"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64, "F64": 64, "I64": 64,
          "U64": 64, "I16": 16, "U16": 16, "U32": 32, "BOOL": 8, "F9": 9}
# Name: header, and how many bytes follow the layer's data.
FILES = {
    "nothing else": edited(str),
    **{"a tensor of " + dtype: beside(dtype, [4], bits // 2) for dtype, bits in DTYPES.items()},
    "half a byte of F4": beside("F4", [3], 2),
    "a scalar": beside("F32", [], 4),
    "a tensor without elements": beside("F32", [0, 7], 0),
    "a large size beside 0": beside("U8", [1 << 40, 0], 0),
    "sizes whose product overflows beside 0": beside("U8", [1 << 62, 4, 0], 0),
    "rank 9": beside("U8", [1] * 9, 1),
    "rank 40": beside("U8", [1] * 40, 1),
    "an empty name": beside("U8", [1], 1, ""),
    "a name of many characters": beside("U8", [1], 1, 'größe/\u4e2d "q" \\ \n\t'),
    "__metadata__ null": edited(lambda text: text[:-1] + ', "__metadata__": null}'),
    "__metadata__ of nothing": edited(lambda text: text[:-1] + ', "__metadata__": {}}'),
    "__metadata__ last": edited(lambda text: text[:-1] + ', "__metadata__": {"a": "b"}}'),
    "a number in __metadata__": edited(lambda text: text[:-1] + ', "__metadata__": {"a": 1}}'),
    "null in __metadata__": edited(lambda text: text[:-1] + ', "__metadata__": {"a": null}}'),
    "a list as __metadata__": edited(lambda text: text[:-1] + ', "__metadata__": []}'),
    "a leading space": edited(lambda text: " " + text),
    "a leading newline": edited(lambda text: "\n" + text),
    "spaces behind": edited(lambda text: text + " " * 1001),
    "other white space behind": edited(lambda text: text + "\n\t  \r\n"),
    "NUL behind": edited(lambda text: text + "\0" * 4),
    "an indented header": edited(lambda text: json.dumps(json.loads(text), indent=3)),
    "another key in an entry": edited(lambda text: text.replace('"dtype": "F32"', '"dtype": "F32", "more": [1]')),
    "a key of an entry twice": edited(lambda text: text.replace('"dtype": "F32"', '"dtype": "F32", "dtype": "F32"')),
    "a size that is no whole number": edited(lambda text: text.replace("[1, 32]", "[1.0, 32]", 1)),
    "a negative size": edited(lambda text: text.replace("[1, 32]", "[-1, 32]", 1)),
    "a size as text": edited(lambda text: text.replace("[1, 32]", '["1", 32]', 1)),
    "a leading zero": edited(lambda text: text.replace("[1, 32]", "[01, 32]", 1)),
    "an exponent": edited(lambda text: text.replace("[1, 32]", "[1e0, 32]", 1)),
    "three offsets": edited(lambda text: text.replace("[0, 128]", "[0, 128, 128]")),
    "no offsets": edited(lambda text: text.replace('"data_offsets"', '"offsets"')),
    "a hole": edited(lambda text: text.replace("[128, 160]", "[132, 164]"), 4),
    "an overlap": edited(lambda text: text.replace("[128, 160]", "[96, 128]")),
    "bytes behind the last tensor": edited(str, 8),
    "fewer bytes": edited(str, -1),
    "a trailing comma": edited(lambda text: text[:-1] + ",}"),
    "a comment": edited(lambda text: text[:-1] + "/* */}"),
    "apostrophes": edited(lambda text: text.replace('"', "'")),
    "a byte order mark": edited(lambda text: "\ufeff" + text),
    "escapes": edited(lambda text: text.replace("p.mask", "\\u0070\\u002emask")),
    "half a pair of surrogates": edited(lambda text: text[:-1] + ', "\\ud83d": ' + json.dumps(
        {"dtype": "U8", "shape": [1], "data_offsets": [160, 161]}) + "}", 1),
    "an unknown escape": edited(lambda text: text.replace("p.mask", "p\\.mask")),
    "a list": edited(lambda text: "[" + text + "]"),
    "two objects": edited(lambda text: text + "{}"),
}


class SafetensorsTest(ProgramTest):
    def write(self, header, size):
        content, data = header.encode(), WEIGHT + MASK
        data = data + bytes(range(1, size + 1)) if size >= 0 else data[:size]
        path = self.folder / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(content)) + content + data)
        return path

    def package_reads(self, path):
        """The tensors as the package reads them, or None."""
        try:
            return dict(safetensors.deserialize(path.read_bytes()))
        except safetensors.SafetensorError:
            return None

    def test_each_file_is_read_or_refused_as_the_package_does(self):
        packed = self.folder / "packed.safetensors"
        judged = {True: 0, False: 0}
        for name, (header, size) in FILES.items():
            path = self.write(header, size)
            want = self.package_reads(path)
            judged[want is not None] += 1
            result = run("pack", path, packed)
            with self.subTest(name):
                if want is None:
                    self.refuse(1, ["model.safetensors"], "inspect", path)
                    self.refuse(1, ["model.safetensors"], "pack", path, packed)
                    continue
                self.assertEqual((result.returncode, result.stderr), (0, b""))
                self.assertEqual(self.others(self.package_reads(packed)), self.others(want))
        self.assertGreater(min(judged.values()), 15, "a package that reads all or nothing is no judge")

    def others(self, tensors):
        """Those that pack does not change."""
        return {name: (item["dtype"], item["shape"], bytes(item["data"])) for name, item in tensors.items()
                if not name.startswith("p.mask")}


if __name__ == "__main__":
    unittest.main()
