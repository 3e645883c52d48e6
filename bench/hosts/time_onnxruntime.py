# SPDX-License-Identifier: MIT
"""Feed-forward blocks in ONNX Runtime: this library's operator and the runtime's own SwiGLU, timed in turn.

    time_onnxruntime.py LIBRARY [--help]

LIBRARY is the shared library of examples/onnxruntime. The runtime's own operators compute in float32: on x86-64 they
have no others. Times are medians of one call of run(), with everything that Python does for it.
"""
import argparse
import time

import ml_dtypes
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

TYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
SAMPLE_SECONDS = 2e-3


def session(options, nodes, initializers, library=None):
    tensors = [numpy_helper.from_array(array, name) for name, array in initializers.items()]
    graph = helper.make_graph(nodes, "block",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens", options.hidden])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], tensors)
    model = helper.make_model(graph, ir_version=10,
                              opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("mglu", 1)])
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    # Else the threads of the session that is not measured take cores from the other.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if library:
        session_options.register_custom_ops_library(library)
    return onnxruntime.InferenceSession(model.SerializeToString(), session_options)


def matrices(options, dtype):
    random = np.random.default_rng(1)
    h, d = options.hidden, options.intermediate
    return [(0.05 * random.standard_normal(shape, np.float32)).astype(dtype) for shape in ((d, h), (d, h), (h, d))]


def masks(options):
    """Words of the packed format, whose padding bits are 0."""
    bits = np.random.default_rng(2).random((options.intermediate, options.masks, options.hidden)) < 0.5
    padded = np.pad(bits, ((0, 0), (0, 0), (0, -options.hidden % 32)))
    words = np.packbits(padded, axis=2, bitorder="little").view("<u4")
    return np.ascontiguousarray(words.transpose(0, 2, 1))


def operator(options):
    weight, value, down = matrices(options, TYPES[options.dtype])
    if options.masks:
        value = masks(options)
    weights = {"weight": weight, "second": value, "down": down}
    return session(options, [helper.make_node("GatedLinearUnit", ["x", *weights], ["y"], domain="mglu")], weights,
                   options.library)


def own_operators(options):
    gate, value, down = (np.ascontiguousarray(matrix.T) for matrix in matrices(options, np.float32))
    nodes = [helper.make_node("MatMul", ["x", "gate"], ["g"]), helper.make_node("MatMul", ["x", "value"], ["v"]),
             helper.make_node("Sigmoid", ["g"], ["s"]), helper.make_node("Mul", ["g", "s"], ["a"]),
             helper.make_node("Mul", ["a", "v"], ["z"]), helper.make_node("MatMul", ["z", "down"], ["y"])]
    return session(options, nodes, {"gate": gate, "value": value, "down": down})


def seconds(run, x, calls):
    begin = time.perf_counter()
    for _ in range(calls):
        run(None, x)
    return (time.perf_counter() - begin) / calls


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("library")
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=8192)
    parser.add_argument("--masks", type=int, default=4, help="0: a plain GLU")
    parser.add_argument("--dtype", choices=TYPES, default="f16", help="of the operator's weights")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    x = {"x": np.random.default_rng(3).standard_normal((options.batch, options.hidden), np.float32)}
    runs = {"operator": operator(options).run, "own operators": own_operators(options).run}
    calls = {name: 1 + int(SAMPLE_SECONDS / min(seconds(run, x, 1) for _ in range(3))) for name, run in runs.items()}
    times = {name: [] for name in runs}
    for i in range(options.rounds):
        for name in sorted(runs, reverse=i % 2):
            times[name].append(seconds(runs[name], x, calls[name]))
    for name, samples in times.items():
        print(f"{name}: {1e6 * np.median(samples):.1f} us")
    print(f"ratio: {np.median(np.divide(times['own operators'], times['operator'])):.3f}")


if __name__ == "__main__":
    main()
