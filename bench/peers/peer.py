# SPDX-License-Identifier: MIT
"""Peers of mglu-bench in Python: peer.py torch | openblas. README.md has the protocol."""
import math
import os
import sys
import time

THREADS = os.environ.get("MGLU_BENCH_THREADS", "1")
# Set before the libraries are loaded: as many threads as mglu-bench, which sleep while others are measured.
os.environ.update(
    OMP_NUM_THREADS=THREADS,
    OMP_WAIT_POLICY="passive",
    OPENBLAS_NUM_THREADS=THREADS,
    OPENBLAS_THREAD_TIMEOUT="4",
)

SAMPLE_SECONDS = 1e-3
MOST_BYTES = 6 << 30


class Torch:
    """PyTorch: the naive layer of the paper, masked weights made beforehand, and the plain GLU."""

    variants = {"glu": ["f32", "bf16"], "naive": ["f32", "bf16"], "masked": ["f32", "bf16"]}

    def __init__(self):
        import torch

        torch.set_num_threads(int(THREADS))
        torch.manual_seed(1)
        torch.set_grad_enabled(False)
        self.torch = torch
        self.dtypes = {"f32": torch.float32, "bf16": torch.bfloat16}
        self.about = f"PyTorch {torch.__version__}"

    def normal(self, rows, columns, deviation, dtype):
        return (self.torch.randn(rows, columns) * deviation).to(self.dtypes[dtype])

    def mask(self, rows, columns, dtype):
        return (self.torch.rand(rows, columns) < 0.5).to(self.dtypes[dtype])

    def product(self, x, weight):
        return self.torch.nn.functional.linear(x, weight)

    def silu(self, gate):
        return self.torch.nn.functional.silu(gate)

    def check(self, y):
        return bool(self.torch.isfinite(y).all())


class Openblas:
    """Matrix products of the OpenBLAS that numpy was built with."""

    variants = {"glu": ["f32"], "masked": ["f32"]}

    def __init__(self):
        import numpy

        blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        if "openblas" not in blas["name"]:
            raise ImportError(f"numpy uses {blas['name']}, not OpenBLAS")
        self.numpy = numpy
        self.random = numpy.random.default_rng(1)
        self.about = f"OpenBLAS {blas['version']} through numpy {numpy.__version__}"

    def normal(self, rows, columns, deviation, dtype):
        return self.random.standard_normal((rows, columns), self.numpy.float32) * self.numpy.float32(deviation)

    def mask(self, rows, columns, dtype):
        return self.random.integers(0, 2, (rows, columns), self.numpy.int8).astype(self.numpy.float32)

    def product(self, x, weight):
        return x @ weight.T

    def silu(self, gate):
        return gate / (1 + self.numpy.exp(-gate))

    def check(self, y):
        return bool(self.numpy.isfinite(y).all())


class Case:
    """One layer with as many copies of its matrices as a cold run needs."""

    def __init__(self, library, name, d, h, batch, cold_bytes):
        self.library = library
        self.variant, self.dtype, masks = name.split(":")
        self.masks = int(masks)
        self.d, self.h = d, h
        self.one = self.matrix_count() * d * h * {"f32": 4, "bf16": 2}[self.dtype]
        self.copy_count = max(1, math.ceil(cold_bytes / self.one))
        self.x = library.normal(batch, h, 1, self.dtype)
        self.copies, self.next, self.calls = [], 0, 1

    def bytes(self):
        return self.copy_count * self.one

    def prepare(self):
        """Makes the matrices and determines the calls of a sample."""
        self.copies = [self.matrices() for _ in range(self.copy_count)]
        if not self.library.check(self.call()):
            raise ArithmeticError("the result is not finite")
        begin = time.perf_counter()
        self.call()
        self.calls = max(1, math.ceil(SAMPLE_SECONDS / (time.perf_counter() - begin)))

    def matrix_count(self):
        return {"glu": 2, "naive": 1 + self.masks, "masked": 2 * self.masks}[self.variant]

    def matrices(self):
        """Of one copy: glu: two; naive: W and the masks; masked: a gate and a value matrix per mask."""
        weight = self.library.normal(self.d, self.h, 0.05, self.dtype)
        if self.variant == "glu":
            return [weight, self.library.normal(self.d, self.h, 0.05, self.dtype)]
        masks = [self.library.mask(self.d, self.h, self.dtype) for _ in range(self.masks)]
        if self.variant == "naive":
            return [weight, *masks]
        return [part for mask in masks for part in (mask * weight, (1 - mask) * weight)]

    def pairs(self, matrices):
        """Gate and value matrices of each term."""
        if self.variant == "naive":
            weight = matrices[0]
            for mask in matrices[1:]:
                yield mask * weight, (1 - mask) * weight
        else:
            yield from zip(matrices[::2], matrices[1::2])

    def call(self):
        matrices = self.copies[self.next]
        self.next = (self.next + 1) % len(self.copies)
        product, silu = self.library.product, self.library.silu
        y = 0
        for gate, value in self.pairs(matrices):
            y = y + silu(product(self.x, gate)) * product(self.x, value)
        return y

    def time(self):
        self.call()
        begin = time.perf_counter()
        for _ in range(self.calls):
            self.call()
        return (time.perf_counter() - begin) / self.calls


def open_cases(library, op, d, h, batch, cold_bytes, masks, _dtype, _x_dtype):
    """The cases that fit into memory together, the small ones first, in the dtypes that the library is fast in."""
    if op != "projection":
        raise ValueError("measures projections only")
    names = [
        f"{variant}:{dtype}:{count}"
        for variant, dtypes in library.variants.items()
        for dtype in dtypes
        for count in (["0"] if variant == "glu" else masks.split(","))
    ]
    cases = [Case(library, name, int(d), int(h), int(batch), int(cold_bytes)) for name in names]
    free = MOST_BYTES
    for case in sorted(cases, key=Case.bytes):
        free -= case.bytes()
        if free >= 0:
            case.prepare()
    return {name: case for name, case in zip(names, cases) if case.copies}


def answer(library, cases, words):
    """The answer to one request; `cases` has the open cases."""
    if words[0] == "open":
        cases.clear()
        cases.update(open_cases(library, *words[1:]))
        return " ".join(["cases", *cases])
    if words[0] == "run":
        return f"us {1e6 * cases[words[1]].time():.3f}"
    raise ValueError(f"unknown request: {words[0]}")


def main():
    libraries = {"torch": Torch, "openblas": Openblas}
    if len(sys.argv) != 2 or sys.argv[1] not in libraries:
        sys.exit("usage: peer.py torch | openblas")
    try:
        library = libraries[sys.argv[1]]()
    except ImportError as error:
        print(f"error {error}", flush=True)
        return
    print(f"ready {library.about}", flush=True)
    cases = {}
    for line in sys.stdin:
        try:
            print(answer(library, cases, line.split()), flush=True)
        except Exception as error:  # any error is reported to mglu-bench, which goes on
            print("error", " ".join(str(error).split()) or type(error).__name__, flush=True)


if __name__ == "__main__":
    main()
