# SPDX-License-Identifier: MIT
"""Feed-forward blocks called from PyTorch: masked ones through mglu beside a SwiGLU of torch's own operators.

Both are timed in turns in one process, with as many threads, and the median of the ratios of all rounds is printed.
Each has so many copies of its weights that none is in a cache when it is used again. Needs mglu, torch and numpy.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from turns import DTYPES, add_options, describe, in_turns, median, ratios

import mglu


def swiglu(arguments, random):
    """A plain block of torch's operators."""
    shapes = ((arguments.d, arguments.h), (arguments.d, arguments.h), (arguments.h, arguments.d))
    gate, value, down = (torch.from_numpy(random.standard_normal(shape, np.float32)).to(DTYPES[arguments.dtype])
                         for shape in shapes)
    return lambda x: F.linear(F.silu(F.linear(x, gate)) * F.linear(x, value), down)


def masked(arguments, masks, context, random):
    weight = random.standard_normal((arguments.d, arguments.h), np.float32)
    bits = random.integers(0, 2, (masks, arguments.d, arguments.h), np.uint8)
    down = random.standard_normal((arguments.h, arguments.d), np.float32)
    return mglu.Layer(mglu.Weights(weight, bits, down=down, dtype=arguments.dtype, device=context.device("cpu")))


def calls_of(blocks, x, calls):
    """The copies of a block take turns."""
    def call_all():
        for call in range(calls):
            blocks[call % len(blocks)](x)
    return call_all


def compare(arguments, ours, theirs, x):
    """Medians of both in ms, and of the ratio."""
    calls = arguments.calls or 3 * arguments.copies
    ours, theirs = in_turns(arguments, [calls_of(ours, x, calls), calls_of(theirs, x, calls)])
    return median(ours) / calls * 1e3, median(theirs) / calls * 1e3, median(ratios(ours, theirs))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--h", type=int, default=2048, help="hidden size (default: %(default)s)")
    parser.add_argument("--d", type=int, default=8192, help="intermediate size (default: %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="of weights, x and y (default: %(default)s)")
    parser.add_argument("--masks", type=int, nargs="+", default=[1, 2, 4], help="numbers of masks (default: 1 2 4)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="batch sizes (default: 1)")
    parser.add_argument("--calls", type=int, default=0, help="in a round (default: 3 for each copy)")
    parser.add_argument("--copies", type=int, default=4, help="of the weights (default: %(default)s)")
    add_options(parser, rounds=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    context, random = mglu.Context(threads=arguments.threads), np.random.default_rng(1)
    theirs = [swiglu(arguments, random) for _ in range(arguments.copies)]
    print(f"{describe(arguments, context.device('cpu'))}, {arguments.dtype}")
    print("masks  batch   mglu ms  torch ms  times as fast")
    for masks in arguments.masks:
        ours = [masked(arguments, masks, context, random) for _ in range(arguments.copies)]
        for batch in arguments.batch:
            x = torch.randn(batch, arguments.h).to(DTYPES[arguments.dtype])
            print("{:5}  {:5}  {:8.4f}  {:8.4f}  {:13.2f}".format(masks, batch, *compare(arguments, ours, theirs, x)))


if __name__ == "__main__":
    main()
