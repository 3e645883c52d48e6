# SPDX-License-Identifier: MIT
"""The projection of a masked GLU and its gradients, by the library's kernels (mglu/train.h), on tensors of the CPU."""

from __future__ import annotations

import functools
from ctypes import byref, c_int
from typing import Any, Callable, NamedTuple, Optional

import torch

from .. import _pack as p
from .. import _structs as s
from .._context import Context, default_context
from .._errors import Unsupported
from .._library import Handle, check, core

_DTYPES = {torch.float32: s.F32, torch.bfloat16: s.BF16}
_MASKS = {torch.float32: s.MASK_LOGITS_F32, torch.bfloat16: s.MASK_LOGITS_BF16, torch.float16: s.MASK_LOGITS_F16,
          torch.uint8: s.MASK_BYTES}

_Optional = Optional[torch.Tensor]


class Parameters(NamedTuple):
    """What a plan is made for."""

    hidden_size: int
    intermediate_size: int
    n_masks: int
    activation: str
    silu_beta: float
    top_k: int
    bias: bool


class Plan:
    """A mglu_train, for batches of x of one dtype up to a size."""

    def __init__(self, parameters: Parameters, dtype: int, max_batch: int, context: Context):
        code = c_int()
        check(core.mglu_activation_from_name(parameters.activation.encode(), byref(code)))
        device = context.device()
        desc = p.sized(s.TrainDesc, hidden_size=parameters.hidden_size, n_masks=parameters.n_masks, dtype=dtype,
                       intermediate_size=parameters.intermediate_size, activation=code.value, top_k=parameters.top_k,
                       silu_beta=parameters.silu_beta, max_batch=max_batch,
                       flags=(s.TRAIN_GATE_BIAS | s.TRAIN_VALUE_BIAS) * parameters.bias)
        self.handle = Handle(core.mglu_train_create, device.value, byref(desc), destroy=core.mglu_train_destroy,
                             keep=(device.context.handle,))

    def saved(self, batch: int) -> torch.Tensor:
        return _memory(core.mglu_train_saved_size(self.handle.value, batch))

    def run(self, function: Callable[..., int], args: Any) -> None:
        """A forward or a backward, whose arguments lack a workspace."""
        size = core.mglu_train_workspace_size(self.handle.value, args.batch)
        workspace = _memory(size)
        args.workspace, args.workspace_size = workspace.data_ptr(), size
        check(function(self.handle.value, None, byref(args)))


def _memory(size: int) -> torch.Tensor:
    """On the CPU whatever torch's default device is."""
    return torch.empty(size, dtype=torch.uint8, device="cpu")


@functools.lru_cache(maxsize=8)
def _context(threads: int) -> Context:
    """A context that computes on as many threads as torch does."""
    shared = default_context()
    return shared if shared.threads == threads else Context(threads=threads)


@functools.lru_cache(maxsize=256)
def _plan(parameters: Parameters, dtype: int, max_batch: int, threads: int) -> Plan | str:
    try:
        return Plan(parameters, dtype, max_batch, _context(threads))
    except Unsupported as error:
        return str(error)


def plan_of(parameters: Parameters, x: torch.Tensor, weight: torch.Tensor, masks: torch.Tensor) -> Plan | Unsupported:
    """The plan for x [tokens, h] and these parameters; or why there is none."""
    if x.device.type != "cpu":
        return Unsupported(f"x is on the device {x.device}; expected the CPU")
    if x.dtype not in _DTYPES or weight.dtype not in _DTYPES or masks.dtype not in _MASKS:
        return Unsupported(f"x is {x.dtype}, the weight {weight.dtype} and the masks {masks.dtype}; expected float32 "
                           "or bfloat16")
    if 0 in (parameters.hidden_size, parameters.intermediate_size):
        return Unsupported("hidden_size or intermediate_size is 0; expected at least 1")
    max_batch = 1 << max(0, x.shape[0] - 1).bit_length()
    plan = _plan(parameters, _DTYPES[x.dtype], max_batch, torch.get_num_threads())
    return plan if isinstance(plan, Plan) else Unsupported(plan)


class KernelProjection(torch.autograd.Function):
    """As Projection of _function.py, with the router's logits in float32 in place of p, and biases in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, masks: torch.Tensor, gate_bias: _Optional,
                value_bias: _Optional, router_logits: _Optional, plan: Plan, keep: bool) -> torch.Tensor:
        x, weight, masks = x.contiguous(), weight.contiguous(), masks.contiguous()
        vectors = [None if tensor is None else tensor.contiguous() for tensor in (gate_bias, value_bias, router_logits)]
        batch = x.shape[0]
        z, saved = x.new_empty(batch, weight.shape[0]), plan.saved(batch) if keep else x.new_empty(0)
        args = p.sized(s.TrainForwardArgs, batch=batch, inputs=_inputs(x, weight, masks, *vectors), y=_output(z),
                       saved=saved.data_ptr() or None, saved_size=saved.numel())
        plan.run(core.mglu_train_forward, args)
        ctx.save_for_backward(x, weight, masks, *vectors, saved)
        ctx.plan = plan
        return z

    @staticmethod
    def backward(ctx: Any, dz: torch.Tensor) -> Any:
        if torch.is_grad_enabled():
            raise Unsupported("MGLU has first derivatives only; expected a backward without create_graph=True")
        x, weight, masks, gate_bias, value_bias, router_logits, saved = ctx.saved_tensors
        dz = dz.contiguous()
        inputs = (x, weight, masks, gate_bias, value_bias, router_logits)
        dx, *grads = (torch.empty_like(tensor, dtype=x.dtype if tensor is x else torch.float32) if needed else None
                      for tensor, needed in zip(inputs, ctx.needs_input_grad))
        dweight, dlogits, dgate_bias, dvalue_bias = (_address(grad) for grad in grads[:4])
        args = p.sized(s.TrainBackwardArgs, batch=x.shape[0], inputs=_inputs(*inputs), dy=_input(dz), dx=_output(dx),
                       saved=saved.data_ptr(), saved_size=saved.numel(), dweight=dweight, dlogits=dlogits,
                       dgate_bias=dgate_bias, dvalue_bias=dvalue_bias, drouter_logits=_output(grads[4]))
        ctx.plan.run(core.mglu_train_backward, args)
        rounded = (None if grad is None else grad.to(tensor.dtype) for grad, tensor in zip(grads, inputs[1:]))
        return dx, *rounded, None, None


def _address(tensor: _Optional) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _input(tensor: _Optional) -> s.Input:
    return s.Input() if tensor is None else s.Input(tensor.data_ptr(), 0, tensor.shape[1])


def _output(tensor: _Optional) -> s.Output:
    return s.Output() if tensor is None else s.Output(tensor.data_ptr(), 0, tensor.shape[1])


def _inputs(x: torch.Tensor, weight: torch.Tensor, masks: torch.Tensor, gate_bias: _Optional, value_bias: _Optional,
            router_logits: _Optional) -> s.TrainInputs:
    matrix = s.Array(weight.data_ptr(), _DTYPES[weight.dtype], weight.shape[1] * weight.element_size())
    return s.TrainInputs(_input(x), matrix, s.MaskArray(masks.data_ptr(), _MASKS[masks.dtype]), _address(gate_bias),
                         _address(value_bias), _input(router_logits))
