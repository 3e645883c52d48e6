# SPDX-License-Identifier: MIT
"""Seeds of the targets whose input is a stream of numbers: API, DIFFERENTIAL, TRAIN, OPENCL and PLUGIN, from a
name to bytes."""

import random
import struct


def draws(seed, count, size):
    """`count` inputs of random bytes, the same in every run."""
    generator = random.Random(seed)
    return {f"draw-{i:02}": bytes(generator.randrange(256) for _ in range(size)) for i in range(count)}


def calm(inputs):
    """Without the bytes from 0xf8 on, which select values that must be refused: such sequences of calls get further."""
    return {name.replace("draw", "calm"): bytes(byte % 0xf8 for byte in content) for name, content in inputs.items()}


API = {
    **draws("api", 16, 400),
    **calm(draws("api calm", 48, 600)),
    "nothing": b"",
    # Findings: a queue, then names looked up whose text has a newline.
    "newline-in-a-name": b"\0\1\1\1\1\1\x13\x0d",
}

# Fields of fuzz_differential.c: the number of masks, dtypes, bits, activation, sizes, and so on to the seed.
DIFFERENTIAL = {**draws("differential", 48, 32), "nothing": b""}

# The same of fuzz_train.c.
TRAIN = {**draws("train", 24, 32), "nothing": b""}

# The first byte selects what fuzz_opencl.c does with the rest.
def variant(lines=4, mask_form=0, half_form=0):
    """A selection of the tuner as it is stored."""
    return struct.pack("<11i", 1, 1, 3, 1, 0, 2, 1, 32, lines, mask_form, half_form)


OPENCL = {
    "raw": b"\0\0" + b"mglucl1\0" + b"0123456789abcdef0123456789abcdef" + bytes(8) + struct.pack("<QQ", 1, 0) + b"x",
    "raw-long": b"\0\1\xff\xff\xff" + bytes(80),
    "raw-short-read": b"\0\2\10\0" + bytes(80),
    "file": b"\0\4" + b"mglucl1\0" + bytes(100),
    "file-empty": b"\0\4",
    "damaged": b"\1\120\0\1\0" + bytes(range(64)),
    "cut": b"\1\0\0\0\7" + bytes(range(64)),
    "whole": b"\1\0\0\0\0" + bytes(range(64)),
    "tuned": b"\2\0\3",
    "selected": b"\2\0\3" + variant(),
    "selected-plain": b"\2\1\0" + variant(),
    "selected-short": b"\2\0\3" + variant()[:-1],
    # Findings: whole entries with selections that no tuner makes.
    "forged-lines": b"\2\0\3" + variant(lines=0),
    "forged-many-lines": b"\2\0\3" + variant(lines=64),
    "forged-mask-form": b"\2\0\3" + variant(mask_form=4096),
    "forged-half-form": b"\2\0\3" + variant(half_form=-1),
}

# Missing functions, which numbers differ, the name, whether there is a table; then what the functions return.
COMPLETE = bytes(5) + b"\4fake"
PLUGIN = {
    **draws("plugin", 32, 200),
    "complete": COMPLETE + b"\0" + b"\0\2" + (b"\0\310\0\0\1\3abc\0\0" + bytes(9)) * 2 + bytes(40),
    "own-memory": COMPLETE + b"\0" + b"\0\1" + b"\0\310\0\1\0\3abc\0\0" + bytes(60),
    "no-table": COMPLETE + b"\377",
    "no-open": b"\1\0\0\0\0\4fake\0",
    "other-abi": b"\0\0\0\0\1\2\0\0\0\4fake\0",
    "other-size": b"\0\0\0\0\2\10\0\0\0\4fake\0",
    "taken-name": bytes(5) + b"\3cpu\0",
    "unavailable": b"\0\0\0\0\4\4fake\3why\0",
    "unavailable-without-reason": b"\0\0\0\0\4\4fake\0\0",
    "too-many-devices": COMPLETE + b"\0" + b"\0\310\377\377\377\177",
    "negative-devices": COMPLETE + b"\0" + b"\0\310\377\377\377\377",
}
