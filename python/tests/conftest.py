# SPDX-License-Identifier: MIT
import numpy as np
import pytest
from reference import Reference

import mglu

try:
    import ml_dtypes
    BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
except ImportError:
    BFLOAT16 = None
DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": BFLOAT16}


def pytest_report_header():
    return f"mglu {mglu.__version__} ({mglu.build_info}), numpy {np.__version__}"


def array(dtype, values):
    """Values in one of the dtypes of x and y."""
    if DTYPES[dtype] is None:
        pytest.skip("the package ml_dtypes was not found; tools/setup test installs it")
    return np.asarray(values).astype(DTYPES[dtype])


def stored(weight, dtype):
    """The exact values of a matrix that is stored as `dtype`."""
    return mglu.unpack_weights(mglu.pack_weights(weight, dtype)).astype(np.float64)


class Problem:
    """Random parameters of a layer, and the layer in float64."""

    def __init__(self, hidden, intermediate, *, masks=1, outputs=0, biases=False, router=False, seed=1):
        random = np.random.default_rng(seed)
        normal = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
        vectors = masks or 1
        self.random = random
        self.arrays = {"weight": normal(intermediate, hidden) / np.float32(max(hidden, 1) ** 0.5)}
        if masks:
            self.arrays["masks"] = random.random((masks, intermediate, hidden)) > 0.5
        else:
            self.arrays["value_weight"] = normal(intermediate, hidden)
        if biases:
            self.arrays.update(gate_bias=normal(vectors, intermediate), value_bias=normal(vectors, intermediate))
        if router:
            self.arrays["router"] = normal(vectors, hidden)
        if outputs:
            self.arrays["down"] = normal(outputs, intermediate) / np.float32(max(intermediate, 1) ** 0.5)
            if biases:
                self.arrays["down_bias"] = normal(outputs)
        self.hidden = hidden

    def layer(self, dtype="f32", device=None, **options):
        return mglu.Layer(mglu.Weights(**self.arrays, dtype=dtype, device=device), **options)

    def reference(self, dtype="f32", activation="silu"):
        exact = {name: stored(values, dtype) if name in ("weight", "value_weight", "down") else values
                 for name, values in self.arrays.items()}
        exact = {name: values if name == "masks" else values.astype(np.float64) for name, values in exact.items()}
        return Reference(**exact, activation=activation)

    def x(self, *batch, dtype="f32"):
        return array(dtype, self.random.standard_normal((*batch, self.hidden)))


def assert_within(y, expected, tolerance):
    """Every element within its own tolerance."""
    distance = np.abs(np.asarray(y, dtype=np.float64) - expected)
    assert y.shape == expected.shape
    assert np.all(distance <= tolerance), f"{np.max(distance / tolerance):.2f} times the tolerance"


@pytest.fixture
def check():
    """Compares a call of a layer with the reference, in one of the dtypes."""
    def compare(problem, tokens, dtype="f32", x_dtype="f32", activation="silu", **call):
        options = {name: call.pop(name) for name in ("top_k",) if name in call}
        x = problem.x(tokens, dtype=x_dtype)
        y = problem.layer(dtype, activation=activation, **options)(x, **call)
        exact = {name: np.asarray(values, dtype=np.float64 if name != "ids" else np.int64) for name, values in
                 call.items()}
        expected = problem.reference(dtype, activation).forward(np.asarray(x, dtype=np.float64), **exact, **options,
                                                                 dtype=y.dtype.name)
        assert_within(y, *expected)
        return y
    return compare
