# SPDX-License-Identifier: MIT
"""Trained modules as packed layers: freeze(), and the files that `mglu pack` reads."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch was not found; tools/test python installs it")

from conftest import assert_within  # noqa: E402
from reference import Reference  # noqa: E402

import mglu  # noqa: E402
from mglu.torch import MGLU, MLP  # noqa: E402

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
OPTIONS = [{}, {"bias": True, "top_k": 2, "activation": "gelu_tanh"}, {"learn_masks": False}]


def make(dtype="f32", **options):
    torch.manual_seed(1)
    block = MLP(MGLU(64, 96, 3, **options), torch.nn.Linear(96, 64, bias=options.get("bias", False)))
    return block.to(DTYPES[dtype]), torch.randn(5, 64).to(DTYPES[dtype])


def reference(block):
    arrays = {name: array.detach().double().numpy() for name, array in block._arrays().items() if array is not None}
    arrays["masks"] = arrays["masks"] > 0
    return Reference(**arrays, activation=block.up_proj.activation)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_frozen_block_is_a_packed_layer(options, dtype):
    block, x = make(dtype, **options)
    assert block.freeze() is block and block.frozen.layer.weights.dtype == dtype
    with torch.no_grad():
        y = block(x)
    expected = reference(block).forward(x.double().numpy(), top_k=block.up_proj.top_k,
                                        dtype=str(x.dtype).split(".")[-1])
    assert_within(y.double().numpy(), *expected)


def test_a_projection_alone():
    block, x = make(bias=True)
    module = block.up_proj.freeze(dtype="bf16", max_batch=2)
    assert module.frozen.layer.weights.dtype == "bf16" and module.kernels_for(x) == "mglu"
    with torch.no_grad():
        z = module(x)
        assert torch.allclose(z, module.unfreeze()(x), atol=0.02)
        assert not torch.equal(z, module(x))


def test_parameters_outlive_being_frozen():
    block, x = make()
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    y = block(x)
    block.freeze()
    with pytest.raises(mglu.InvalidArgument, match="torch.no_grad"):
        block(x.clone().requires_grad_())
    with torch.no_grad():
        block.up_proj.weight.zero_()  # is packed at the next freeze() alone
        assert torch.allclose(block(x), y, atol=1e-6)
        assert not block.freeze()(x).any()
    block.load_state_dict(before)
    block.unfreeze()(x.requires_grad_()).sum().backward()
    assert torch.equal(block(x), y) and block.up_proj.mask.grad is not None


def test_a_copy_of_a_frozen_module_shares_its_layer():
    block, x = make()
    other = copy.deepcopy(block.freeze())
    with torch.no_grad():
        assert torch.equal(other(x), block(x)) and other.frozen.layer is block.frozen.layer


def test_what_cannot_be_frozen():
    block, _ = make()
    block.down_proj = torch.nn.Sequential(block.down_proj)
    with pytest.raises(mglu.Unsupported, match="down_proj is a Sequential; expected torch.nn.Linear"):
        block.freeze()
    with pytest.raises(mglu.InvalidArgument):
        block.up_proj.freeze(dtype="q5")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU was found")
def test_tensors_of_a_gpu():
    block, x = make("f16", bias=True)
    block = block.cuda().freeze()
    assert block.frozen.layer.weights.device.backend == "cuda"
    with torch.no_grad():
        y = block(x.cuda())
    assert_within(y.double().cpu().numpy(), *reference(block.cpu()).forward(x.double().numpy(), dtype="float16"))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_state_dict_is_what_pack_takes(options, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="the package safetensors was not found; tools/setup "
                                                                  "hub installs it")
    block, x = make(**options)
    state = {f"model.layers.0.mlp.{name}": tensor for name, tensor in block.state_dict().items()}
    safetensors.save_file(state, tmp_path / "trained.safetensors")
    mglu.pack(tmp_path / "trained.safetensors", tmp_path / "packed.safetensors")
    operation = {"activation": block.up_proj.activation, "top_k": block.up_proj.top_k}
    for name in ("trained", "packed"):
        file = mglu.File(tmp_path / f"{name}.safetensors")
        assert file.layers() == ["model.layers.0.mlp"]
        with torch.no_grad():
            assert np.array_equal(file.layer("model.layers.0.mlp", **operation)(x), block.freeze()(x))
