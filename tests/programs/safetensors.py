# SPDX-License-Identifier: MIT
"""Reads and writes safetensors files with nothing but the standard library."""

import json
import struct


class Tensor:
    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), data


FORMATS = {"F16": "e", "F32": "f", "F64": "d", "I8": "b", "U8": "B", "BOOL": "B", "I16": "h", "U16": "H", "I32": "i"}
FORMATS.update({"U32": "I", "I64": "q", "U64": "Q"})


def tensor(dtype, shape, values):
    """A tensor of these numbers; BF16 is the upper half of their f32, truncated."""
    if dtype == "BF16":
        words = (struct.pack("<f", value)[2:] for value in values)
        return Tensor(dtype, shape, b"".join(words))
    return Tensor(dtype, shape, struct.pack("<%d%s" % (len(values), FORMATS[dtype]), *values))


def values(source):
    """The numbers of a tensor."""
    if source.dtype == "BF16":
        padded = b"".join(b"\0\0" + source.data[i : i + 2] for i in range(0, len(source.data), 2))
        return list(struct.unpack("<%df" % (len(padded) // 4), padded))
    kind = FORMATS[source.dtype]
    return list(struct.unpack("<%d%s" % (len(source.data) // struct.calcsize(kind), kind), source.data))


def dequantised(quants, scales):
    """The numbers of a q8_0 (I8) or q4_0 (U8) matrix, whose rows are whole groups of 32."""
    numbers = values(quants)
    if quants.dtype == "U8":
        groups = [numbers[first : first + 16] for first in range(0, len(numbers), 16)]
        numbers = [nibble - 8 for group in groups for nibble in [b % 16 for b in group] + [b // 16 for b in group]]
    of_groups = values(scales)
    return [of_groups[index // 32] * number for index, number in enumerate(numbers)]


def raw(header, data=b""):
    """The bytes of a file with this header, given as text, as bytes or as an object for JSON."""
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    return struct.pack("<Q", len(header)) + header + data


def encode(tensors, metadata=None):
    """The bytes of a file with these named tensors."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, item in tensors.items():
        header[name] = {
            "dtype": item.dtype,
            "shape": item.shape,
            "data_offsets": [len(data), len(data) + len(item.data)],
        }
        data += item.data
    return raw(header, data)


def write(path, tensors, metadata=None):
    path.write_bytes(encode(tensors, metadata))


def read(path):
    """The named tensors and the metadata of a file."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = content[8 + length :]
    return {
        name: Tensor(item["dtype"], item["shape"], data[slice(*item["data_offsets"])]) for name, item in header.items()
    }, metadata
