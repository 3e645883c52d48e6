# SPDX-License-Identifier: MIT
"""docs/semantics.md in float64: what a layer computes, and how far each element of y may be from it."""

import math

import numpy as np

U = 2.0**-24
TINY = 2.0**-126
erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(t):
    return np.where(t >= 0, 1 / (1 + np.exp(-np.abs(t))), np.exp(-np.abs(t)) / (1 + np.exp(-np.abs(t))))


ACTIVATIONS = {
    "silu": lambda t: t * sigmoid(t),
    "gelu_erf": lambda t: t * 0.5 * (1 + erf(t / math.sqrt(2))),
    "gelu_tanh": lambda t: t / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (t + 0.044715 * t**3))),
    "relu": lambda t: np.maximum(t, 0),
    "sigmoid": sigmoid,
    "identity": lambda t: t,
}
# Where g turns: between the ends of an interval it is there farther from its middle than at both ends.
TURNING_POINTS = {"silu": -1.27846454, "gelu_erf": -0.75179162, "gelu_tanh": -0.75246142}
# u_y and eta_y of each dtype of y.
ROUNDING = {"float32": (2.0**-24, TINY), "float16": (2.0**-11, 2.0**-24), "bfloat16": (2.0**-8, TINY)}


def own_error(activation, t):
    if activation in ("relu", "identity"):
        return np.zeros_like(t)
    if activation == "sigmoid":
        return 4 * U * (1 + np.abs(t)) * sigmoid(t) + TINY
    return 8 * U * np.abs(t) + TINY


def terms_in_sum(columns):
    """c of class A."""
    return min(columns, 8 + math.sqrt(columns))




def activation_error(activation, gate, delta):
    g = ACTIVATIONS[activation]
    error = np.maximum(np.abs(g(gate + delta) - g(gate)), np.abs(g(gate - delta) - g(gate)))
    turn = TURNING_POINTS.get(activation)
    if turn is not None:
        inside = np.abs(gate - turn) < delta
        error = np.where(inside, np.maximum(error, np.abs(g(np.float64(turn)) - g(gate))), error)
    return error + own_error(activation, gate)


def routed(logits, top_k):
    """Ids and weights of each token, as the router selects them: the lower id wins a tie."""
    ids = np.argsort(-logits, axis=-1, kind="stable")[:, :top_k]
    chosen = np.take_along_axis(logits, ids, axis=-1)
    exponents = np.exp(chosen - chosen.max(axis=-1, keepdims=True))
    return ids, exponents / exponents.sum(axis=-1, keepdims=True)


def router_error(x, router, ids, p):
    """dp of each selected mask."""
    columns = x.shape[1]
    logits = x @ router.T
    size = np.abs(x) @ np.abs(router).T
    floor = TINY * (1 + np.abs(x)[:, None, :] + np.abs(router)[None]).sum(-1)
    epsilon = ((2 * terms_in_sum(columns) + 2) * U * size + floor).max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(logits, ids, axis=-1)
    odds = 1 / np.maximum(p, 1e-300) - 1
    changed = [1 / (1 + odds * np.exp(sign * 2 * epsilon)) for sign in (1, -1)]
    largest = np.maximum(np.abs(changed[0] - p), np.abs(changed[1] - p))
    below = chosen.max(axis=-1, keepdims=True) - chosen
    return largest + p * (16 + 2 * below) * U + TINY


class Reference:
    """A layer of float64 arrays, which have the exact values of what is stored."""

    def __init__(self, weight, masks=None, value_weight=None, gate_bias=None, value_bias=None, router=None, down=None,
                 down_bias=None, activation="silu"):
        self.gates = [weight] if masks is None else [np.where(mask, weight, 0) for mask in masks]
        self.values = [value_weight] if masks is None else [np.where(mask, 0, weight) for mask in masks]
        self.whole = [(weight, value_weight)] if masks is None else [(weight, weight)] * len(masks)
        shape = (len(self.gates), weight.shape[0])
        self.gate_bias = np.zeros(shape) if gate_bias is None else np.reshape(gate_bias, shape)
        self.value_bias = np.zeros(shape) if value_bias is None else np.reshape(value_bias, shape)
        self.router, self.down, self.activation = router, down, activation
        self.down_bias = 0.0 if down_bias is None else np.ravel(down_bias)

    def forward(self, x, residual=None, ids=None, weights=None, top_k=0, dtype="float32"):
        """y and its tolerance for [tokens][h]."""
        z, error = self._projection(x, *self._selected(x, ids, weights, top_k))
        if self.down is not None:
            z, error = self._down(z, error)
        if residual is not None:
            z = z + residual
            error = error + U * (np.abs(z) + error)
        unit, eta = ROUNDING[dtype]
        return z, error + unit * (np.abs(z) + error) + eta

    def _selected(self, x, ids, weights, top_k):
        """p and dp of each token and mask; a mask that is listed twice adds up."""
        tokens, masks = x.shape[0], len(self.gates)
        if ids is None and top_k == 0:
            return np.ones((tokens, masks)), np.zeros((tokens, masks)), masks
        if ids is None:
            ids, weights = routed(x @ self.router.T, top_k)
            changes = router_error(x, self.router, ids, weights) if top_k > 1 else np.zeros_like(weights)
        else:
            changes = np.zeros_like(weights)
        p, dp = np.zeros((tokens, masks)), np.zeros((tokens, masks))
        for token in range(tokens):
            np.add.at(p[token], ids[token], weights[token])
            np.add.at(dp[token], ids[token], changes[token])
        return p, dp, ids.shape[1]

    def _projection(self, x, p, dp, count):
        columns = x.shape[1]
        factor = (2 * terms_in_sum(columns) + 2) * U
        total, error, size = 0.0, 0.0, 0.0
        for i, (gate_matrix, value_matrix) in enumerate(zip(self.gates, self.values)):
            gate = x @ gate_matrix.T + self.gate_bias[i]
            value = x @ value_matrix.T + self.value_bias[i]
            deltas = [factor * (np.abs(x) @ np.abs(whole).T) + U * np.abs(t) + self._floor(x, whole)
                      for whole, t in zip(self.whole[i], (gate, value))]
            a = ACTIVATIONS[self.activation](gate)
            da = activation_error(self.activation, gate, deltas[0])
            weight, change = p[:, i:i + 1], dp[:, i:i + 1]
            term = np.abs(weight) * (np.abs(a) * deltas[1] + np.abs(value) * da + da * deltas[1] +
                                     2 * U * np.abs(a * value)) + change * np.abs(a * value) + TINY
            total, error = total + weight * a * value, error + np.where(weight == 0, 0, term)
            size = size + np.abs(weight * a * value)
        return total, error + (count + 1) * U * size

    @staticmethod
    def _floor(x, matrix):
        return TINY * (x.shape[1] + np.abs(matrix).sum(-1)[None] + np.abs(x).sum(-1)[:, None])

    def _down(self, z, error):
        columns = self.down.shape[1]
        y = z @ self.down.T + self.down_bias
        absolute = np.abs(self.down).T
        bound = error @ absolute + (2 * terms_in_sum(columns) + 2) * U * ((np.abs(z) + error) @ absolute)
        return y, bound + self._floor(z, self.down) + U * np.abs(y)
