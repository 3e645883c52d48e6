# SPDX-License-Identifier: MIT
"""Feed-forward blocks of transformers with a masked GLU."""

from __future__ import annotations

from typing import Any

import torch

from .._errors import InvalidArgument, Unsupported
from ._frozen import Freezable
from ._module import MGLU

# By the name of the class, in torch or in transformers.
_ACTIVATIONS = {
    "SiLU": "silu", "SiLUActivation": "silu", "GELUActivation": "gelu_erf", "PytorchGELUTanh": "gelu_tanh",
    "GELUTanh": "gelu_tanh", "NewGELUActivation": "gelu_tanh", "FastGELUActivation": "gelu_tanh", "ReLU": "relu",
    "Sigmoid": "sigmoid", "Identity": "identity", "LinearActivation": "identity",
}
_MODEL_TYPES = ("llama", "mistral", "qwen2", "gemma")


class MLP(Freezable):
    """y = down_proj(up_proj(x)) with a masked GLU as up_proj, in place of a block of gate_proj, up_proj and down_proj.
    The names are those of docs/format.md, which `mglu pack` reads."""

    def __init__(self, up_proj: MGLU, down_proj: torch.nn.Module):
        super().__init__()
        self.up_proj = up_proj
        self.down_proj = down_proj

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = (self.frozen or self._train)(x)
        return y

    def _train(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.down_proj(self.up_proj(x))
        return y

    def _arrays(self) -> dict[str, torch.Tensor | None]:
        down = self.down_proj
        if type(down) is not torch.nn.Linear:
            raise Unsupported(f"down_proj is a {type(down).__name__}; expected torch.nn.Linear to freeze the block: "
                              "freeze up_proj alone")
        return {**self.up_proj._arrays(), "down": down.weight, "down_bias": down.bias}

    def _operation(self) -> dict[str, Any]:
        return self.up_proj._operation()


def replace_mlp(model: torch.nn.Module, n_masks: int = 4, **options: Any) -> torch.nn.Module:
    """Replaces gate_proj and up_proj of each feed-forward block of a Llama, Mistral, Qwen2 or Gemma model of the
    transformers package by an MGLU with new weights; down_proj is kept. Returns the model.

    options: of MGLU, as top_k, mask_std or learn_masks; activation, biases, device and dtype are those of the model.
    What save_pretrained() then writes is read by `mglu pack` and `mglu perplexity`; config.num_masks says how many,
    and config.num_masks_per_tok is top_k.
    """
    config: Any = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if model_type not in _MODEL_TYPES:
        raise Unsupported(f"the model's type is {model_type or type(model).__name__}; expected one of "
                          f"{', '.join(_MODEL_TYPES)}")
    blocks = [(name, module) for name, module in model.named_modules() if _is_block(module)]
    if not blocks:
        raise InvalidArgument(f"{type(model).__name__} has no block of gate_proj, up_proj and down_proj; expected one "
                              "for each layer, that has not been replaced yet")
    for name, block in blocks:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, _replaced(block, n_masks, config, options))
    config.num_masks = n_masks
    if options.get("top_k"):
        config.num_masks_per_tok = options["top_k"]
    return model


def _is_block(module: torch.nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn"))


def _replaced(block: Any, n_masks: int, config: Any, options: dict[str, Any]) -> MLP:
    gate = block.gate_proj
    name = type(block.act_fn).__name__
    if name not in _ACTIVATIONS:
        raise Unsupported(f"the activation is {name}; expected one of {', '.join(_ACTIVATIONS)}")
    bias = gate.bias is not None
    up_proj = MGLU(gate.in_features, gate.out_features, n_masks, activation=_ACTIVATIONS[name], bias=bias,
                   device=gate.weight.device, dtype=gate.weight.dtype, **options)
    _initialise(up_proj, config.initializer_range)
    return MLP(up_proj, block.down_proj).train(block.training)


@torch.no_grad()
def _initialise(up_proj: MGLU, deviation: float) -> None:
    """As transformers does its linear layers."""
    up_proj.weight.normal_(0, deviation)
    if up_proj.router is not None:
        up_proj.router.weight.normal_(0, deviation)
    for bias in (up_proj.gate_bias, up_proj.value_bias):
        if bias is not None:
            bias.zero_()
