# SPDX-License-Identifier: MIT
"""mglu.torch.MGLU under what PyTorch has for training: autocast, checkpointing, torch.compile, other devices."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch was not found; tools/test python installs it")

import naive  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import mglu.torch  # noqa: E402
from mglu.torch import MGLU, MLP  # noqa: E402

can_compile = pytest.mark.skipif(mglu.torch.operator is None, reason="one graph needs torch 2.4 or later")
OPTIONS = [{}, {"bias": True, "top_k": 2}, {"learn_masks": False}, {"kernels": "torch", "bias": True}]


def make(dtype=torch.float32, **options):
    torch.manual_seed(1)
    module = MGLU(24, 40, 3, dtype=dtype, **options)
    return module, torch.randn(2, 7, 24, dtype=dtype), torch.randn(2, 7, 40, dtype=dtype)


def assert_equal(got, want):
    assert torch.equal(got[0], want[0]) and got[1].keys() == want[1].keys()
    assert all(torch.equal(gradient, want[1][name]) for name, gradient in got[1].items())


@pytest.mark.parametrize("options", [{"kernels": "torch"}, {"kernels": "torch", "bias": True}], ids=str)
def test_autocast_computes_as_parameters_of_its_dtype(options):
    """The gradients have the dtypes of the parameters; nothing else differs."""
    module, x, dz = make(**options)
    rounded = copy.deepcopy(module).bfloat16()
    rounded.mask.data = module.mask.data
    with torch.autocast("cpu", torch.bfloat16):
        got = naive.gradients(module, module, x, dz.bfloat16())
    want = naive.gradients(rounded, rounded, x.bfloat16(), dz.bfloat16())
    assert got[0].dtype == torch.bfloat16 and all(gradient.dtype == torch.float32 for gradient in got[1].values())
    assert_equal(got, (want[0], {name: gradient.float() for name, gradient in want[1].items()}))


@pytest.mark.parametrize("kernels", ["torch", "mglu"])
def test_autocast_with_routing(kernels):
    module, x, dz = make(top_k=2, kernels=kernels)
    with torch.autocast("cpu", torch.bfloat16):
        logits = module.router(x)
        z = module(x)
    assert logits.dtype == z.dtype == torch.bfloat16
    error = (z.double() - naive.projection(copy.deepcopy(module).double(), x.double())).abs().max()
    assert error < 0.05 * z.abs().max()


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradient_checkpointing(options, reentrant):
    module, x, dz = make(**options)
    with_checkpoint = naive.gradients if not reentrant else backward_gradients
    got = with_checkpoint(lambda x: checkpoint(module, x, use_reentrant=reentrant), module, x, dz)
    assert_equal(got, naive.gradients(module, module, x, dz))


def backward_gradients(function, module, x, dz):
    """As naive.gradients(), by backward(), which is all that the older kind of checkpoint takes."""
    x = x.detach().requires_grad_()
    z = function(x)
    z.backward(dz)
    return z.detach(), {"x": x.grad, **{name: parameter.grad for name, parameter in module.named_parameters()}}


@can_compile
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_torch_compile_makes_one_graph(options):
    """aot_eager traces forward and backward, and computes them with the operations of kernels="torch"."""
    module, x, dz = make(**{**options, "kernels": "torch"})
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert_equal(naive.gradients(compiled, module, x, dz), naive.gradients(module, module, x, dz))


@can_compile
def test_torch_compile_does_not_trace_the_kernels_of_the_library():
    module, x, _ = make()
    torch._dynamo.reset()
    assert torch.allclose(torch.compile(module, fullgraph=True, backend="eager")(x), module(x), atol=1e-6)
    module.kernels = "mglu"
    with pytest.raises(Exception, match="can't trace the library's kernels"):
        torch.compile(module, backend="eager")(x)


@can_compile
def test_torch_compile_of_a_frozen_module():
    module, x, _ = make()
    torch._dynamo.reset()
    module.freeze()
    with torch.no_grad():
        assert torch.equal(torch.compile(module, fullgraph=True, backend="eager")(x), module(x))


def test_shapes_alone_on_the_device_meta():
    module = MGLU(24, 40, 3, bias=True, top_k=2, device="meta")
    z = module(torch.empty(2, 7, 24, device="meta", requires_grad=True))
    z.sum().backward()
    assert z.shape == (2, 7, 40) and module.mask.grad.shape == (3, 40, 24)


@pytest.mark.skipif(not hasattr(torch, "set_default_device"), reason="needs torch 2.0")
def test_a_default_device_is_not_that_of_the_kernels_memory():
    module, x, dz = make(kernels="mglu")
    want = naive.gradients(module, module, x, dz)
    with torch.device("meta"):
        got = naive.gradients(module, module, x, dz)
    assert_equal(got, want)


@pytest.mark.parametrize("kernels", ["mglu", "torch"])
def test_no_tokens_with_fixed_parameters(kernels):
    module = MGLU(24, 40, 3, kernels=kernels).requires_grad_(False)
    x = torch.empty(0, 24, requires_grad=True)
    module(x).sum().backward()
    assert x.grad.shape == (0, 24)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU was found")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_gpu_computes_as_the_cpu(options):
    module, x, dz = make(torch.float64, **options)
    want = naive.gradients(module, module, x, dz)
    got = naive.gradients(module.cuda(), module, x.cuda(), dz.cuda())
    assert torch.allclose(got[0].cpu(), want[0])
    assert all(torch.allclose(gradient.cpu(), want[1][name]) for name, gradient in got[1].items())


def test_an_optimiser_turns_masks():
    """A few steps towards another layer: the loss falls and bits of the masks change."""
    (target, x, _), module = make(), MGLU(24, 40, 3)
    before = module.mask.detach() > 0
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    losses = []
    for _ in range(30):
        loss = (module(x) - target(x).detach()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    assert 0.1 < ((module.mask > 0) != before).float().mean() < 0.9


def test_a_block_is_its_two_projections():
    module, x, _ = make(bias=True)
    block = MLP(module, torch.nn.Linear(40, 24))
    assert torch.equal(block(x), block.down_proj(module(x)))
    assert list(block.state_dict()) == ["up_proj.weight", "up_proj.mask", "up_proj.gate_bias", "up_proj.value_bias",
                                        "down_proj.weight", "down_proj.bias"]
