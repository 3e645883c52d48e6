# SPDX-License-Identifier: MIT
"""Seeds of the target that reads GGUF files: GGUF, from a name to the bytes."""

import struct

U8, U32, BOOL, TEXT, ARRAY = 0, 4, 7, 8, 9
F32, F16, Q4_0, Q8_0, Q6_K, I8, BF16 = 0, 1, 2, 8, 14, 24, 30
# Elements and bytes of a block.
BLOCKS = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q8_0: (32, 34), Q6_K: (256, 210), I8: (1, 1), BF16: (1, 2)}


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def entry(key, kind, value):
    """One key of the metadata; `value` as bytes, or a text."""
    return text(key) + struct.pack("<I", kind) + (text(value) if kind == TEXT else value)


def bytes_of(kind, sizes):
    count = 1
    for size in sizes:
        count *= size
    elements, size = BLOCKS.get(kind, (1, 4))
    return count // elements * size


def file(tensors, metadata=(), version=3, counts=None, data=None):
    """A file of tensors {name: (type, sizes, columns first)}; `counts` and `data` replace what fits to them."""
    parts, infos, offset = [], b"", 0
    for name, (kind, sizes) in tensors.items():
        infos += text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)
        size = bytes_of(kind, sizes)
        offset += (size + 31) // 32 * 32
        if data is None:  # small numbers, also as a scale of 16 bits
            parts.append(bytes(k * 7 % 64 for k in range(size)).ljust((size + 31) // 32 * 32, b"\0"))
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(metadata)))) + b"".join(metadata) + infos
    return head.ljust((len(head) + 31) // 32 * 32, b"\0") + (b"".join(parts) if data is None else data)


def layer(gate, up, down, rows=32, columns=32, prefix="blk.0.ffn_"):
    return {f"{prefix}gate.weight": (gate, [columns, rows]), f"{prefix}up.weight": (up, [columns, rows]),
            f"{prefix}down.weight": (down, [rows, columns])}


LLAMA = entry("general.architecture", TEXT, "llama")
MASKED = {"blk.2.ffn_mglu.weight": (Q4_0, [32, 2]), "blk.2.ffn_mglu.mask": (I8, [4, 1, 1, 2]),
          "blk.2.ffn_mglu.gate_bias": (F32, [2, 1]), "blk.2.ffn_down.weight": (BF16, [2, 3])}
EXPERTS = {"blk.1.ffn_gate_exps.weight": (F16, [3, 2, 2]), "blk.1.ffn_up_exps.weight": (F16, [3, 2, 2]),
           "blk.1.ffn_down_exps.weight": (F16, [2, 3, 2])}

GGUF = {
    # Files that must be read.
    "nothing": file({}),
    "plain": file(layer(F32, F32, F32, 2, 3), [LLAMA]),
    "halves": file(layer(F16, BF16, F16, 2, 3), [LLAMA], version=2),
    "q8_0": file(layer(Q8_0, Q8_0, Q8_0), [LLAMA]),
    "q4_0": file(layer(Q4_0, Q4_0, Q4_0), [LLAMA]),
    "mixed": file(layer(Q4_0, Q8_0, F16), [LLAMA]),
    "experts": file(EXPERTS, [entry("general.architecture", TEXT, "qwen3moe")]),
    "masked": file(MASKED, [entry("mglu.layer.2", TEXT, "a.up_proj")]),
    "fused": file({"blk.0.ffn_up.weight": (F16, [3, 4]), "blk.0.ffn_down.weight": (F16, [2, 3])},
                  [entry("general.architecture", TEXT, "phi3")]),
    "biases": file({**layer(F32, F32, F32, 2, 3), "blk.0.ffn_gate.bias": (F32, [2]), "blk.0.ffn_up.bias": (F32, [2]),
                    "blk.0.ffn_down.bias": (F32, [3])}, [LLAMA]),
    "other-tensors": file({"token_embd.weight": (Q6_K, [256, 1]), "output_norm.weight": (F32, [3])}, [LLAMA]),
    "metadata": file(layer(F32, F32, F32, 1, 1),
                     [LLAMA, entry("general.alignment", U32, struct.pack("<I", 32)), entry("flag", BOOL, b"\1"),
                      entry("bytes", ARRAY, struct.pack("<IQ", U8, 3) + b"abc"),
                      entry("nested", ARRAY, struct.pack("<IQIQ", ARRAY, 1, TEXT, 1) + text("a"))]),
    # Files that must be refused, or whose layers must.
    "bad-magic": b"GGUG" + file({})[4:],
    "bad-short": b"GGUF\3\0\0",
    "bad-version": file({}, version=1),
    "bad-big-endian": file({}, version=3 << 24),
    "bad-counts": file({}, counts=(2**63, 2**64 - 1)),
    "bad-alignment": file({}, [entry("general.alignment", U32, struct.pack("<I", 0))]),
    "bad-nesting": file({}, [entry("a", ARRAY, 64 * struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", U8, 0))]),
    "bad-kind": file({}, [entry("a", 99, b"")]),
    "bad-twice": file({}, [LLAMA, LLAMA]),
    "bad-product": file({"a": (F32, [2**32, 2**32])}, data=b""),
    "bad-block": file({"blk.0.ffn_up.weight": (Q8_0, [33, 1])}),
    "bad-cut": file(layer(Q8_0, Q8_0, Q8_0), [LLAMA], data=bytes(100)),
    "bad-name": file({"": (F32, [1]), "\n": (F32, [1])}),
    "bad-architecture": file(layer(F32, F32, F32, 2, 3), [entry("general.architecture", TEXT, "none of them")]),
    "bad-sizes": file({**layer(F32, F32, F32, 2, 3), "blk.0.ffn_down.weight": (F32, [5, 3])}, [LLAMA]),
    "bad-nan": file(layer(F16, F16, F16, 1, 1), [LLAMA], data=96 * b"\x7e"),
    # Finding: packed as they are, into a safetensors file that could not be read.
    "bad-scale": file(layer(Q4_0, Q4_0, Q4_0), [LLAMA], data=64 * 27 * b"\x7e"),
}
