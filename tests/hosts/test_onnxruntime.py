# SPDX-License-Identifier: MIT
"""GatedLinearUnit of examples/onnxruntime against the same layers of ONNX Runtime's own operators.

Both are compared with sums in float64, within a bound for sums in float32. MGLU_ORT is the shared library.
"""
import itertools
import os
import sys
import unittest

try:
    import ml_dtypes
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    print(f"skipped: the Python package {error.name} was not found; tools/hosts/setup installs it")
    sys.exit(77)

H, D, OUTPUT, TOKENS = 256, 1024, 96, 64
TYPES = {
    "f32": (np.float32, TensorProto.FLOAT, 2.0**-24),
    "f16": (np.float16, TensorProto.FLOAT16, 2.0**-11),
    "bf16": (ml_dtypes.bfloat16, TensorProto.BFLOAT16, 2.0**-8),
}


def packed_words(masks):
    """bool [n_m, d, h] as the words of the packed format, uint32 [d, ceil(h / 32), n_m]."""
    padded = np.pad(masks, ((0, 0), (0, 0), (0, -masks.shape[2] % 32)))
    words = np.packbits(padded, axis=2, bitorder="little").view("<u4")
    return np.ascontiguousarray(words.transpose(1, 2, 0))


class Layer:
    """Weights of a dtype, and masks where n_masks is not 0."""

    def __init__(self, dtype, n_masks, has_down):
        random = np.random.default_rng(1)
        numpy_type = TYPES[dtype][0]
        self.weight, self.value, self.down = (
            (0.06 * random.standard_normal(shape)).astype(numpy_type) for shape in ((D, H), (D, H), (OUTPUT, D)))
        self.masks = random.random((n_masks, D, H)) < 0.5
        self.down = self.down if has_down else None

    def pairs(self):
        """Gate and value matrices of each term."""
        zero = self.weight.dtype.type(0)
        if not len(self.masks):
            return [(self.weight, self.value)]
        return [(np.where(mask, self.weight, zero), np.where(mask, zero, self.weight)) for mask in self.masks]

    def wanted(self, x):
        """y in float64, and how far a computation in float32 may be from it."""
        x, z, error = x.astype(np.float64), 0, 0
        unit = (H + D + 64) * 2.0**-24
        for gate, value in self.pairs():
            gate, value = gate.astype(np.float64), value.astype(np.float64)
            g, v = x @ gate.T, x @ value.T
            activated = g / (1 + np.exp(-g))
            size = np.abs(x) @ (np.abs(gate) + np.abs(value)).T  # the value may be total less gate
            z = z + activated * v
            error = error + unit * size * (1.1 * np.abs(v) + np.abs(activated) + 1)
        if self.down is None:
            return z, error
        down = self.down.astype(np.float64)
        return z @ down.T, error @ np.abs(down).T + unit * np.abs(z) @ np.abs(down).T


def session(nodes, initializers, threads=2, library=os.environ["MGLU_ORT"]):
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in initializers.items()]
    graph = helper.make_graph(nodes, "test", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens", H])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], tensors)
    model = helper.make_model(graph, ir_version=10,
                              opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("mglu", 1)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(library)
    options.log_severity_level = 4  # errors are raised as well
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def own_operators(layer):
    """MatMul, Sigmoid and Mul in float32, to which the weights are cast first."""
    nodes, initializers, terms = [], {}, []
    for i, (gate, value) in enumerate(layer.pairs()):
        initializers |= {f"gate{i}": gate.astype(np.float32).T, f"value{i}": value.astype(np.float32).T}
        nodes += [helper.make_node("MatMul", ["x", f"gate{i}"], [f"g{i}"]),
                  helper.make_node("MatMul", ["x", f"value{i}"], [f"v{i}"]),
                  helper.make_node("Sigmoid", [f"g{i}"], [f"s{i}"]),
                  helper.make_node("Mul", [f"g{i}", f"s{i}"], [f"a{i}"]),
                  helper.make_node("Mul", [f"a{i}", f"v{i}"], [f"t{i}"])]
        terms.append(f"t{i}")
    last = "y" if layer.down is None else "z"
    nodes.append(helper.make_node("Sum", terms, [last]))
    if layer.down is not None:
        initializers["down"] = layer.down.astype(np.float32).T
        nodes.append(helper.make_node("MatMul", ["z", "down"], ["y"]))
    return session(nodes, initializers)


def weights_of(layer):
    second = packed_words(layer.masks) if len(layer.masks) else layer.value
    named = {"weight": layer.weight, "second": second}
    return named if layer.down is None else {**named, "down": layer.down}


def operator(weights, x_type, threads=2):
    """x and y are float32 outside: numpy's arrays can't be given in bfloat16."""
    nodes = [helper.make_node("Cast", ["x"], ["in"], to=x_type),
             helper.make_node("GatedLinearUnit", ["in", *weights], ["out"], domain="mglu"),
             helper.make_node("Cast", ["out"], ["y"], to=TensorProto.FLOAT)]
    return session(nodes, weights, threads)


class OperatorTest(unittest.TestCase):
    def setUp(self):
        random = np.random.default_rng(2)
        self.x = (np.trunc(random.standard_normal((TOKENS, H)) * 16) / 16).astype(np.float32)  # exact in every type

    def close(self, y, wanted, error):
        self.assertEqual(y.shape, wanted.shape)
        worst = np.max(np.abs(y - wanted) - error)
        self.assertLessEqual(worst, 0)

    def check(self, x_type, weight_type, n_masks, has_down):
        layer = Layer(weight_type, n_masks, has_down)
        _, onnx_type, unit = TYPES[x_type]
        wanted, error = layer.wanted(self.x)
        theirs = own_operators(layer)
        for threads in (1, 2):
            ours = operator(weights_of(layer), onnx_type, threads)
            for batch in (1, 3, TOKENS):
                x = {"x": self.x[:batch]}
                self.close(theirs.run(None, x)[0], wanted[:batch], error[:batch])
                self.close(ours.run(None, x)[0], wanted[:batch], (error + unit * np.abs(wanted) + 2.0**-24)[:batch])

    def test_same_numbers_as_the_runtimes_own_operators(self):
        for dtype, n_masks, has_down in itertools.product(TYPES, (0, 1, 4), (True, False)):
            with self.subTest(dtype, n_masks=n_masks, has_down=has_down):
                self.check(dtype, dtype, n_masks, has_down)

    def test_weights_may_have_another_type_than_x(self):
        self.check("f32", "f16", 4, True)

    def test_x_may_have_more_dimensions(self):
        layer = Layer("f32", 2, True)
        nodes = [helper.make_node("Reshape", ["x", "shape"], ["in"]),
                 helper.make_node("GatedLinearUnit", ["in", "weight", "second", "down"], ["y"], domain="mglu")]
        shape = {"shape": np.array([2, 3, H])}
        y, = session(nodes, {**weights_of(layer), **shape}).run(None, {"x": self.x[:6]})
        flat, = operator(weights_of(layer), TensorProto.FLOAT).run(None, {"x": self.x[:6]})
        np.testing.assert_array_equal(y, flat.reshape(2, 3, OUTPUT))

    def test_wrong_weights_are_refused_with_the_reason(self):
        good = weights_of(Layer("f32", 2, True))
        bad = {
            "another number of rows": ({**good, "second": good["second"][:-1]}, "expected weight"),
            "weights with one dimension": ({**good, "weight": good["weight"][0]}, "expected weight"),
            "a down-projection of another size": ({**good, "down": good["down"][:, 1:]}, "expected weight"),
            "weights that are not finite": ({**good, "weight": good["weight"] * np.inf}, "not finite"),
            "weights of integers": ({**good, "weight": good["weight"].astype(np.int32)}, "dtype"),
        }
        for name, (weights, reason) in bad.items():
            with self.subTest(name), self.assertRaisesRegex(Exception, reason):
                operator(weights, TensorProto.FLOAT)


if __name__ == "__main__":
    unittest.main()
