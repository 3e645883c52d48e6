# SPDX-License-Identifier: MIT
"""A masked GLU as it is usually written in PyTorch: two masked linear layers for each mask, whose gradients autograd
takes. It is what mglu.torch.MGLU must agree with."""

import torch
from torch.nn import functional

ACTIVATIONS = {
    "silu": functional.silu,
    "gelu_erf": functional.gelu,
    "gelu_tanh": lambda t: functional.gelu(t, approximate="tanh"),
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda t: t,
}


def straight_through(logits):
    """1 where a logit is above 0, else 0; its gradient is passed on to the logit."""
    ones = (logits > 0).to(logits.dtype)
    return ones + logits - logits.detach() if logits.requires_grad else ones


def routing(logits, top_k):
    """Softmax over the top_k largest of each row, the lower id on a tie; 0 elsewhere."""
    chosen = torch.zeros_like(logits, dtype=torch.bool)
    for row, values in zip(chosen, logits.tolist()):
        row[sorted(range(len(values)), key=lambda i: (-values[i], i))[:top_k]] = True
    return logits.masked_fill(~chosen, float("-inf")).softmax(-1)


def projection(module, x):
    """What an MGLU computes."""
    act, beta = ACTIVATIONS[module.activation], module.silu_beta or 1
    p = routing(module.router(x).reshape(-1, module.n_masks), module.top_k) if module.top_k else None
    z = 0
    for i, mask in enumerate(straight_through(module.mask).to(x.dtype)):
        gate = functional.linear(x, module.weight * mask)
        value = functional.linear(x, module.weight * (1 - mask))
        if module.gate_bias is not None:
            gate, value = gate + module.gate_bias[i], value + module.value_bias[i]
        term = act(gate * beta) / beta * value if module.activation == "silu" else act(gate) * value
        z = z + (term if p is None else term * p[:, i].reshape(*x.shape[:-1], 1))
    return z


def gradients(function, module, x, dz):
    """function(x), and the gradients of x and of all parameters by their names."""
    x = x.detach().requires_grad_()
    names, parameters = zip(*module.named_parameters())
    z = function(x)
    return z.detach(), dict(zip(("x", *names), torch.autograd.grad(z, (x, *parameters), dz)))
