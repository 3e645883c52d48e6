# SPDX-License-Identifier: MIT
"""What layers compute, against float64 and the error bound of docs/semantics.md."""

import numpy as np
import pytest
from conftest import Problem, array, assert_within
from reference import ACTIVATIONS

import mglu

SHAPES = [(1, 1, 1), (8, 3, 5), (33, 17, 2), (100, 64, 9), (257, 31, 1), (64, 128, 40), (0, 4, 3), (5, 0, 2)]


@pytest.mark.parametrize("hidden, intermediate, tokens", SHAPES)
@pytest.mark.parametrize("masks", [0, 1, 2, 4, 16])
def test_every_shape_is_within_the_bound(check, hidden, intermediate, tokens, masks):
    check(Problem(hidden, intermediate, masks=masks), tokens)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "q8_0", "q4_0"])
@pytest.mark.parametrize("x_dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("tokens", [1, 12])
def test_every_dtype_is_within_the_bound(check, dtype, x_dtype, tokens):
    y = check(Problem(96, 40, masks=2, outputs=24), tokens, dtype=dtype, x_dtype=x_dtype)
    assert y.dtype == array(x_dtype, [0]).dtype


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("masks", [0, 3])
def test_every_activation(check, activation, masks):
    check(Problem(40, 50, masks=masks), 3, activation=activation)


@pytest.mark.parametrize("masks", [0, 1, 4])
def test_biases_and_down_projection(check, masks):
    check(Problem(45, 70, masks=masks, outputs=33, biases=True), 4)


def test_residual(check):
    problem = Problem(32, 48, masks=2, outputs=32, biases=True)
    check(problem, 3, residual=problem.x(3))


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_the_router_selects_masks(check, top_k):
    check(Problem(64, 20, masks=4, router=True, biases=True), 7, top_k=top_k)


def test_the_caller_selects_masks(check):
    ids = np.array([[0, 3], [2, 2], [1, 0]], np.int32)
    weights = np.array([[0.25, 0.75], [1, -1.5], [0, 2]], np.float32)
    check(Problem(64, 20, masks=4), 3, top_k=2, ids=ids, weights=weights)


def test_a_batch_above_max_batch_is_computed_in_parts():
    problem = Problem(40, 24, masks=2, outputs=40)
    x, residual = problem.x(11), problem.x(11)
    y = problem.layer(max_batch=4)(x, residual=residual)
    assert_within(y, *problem.reference().forward(x.astype(float), residual.astype(float)))


def test_y_may_have_another_dtype_than_x():
    problem = Problem(40, 24, masks=2)
    x, out = problem.x(3, dtype="f16"), np.empty((3, 24), np.float32)
    assert problem.layer("f16")(x, out) is out
    assert_within(out, *problem.reference("f16").forward(x.astype(float)))


def test_reproducible_layers_give_the_same_bits_in_every_batch():
    problem = Problem(200, 60, masks=4)
    layer, x = problem.layer(reproducible=True), problem.x(16)
    one_by_one = np.stack([layer(row) for row in x])
    assert np.array_equal(layer(x), one_by_one)


def test_quantised_x_is_class_c():
    layer = Problem(64, 32).layer("q8_0", quantised_x=True)
    assert layer.accuracy() in ("A", "C")
    assert Problem(64, 32).layer("q8_0").accuracy() == "A"


def test_beta_of_silu():
    weight, mask, x = np.eye(2, dtype=np.float32), np.array([[1, 0], [0, 0]], np.uint8), np.float32([1, 1])
    layer = mglu.Layer(mglu.Weights(weight, mask, value_bias=np.float32([1, 1])), silu_beta=3)
    assert layer(x)[0] == pytest.approx(1 / (1 + np.exp(-3)), rel=1e-6)


def test_every_device_computes_the_same_layer():
    problem = Problem(48, 40, masks=2, outputs=24, biases=True)
    x, residual = problem.x(5), problem.x(5)[:, :24]
    expected = problem.reference().forward(x.astype(float), residual.astype(float))
    for device in mglu.devices():
        if device.available:
            assert_within(problem.layer(device=device)(x, residual=residual), *expected)
