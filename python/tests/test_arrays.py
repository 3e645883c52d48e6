# SPDX-License-Identifier: MIT
"""Which arrays are read and written in place, and how the others are refused."""

import numpy as np
import pytest
from conftest import Problem, array, assert_within

import mglu

PROBLEM = Problem(12, 10, masks=2)
LAYER = PROBLEM.layer()


def dense(x):
    return LAYER(np.ascontiguousarray(x))


class Exporter:
    """An array that is nothing but an exporter of DLPack, as of another library."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)


class OldExporter(Exporter):
    """From before DLPack 1.0, which has no max_version."""

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 3), (0,), (2, 0)])
def test_any_number_of_dimensions(shape):
    x = PROBLEM.x(*shape)
    y = LAYER(x)
    assert y.shape == (*shape, 10)
    assert np.array_equal(y.reshape(-1, 10), dense(x.reshape(-1, 12)))


STRIDED = {
    "columns of a wider matrix": lambda: PROBLEM.x(5, 3)[:, 1],
    "every other row": lambda: PROBLEM.x(10)[::2],
    "an offset": lambda: np.random.default_rng(2).standard_normal((4, 30)).astype("f4")[1:, 7:19],
    "rows of a batch": lambda: PROBLEM.x(2, 6)[:, :3],
    "one row": lambda: PROBLEM.x(6, 1)[::3][:1],
}


@pytest.mark.parametrize("name", [name for name in STRIDED if name != "rows of a batch"])
def test_rows_at_a_distance_are_read_in_place(name):
    x = STRIDED[name]()
    assert np.array_equal(LAYER(x), dense(x))


REFUSED = {
    "columns at a distance": np.zeros((3, 24), "f4")[:, ::2],
    "columns in reverse": np.zeros((3, 12), "f4")[:, ::-1],
    "rows in reverse": np.zeros((3, 12), "f4")[::-1],
    "the same row again": np.broadcast_to(np.zeros(12, "f4"), (3, 12)),
    "a transposed matrix": np.zeros((12, 3), "f4").T,
    "rows at two distances": STRIDED["rows of a batch"](),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_strides_are_refused(name):
    with pytest.raises(mglu.InvalidArgument, match="make a contiguous copy"):
        LAYER(REFUSED[name])


def test_out_is_written_in_place_and_nothing_beside_it():
    x, wide = PROBLEM.x(3), np.full((3, 20), 7, np.float32)
    out = wide[:, 5:15]
    assert LAYER(x, out=out) is out
    assert np.array_equal(out, dense(x))
    assert np.all(wide[:, :5] == 7) and np.all(wide[:, 15:] == 7)


def test_residual_may_be_out():
    x, y = PROBLEM.x(3), np.ones((3, 10), np.float32)
    expected = dense(x) + y
    assert np.allclose(LAYER(x, out=y, residual=y), expected)


@pytest.mark.parametrize("kind", [Exporter, OldExporter])
def test_exporters_of_dlpack(kind):
    x, out = PROBLEM.x(6)[::2], np.empty((3, 10), np.float32)
    assert np.array_equal(LAYER(kind(x)), dense(x))
    LAYER(kind(x), out=kind(out))
    assert np.array_equal(out, dense(x))


def test_an_exporter_is_freed_after_the_call():
    class Counted(np.ndarray):
        freed = 0

        def __del__(self):
            Counted.freed += 1

    x = PROBLEM.x(3).view(Counted)
    LAYER(Exporter(x))
    del x
    assert Counted.freed > 0


def test_uint16_is_bfloat16():
    x = array("bf16", PROBLEM.x(3))
    y = LAYER(x.view(np.uint16))
    assert y.dtype == np.uint16
    assert np.array_equal(y, LAYER(x).view(np.uint16))


def test_bfloat16_in_numpy():
    x = array("bf16", PROBLEM.x(3))
    assert_within(LAYER(x), *PROBLEM.reference().forward(x.astype(float), dtype="bfloat16"))


X = np.zeros((3, 12), np.float32)
WRONG = {
    "x is float64": (TypeError, ValueError, lambda: LAYER(X.astype(float)), "x is float64; expected float32"),
    "x is int32": (mglu.InvalidArgument, ValueError, lambda: LAYER(X.astype("i4")), "x is int32"),
    "x of the other byte order": (mglu.InvalidArgument, ValueError, lambda: LAYER(X.astype(">f4")), "x is >f4"),
    "x is a list": (TypeError, TypeError, lambda: LAYER([0.0] * 12), "x is a list; expected a numpy array"),
    "x is a number": (mglu.InvalidArgument, ValueError, lambda: LAYER(np.float32([0])[0:1].reshape(())), "rows of 12"),
    "x of another size": (mglu.InvalidArgument, ValueError, lambda: LAYER(X[:, :7]),
                            r"shape \(3, 7\); expected rows of 12"),
    "out of another size": (mglu.InvalidArgument, ValueError, lambda: LAYER(X, X), r"out has the shape \(3, 12\)"),
    "out of other rows": (mglu.InvalidArgument, ValueError, lambda: LAYER(X, np.empty((2, 10), "f4")),
                          "out has the shape"),
    "out is int32": (mglu.InvalidArgument, ValueError, lambda: LAYER(X, np.empty((3, 10), "i4")), "out is int32"),
    "residual of another dtype": (mglu.InvalidArgument, ValueError,
                                  lambda: LAYER(X, residual=np.zeros((3, 10), "f2")), "residual is float16"),
    "residual of another size": (mglu.InvalidArgument, ValueError,
                                 lambda: LAYER(X, residual=np.zeros((2, 10), "f4")), "residual has the shape"),
    "a stream on a CPU": (mglu.Unsupported, NotImplementedError, lambda: LAYER(X, stream=7), "has no streams"),
    "ids without weights": (mglu.InvalidArgument, ValueError, lambda: LAYER(X, ids=np.zeros((3, 1), "i4")),
                            "ids and weights"),
}
WRONG["x is float64"] = (mglu.InvalidArgument, *WRONG["x is float64"][1:])


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_refused_by_name(name):
    kind, base, call, text = WRONG[name]
    with pytest.raises(kind, match=text) as caught:
        call()
    assert isinstance(caught.value, base)


def test_a_read_only_out_is_refused():
    out = np.empty((3, 10), np.float32)
    out.flags.writeable = False
    with pytest.raises(mglu.InvalidArgument, match="out is read-only"):
        LAYER(X, out)


def test_y_over_x_is_refused():
    memory = np.zeros(200, np.float32)
    with pytest.raises(mglu.InvalidArgument, match="overlap"):
        LAYER(memory[:36].reshape(3, 12), memory[20:50].reshape(3, 10))


def test_a_read_only_x_is_read():
    x = PROBLEM.x(3)
    expected = dense(x)
    x.flags.writeable = False
    assert np.array_equal(LAYER(x), expected)
