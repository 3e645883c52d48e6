# SPDX-License-Identifier: MIT
"""Weights, packing and parts of layers."""

import numpy as np
import pytest
from conftest import Problem, array, assert_within

import mglu
import mglu.parallel

PROBLEM = Problem(70, 64, masks=3, outputs=20, biases=True, router=True)


def layer_of(**changes):
    return mglu.Layer(mglu.Weights(**{**PROBLEM.arrays, **changes}))


MASKS = PROBLEM.arrays["masks"]
FORMS = {
    "bytes": lambda: MASKS.astype(np.uint8),
    "bits": lambda: np.packbits(MASKS, axis=-1, bitorder="little"),
    "logits in f32": lambda: np.where(MASKS, 0.1, -0.1).astype(np.float32),
    "logits in f16": lambda: np.where(MASKS, 0.1, 0).astype(np.float16),
    "logits in bf16": lambda: array("bf16", np.where(MASKS, 0.1, 0)),
    "words": lambda: mglu.pack_masks(MASKS),
}


@pytest.mark.parametrize("form", FORMS)
def test_masks_of_every_form(form):
    x = PROBLEM.x(2)
    assert np.array_equal(layer_of(masks=FORMS[form]())(x), layer_of()(x))


def test_masks_are_packed_and_unpacked():
    words = mglu.pack_masks(MASKS)
    assert words.shape == (64, 3, 3) and words.dtype == np.uint32
    assert words[5, 1, 2] == sum(1 << bit for bit in range(32) if MASKS[2, 5, 32 + bit])
    assert np.array_equal(mglu.unpack_masks(words, 70), MASKS)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_weights_are_packed_and_unpacked(dtype):
    weight = PROBLEM.arrays["weight"]
    packed = mglu.pack_weights(weight, dtype)
    assert packed.data.shape[1] % 64 == 0 and packed.data.ctypes.data % 64 == 0
    error = {"f32": 0, "f16": 2**-11, "bf16": 2**-8, "q8_0": 1 / 100, "q4_0": 1 / 7}[dtype]
    assert np.max(np.abs(mglu.unpack_weights(packed) - weight)) <= error * np.max(np.abs(weight))


def test_quantised_arrays_are_taken_as_they_are():
    weight = np.round(PROBLEM.arrays["weight"] * 20)
    scales = np.full((64, 3), 0.5, np.float16)
    quantised = mglu.Weights(mglu.Quantised(weight.astype(np.int8), scales), PROBLEM.arrays["masks"])
    assert quantised.dtype == "q8_0"
    x = PROBLEM.x(2)
    assert np.allclose(mglu.Layer(quantised)(x), mglu.Layer(mglu.Weights(weight / 2, PROBLEM.arrays["masks"]))(x), 1e-4)


def test_float64_is_rounded():
    x = PROBLEM.x(2)
    assert np.array_equal(layer_of(weight=PROBLEM.arrays["weight"].astype(float))(x), layer_of()(x))


def test_weights_with_a_stride():
    wide = np.zeros((64, 90), np.float32)
    wide[:, 3:73] = PROBLEM.arrays["weight"]
    x = PROBLEM.x(2)
    assert np.array_equal(layer_of(weight=wide[:, 3:73])(x), layer_of()(x))


def test_what_weights_tell():
    weights = mglu.Weights(**PROBLEM.arrays, dtype="f16")
    assert (weights.hidden_size, weights.intermediate_size, weights.output_size, weights.n_masks) == (70, 64, 20, 3)
    assert weights.dtype == "f16" and weights.device.host_memory
    assert weights.device_bytes > weights.projection_bytes >= 64 * 70 * 2 + mglu.pack_masks(MASKS).nbytes
    assert "70 -> 64 -> 20, 3 masks, f16" in repr(weights)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["f32", "q8_0", "q4_0"])
def test_the_sum_of_all_parts_is_the_layer(size, dtype):
    problem = Problem(70, 64, masks=3, outputs=20, biases=True)
    x = problem.x(3)
    parts = [mglu.Weights(**problem.arrays, dtype=dtype, rows=mglu.parallel.rows_of(rank, size, 64))
             for rank in range(size)]
    assert sum(part.intermediate_size for part in parts) == 64
    y = sum(mglu.Layer(part)(x).astype(float) for part in parts if part.intermediate_size)
    assert_within(y.astype(np.float32), *problem.reference(dtype).forward(x.astype(float)))


def test_rows_are_divided_in_groups():
    rows = [mglu.parallel.rows_of(rank, 3, 100) for rank in range(3)]
    assert rows == [slice(0, 32), slice(32, 64), slice(64, 100)]
    with pytest.raises(mglu.InvalidArgument, match="rank is 3 of 3"):
        mglu.parallel.rows_of(3, 3, 100)


W = np.zeros((4, 5), np.float32)
M = np.zeros((2, 4, 5), np.uint8)
WRONG = {
    "neither masks nor values": (lambda: mglu.Weights(W), "either masks or value_weight"),
    "both": (lambda: mglu.Weights(W, M, value_weight=W), "either masks or value_weight"),
    "masks of another size": (lambda: mglu.Weights(W, M[:, :3].copy()), "expected .n_masks, 4, 5."),
    "masks of int64": (lambda: mglu.Weights(W, M.astype(int)), "masks are int64"),
    "a mask of 2": (lambda: mglu.Weights(W, M + 2), "neither 0 nor 1"),
    "a NaN logit": (lambda: mglu.Weights(W, np.full((4, 5), np.nan, "f4")), "NaN"),
    "no matrix": (lambda: mglu.Weights(W[0], M), "weight has the shape .5,.; expected a matrix"),
    "weights of int32": (lambda: mglu.Weights(W.astype("i4"), M), "weight is int32"),
    "values of another size": (lambda: mglu.Weights(W, value_weight=W.T.copy()), "value_weight has the shape"),
    "a bias of another size": (lambda: mglu.Weights(W, M, gate_bias=np.zeros((2, 3), "f4")), "gate_bias has the shape"),
    "down of another size": (lambda: mglu.Weights(W, M, down=np.zeros((3, 5), "f4")), "down has the shape"),
    "down_bias of another size": (lambda: mglu.Weights(W, M, down=W[:, :4], down_bias=np.zeros(3, "f4")),
                                  r"down_bias has the shape \(1, 3\); expected \[1, 4\]"),
    "an unknown dtype": (lambda: mglu.Weights(W, M, dtype="f8"), "expected one of f32, f16, bf16, q8_0, q4_0"),
    "17 masks": (lambda: mglu.Weights(W, np.zeros((17, 4, 5), "u1")), "16"),
    "an unknown activation": (lambda: mglu.Layer(mglu.Weights(W, M), activation="swish"), "silu"),
    "top_k above n_masks": (lambda: mglu.Layer(mglu.Weights(W, M), top_k=3), "top_k"),
    "part of a group": (lambda: mglu.Weights(W, M, down=W[:, :4], dtype="q8_0", rows=slice(0, 2, 2)), "rows is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_weights_are_refused(name):
    call, text = WRONG[name]
    with pytest.raises(mglu.InvalidArgument, match=text):
        call()


def test_a_weight_that_is_not_finite_is_refused():
    with pytest.raises(mglu.NonFinite, match=r"weight \[1\]\[0\] = inf"):
        mglu.Weights(np.float32([[0, 1], [np.inf, 1]]), np.zeros((2, 2), "u1"))
    mglu.Weights(np.float32([[0, 1], [np.inf, 1]]), np.zeros((2, 2), "u1"), allow_nonfinite=True)


def test_part_of_a_group_of_quants_is_refused():
    quants = mglu.Quantised(np.zeros((4, 64), np.int8), np.zeros((4, 2), np.float16))
    weight = mglu.Quantised(np.zeros((64, 32), np.int8), np.zeros((64, 1), np.float16))
    with pytest.raises(mglu.InvalidArgument, match="parts begin at multiples of 32"):
        mglu.Weights(weight, np.zeros((1, 64, 32), "u1"), down=quants, rows=slice(0, 40))
