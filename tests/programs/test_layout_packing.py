# SPDX-License-Identifier: MIT
"""Layers of every layout are converted and quantised; the numbers that are stored have their right values."""

import math
import random
import struct
import unittest
from fractions import Fraction

import safetensors
from layers import D, EXPERTS, FUSED, H, ORDERS, PAIRS, Glu, Masked
from layers import flat, fused, halves, masked, matrix, pair, stored, transposed, under
from layout_test import LayoutTest
from safetensors import tensor


class PackTest(LayoutTest):
    def dequantised(self, tensors, name):
        found = tensors[name]
        numbers = safetensors.dequantised(found, tensors[name + "_scale"])
        columns = found.shape[-1] * (2 if found.dtype == "U8" else 1)
        return [numbers[first : first + columns] for first in range(0, len(numbers), columns)]

    def test_plain_layers_are_quantised(self):
        for dtype in ("q8_0", "q4_0"):
            for order, join in ORDERS.items():
                glu = Glu(dtype, biases=True)
                self.write(under("m", fused(glu, FUSED["w12"], join)))
                packed = self.folder / "packed.safetensors"
                self.succeed("pack", self.model, packed, "--dtype", dtype, "--fused", order)
                rows = self.dequantised(safetensors.read(packed)[0], "m.w12.weight")
                glu.gate, glu.value = (rows[:D], rows[D:]) if join is halves else (rows[0::2], rows[1::2])
                glu.down = self.dequantised(safetensors.read(packed)[0], "m.w3.weight")
                with self.subTest(dtype + " " + order):
                    self.check("m", glu, file=packed)

    def test_stacks_are_quantised(self):
        experts = [Glu(("q", i)) for i in range(EXPERTS)]
        self.write({"e.gate_up_proj": stored("F64", *(halves(one.gate, one.value) for one in experts)),
                    "e.down_proj": stored("F16", *(one.down for one in experts))})
        packed = self.folder / "packed.safetensors"
        self.succeed("pack", self.model, packed, "--dtype", "q8_0", "--fused", "halves")
        tensors = safetensors.read(packed)[0]
        self.assertEqual(tensors["e.gate_up_proj_scale"].shape, [EXPERTS, 2 * D, H // 32])
        rows, down = self.dequantised(tensors, "e.gate_up_proj"), self.dequantised(tensors, "e.down_proj")
        for i, expert in enumerate(experts):
            own = rows[2 * D * i : 2 * D * (i + 1)]
            expert.gate, expert.value, expert.down = own[:D], own[D:], down[H * i : H * (i + 1)]
            self.check("e.%d" % i, expert, file=packed)

    def test_stacks_of_rows_of_outputs_are_converted_but_not_quantised(self):
        experts = [Glu(("t", i)) for i in range(EXPERTS)]
        self.write({"e.gate_up_proj": stored("F32", *(transposed(halves(one.gate, one.value)) for one in experts)),
                    "e.down_proj": stored("F32", *(transposed(one.down) for one in experts))})
        packed = self.folder / "packed.safetensors"
        words = ["'e.gate_up_proj'", "[experts, inputs, outputs]"]
        self.refuse(1, words, "pack", self.model, packed, "--dtype", "q8_0", "--fused", "halves")
        self.succeed("pack", self.model, packed, "--dtype", "bf16", "--fused", "halves")
        self.check("e.1", experts[1], file=packed)

    def gguf(self, prefix, layers, *options):
        """Layers in the model's file compute the same in GGUF, which has their matrices and biases in order."""
        packed = self.folder / "packed.gguf"
        self.succeed("pack", self.model, packed, "--activation", "silu", *options)
        for i, layer in enumerate(layers):
            self.check(prefix % i if "%" in prefix else prefix, layer, file=packed)

    def test_every_layout_in_gguf(self):
        glu, experts = Glu("gguf", biases=True), [Glu(("gguf", i)) for i in range(EXPERTS)]
        for dtype in ("F32", "F64"):
            self.write(under("m", pair(glu, PAIRS["w1, w3"], dtype)))
            self.gguf("m", [glu])
            for order, join in ORDERS.items():
                with self.subTest(dtype + " " + order):
                    self.write(under("m", fused(glu, FUSED["w12"], join, dtype)))
                    self.refuse(1, ["w12", "--fused"], "pack", self.model, self.folder / "x.gguf")
                    self.gguf("m", [glu], "--fused", order)
                    joined = [join(one.gate, one.value) for one in experts]
                    self.write({"e.gate_up_proj": stored(dtype, *joined),
                                "e.down_proj": stored(dtype, *(one.down for one in experts))})
                    self.gguf("e.%d", experts, "--fused", order)
                    self.write({"e.gate_up_proj": stored(dtype, *map(transposed, joined)),
                                "e.down_proj": stored(dtype, *(transposed(one.down) for one in experts))})
                    self.gguf("e.%d", experts, "--fused", order)

    def test_masked_layers_in_gguf(self):
        layer = Masked("gguf", biases=True)
        for dtype in ("BOOL", "I64", "F64", "F16"):
            tensors = masked(layer, "up_proj", "down_proj", "F64")
            zero = 0 if dtype in ("BOOL", "I64") else -1
            logits = [bit or zero for mask in layer.masks for bit in flat(mask)]
            tensors["up_proj.mask"] = tensor(dtype, [len(layer.masks), D, H], logits)
            self.write(under("m", tensors))
            with self.subTest(dtype):
                self.gguf("m", [layer])
                self.gguf("m", [layer], "--dtype", "f32")

    def test_a_down_projection_that_gguf_would_lose(self):
        self.write(under("m", masked(Masked("lost"), "w3", "w2")))
        self.refuse(1, ["'m.w3'", "up_proj"], "pack", self.model, self.folder / "x.gguf", "--activation", "silu")

    def test_routers_of_every_dtype(self):
        packed = self.folder / "packed.safetensors"
        numbers = flat(matrix(2, H, "router"))
        for dtype in ("F32", "F16", "BF16", "F64"):
            layer = masked(Masked("router"), "up_proj", "down_proj")
            self.write(under("m", {**layer, "up_proj.router.weight": tensor(dtype, [2, H], numbers)}))
            self.succeed("pack", self.model, packed)
            with self.subTest(dtype):
                self.assertEqual(safetensors.values(safetensors.read(packed)[0]["m.up_proj.router.weight"]), numbers)
        self.write(under("m", {**layer, "up_proj.router.weight": tensor("I32", [2, H], [1] * 2 * H)}))
        self.refuse(1, ["router.weight'", "I32"], "pack", self.model, self.folder / "other.safetensors")

    def test_f64_is_rounded_once(self):
        """Numbers just beside the middle of two neighbours: rounded to f32 first, some would end on the wrong side."""
        source = random.Random(1)
        numbers = []
        for bits in (7, 10, 23):
            for _ in range(300):
                number = source.choice((-1, 1)) * (1 + (source.getrandbits(bits) + 0.5) / 2**bits)
                beside = source.choice((0, -1, 1)) * 2.0 ** -source.randint(30, 52)
                numbers.append((number + beside) * 2.0 ** source.choice((0, 3, -3, -14, -20, -24)))
        numbers += [0.0, -0.0, 2.0**-149, 2.0**-150, 1.5 * 2.0**-150, 2.0**-25, 2.0**-25 * (1 + 2.0**-40), 5e-324]
        numbers += [65519.99]
        numbers += [1.0] * (-len(numbers) % H)
        rows = len(numbers) // H
        self.write({"w1.weight": tensor("F64", [rows, H], numbers), "w3.weight": tensor("F64", [rows, H], numbers)})
        packed = self.folder / "packed.safetensors"
        for dtype, rounded in (("f16", f16_bits), ("bf16", bf16_bits), ("f32", f32_bits)):
            self.succeed("pack", self.model, packed, "--dtype", dtype)
            with self.subTest(dtype):
                self.assertEqual(safetensors.read(packed)[0]["w1.weight"].data, b"".join(map(rounded, numbers)))

    def test_f64_that_overflows_is_refused(self):
        self.write({"w1.weight": tensor("F64", [1, 2], [1.0, 1e39]), "w3.weight": tensor("F64", [1, 2], [1.0, 1.0])})
        self.refuse(1, ["'w1.weight'", "[0, 1]", "f32"], "pack", self.model, self.folder / "out", "--dtype", "f32")

    def test_layers_without_masks_need_a_dtype(self):
        self.write(under("m", pair(Glu("none"), PAIRS["w1, w3"])))
        self.refuse(1, ["nothing to pack", "no masks", "--dtype"], "pack", self.model, self.folder / "out.safetensors")


def f16_bits(number):
    return struct.pack("<e", number)


def f32_bits(number):
    return struct.pack("<f", number)


def bf16_bits(number):
    """The nearest bf16, ties to even, in exact arithmetic."""
    exponent = max(math.frexp(number)[1] - 8, -133) if number else 0
    steps = round(Fraction(abs(number)) / Fraction(2) ** exponent)  # to even
    bits = struct.unpack("<I", struct.pack("<f", math.ldexp(steps, exponent)))[0] >> 16
    return struct.pack("<H", bits | (0x8000 if math.copysign(1, number) < 0 else 0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
