# SPDX-License-Identifier: MIT
"""mglu.torch.MGLU: its values and gradients against autograd of naive masked linear layers in float64."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch was not found; tools/test python installs it")

import naive  # noqa: E402

import mglu  # noqa: E402
import mglu.torch  # noqa: E402
from mglu.torch import MGLU  # noqa: E402

# Tokens, hidden size, intermediate size: groups of 32 columns that are whole, short and single; one token and many.
SHAPES = [(1, 1, 1), (1, 32, 16), (5, 31, 33), (33, 100, 7), (70, 64, 48)]
MASKS = (1, 2, 3, 4, 8, 16)
# Largest error of a result over its largest element.
BOUNDS = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 0.03}


# Whose kernels, and the dtypes that they compute.
KERNELS = [("torch", torch.float64), ("torch", torch.float32), ("torch", torch.bfloat16), ("mglu", torch.float32),
           ("mglu", torch.bfloat16)]
each_kernel = pytest.mark.parametrize("kernels, dtype", KERNELS)


def make(h, d, n, seed=1, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    return MGLU(h, d, n, dtype=dtype, **options)


def batch(tokens, h, d, dtype=torch.float64):
    return torch.randn(tokens, h).to(dtype), torch.randn(tokens, d).to(dtype)


def assert_close(got, want, bound):
    assert got.shape == want.shape
    difference, largest = (got.double() - want).abs(), want.abs().max()
    assert difference.max() <= bound * largest, f"{(difference.max() / largest).item():.2g} of the largest element"


def assert_as_naive(module, x, dz):
    """z and all gradients are those of the naive layer with the same numbers in float64."""
    bound = BOUNDS[x.dtype]
    exact = copy.deepcopy(module).double()
    z, gradients = naive.gradients(module, module, x, dz)
    want, want_gradients = naive.gradients(lambda x: naive.projection(exact, x), exact, x.double(), dz.double())
    assert_close(z, want, bound)
    assert gradients.keys() == want_gradients.keys()
    for name, gradient in gradients.items():
        assert gradient.dtype == (x if name == "x" else module.get_parameter(name)).dtype
        assert_close(gradient, want_gradients[name], bound)


@pytest.mark.parametrize("n", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernels, dtype", [KERNELS[0], KERNELS[3], KERNELS[4]])
def test_gradients_over_the_grid(kernels, dtype, shape, n):
    tokens, h, d = shape
    if dtype == torch.bfloat16 and shape == (1, 1, 1):
        pytest.skip("the one element is a difference of rounded numbers")
    assert_as_naive(make(h, d, n, bias=True, kernels=kernels, dtype=dtype), *batch(tokens, h, d, dtype))


@pytest.mark.parametrize("activation, beta", [*((name, 0) for name in naive.ACTIVATIONS), ("silu", 1.7),
                                              ("silu", -0.5)])
@each_kernel
def test_every_activation_and_dtype(activation, beta, kernels, dtype):
    module = make(40, 24, 2, dtype=dtype, activation=activation, silu_beta=beta, kernels=kernels)
    assert_as_naive(module, *batch(9, 40, 24, dtype))


@pytest.mark.parametrize("options", [{"bias": True}, {"top_k": 1}, {"top_k": 2}, {"top_k": 3, "bias": True},
                                     {"learn_masks": False}, {"learn_masks": False, "top_k": 2, "bias": True}], ids=str)
@pytest.mark.parametrize("kernels, dtype", [KERNELS[0], KERNELS[1], KERNELS[3]])
def test_every_option(options, kernels, dtype):
    assert_as_naive(make(40, 24, 3, kernels=kernels, dtype=dtype, **options), *batch(9, 40, 24, dtype))


def test_more_tokens_than_a_part_of_them(monkeypatch):
    monkeypatch.setattr("mglu.torch._function.CACHED_BYTES", 8 * 24)
    assert_as_naive(make(40, 24, 3, top_k=2, bias=True), *batch(9, 40, 24))


def test_derivatives_are_those_of_finite_differences():
    """Of all but the mask logits, whose gradient is that of the masks."""
    module = make(5, 4, 3, top_k=2, bias=True, mask_std=1.0)
    module.mask.requires_grad_(False)
    names, parameters = zip(*((name, p) for name, p in module.named_parameters() if p.requires_grad))
    assert names == ("weight", "gate_bias", "value_bias", "router.weight")
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, *parameters))


@pytest.mark.parametrize("kernels", ["torch", "mglu"])
def test_the_lower_mask_wins_a_tie(kernels):
    module = make(4, 3, 3, top_k=1, kernels=kernels, dtype=torch.float32)
    with torch.no_grad():
        module.router.weight.zero_()
        one = MGLU(4, 3, 1, kernels=kernels)
        one.load_state_dict({"weight": module.weight, "mask": module.mask[:1]})
        x = torch.randn(6, 4)
        assert torch.equal(module(x), one(x))


def test_rows_at_a_distance():
    module = make(6, 5, 2, kernels="mglu", dtype=torch.float32)
    x, dz = batch(4, 6, 5, torch.float32)
    for wide in (torch.randn(4, 9)[:, 1:7], torch.randn(6, 4).T):
        z, gradients = naive.gradients(module, module, wide.copy_(x), dz.T.contiguous().T)
        want, want_gradients = naive.gradients(module, module, x, dz)
        assert torch.equal(z, want) and all(torch.equal(gradients[name], want_gradients[name]) for name in gradients)


def test_which_kernels_are_used():
    module, x = make(6, 5, 2, dtype=torch.float32), torch.randn(4, 6)
    assert module.kernels == "auto" and module.kernels_for(x) == "mglu"
    assert module.double().kernels_for(x.double()) == "torch"
    module.kernels = "mglu"
    with pytest.raises(mglu.Unsupported, match="x is torch.float64, the weight torch.float64 .* expected float32"):
        module(x.double())
    module.float().kernels = "torch"
    assert module.kernels_for(x) == "torch"
    module.kernels = "numpy"
    with pytest.raises(mglu.InvalidArgument, match="kernels is 'numpy'; expected one of auto, torch, mglu"):
        module(x)


def test_x_has_the_dtype_of_the_weight():
    with pytest.raises(mglu.InvalidArgument, match="x is torch.bfloat16; expected torch.float32, as the weight is"):
        make(6, 5, 2, dtype=torch.float32)(torch.randn(4, 6).bfloat16())


@pytest.mark.parametrize("frozen", [("x",), ("weight",), ("mask",), ("weight", "mask"),
                                    ("x", "gate_bias", "value_bias")])
@pytest.mark.parametrize("kernels", ["torch", "mglu"])
def test_gradients_that_are_not_wanted_are_not_computed(kernels, frozen):
    module, (x, dz) = make(6, 5, 2, bias=True, kernels=kernels, dtype=torch.float32), batch(4, 6, 5, torch.float32)
    _, want = naive.gradients(module, module, x, dz)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    x.requires_grad_("x" not in frozen)
    module(x).backward(dz)
    for name, tensor in (("x", x), *module.named_parameters()):
        assert tensor.grad is None if name in frozen else torch.equal(tensor.grad, want[name])


@pytest.mark.parametrize("kernels", ["torch", "mglu"])
def test_no_masked_copy_of_the_weights_is_kept(kernels):
    """Kept are x, W, the logits and the sums [1 + n_m, tokens, d], of which the library aligns each to 64 bytes."""
    module, (x, dz) = make(640, 48, 4, kernels=kernels, dtype=torch.float32), batch(3, 640, 48, torch.float32)
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        z = module(x.requires_grad_())
    elements = x.numel() + module.weight.numel() + module.mask.numel() + 5 * z.numel()
    assert 4 * elements <= sum(kept.values()) <= 4 * elements + 1024


@pytest.mark.parametrize("kernels", ["torch", "mglu"])
def test_the_same_bits_each_time(kernels):
    module = make(64, 48, 4, dtype=torch.float32, top_k=2, bias=True, kernels=kernels)
    x, dz = batch(70, 64, 48, torch.float32)
    first, second = (naive.gradients(module, module, x, dz) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(gradient, second[1][name]) for name, gradient in first[1].items())


@pytest.mark.parametrize("shape", [(6,), (0, 6), (2, 3, 6), (2, 0, 3, 6)])
@pytest.mark.parametrize("kernels", ["torch", "mglu"])
def test_any_number_of_dimensions(kernels, shape):
    module = make(6, 5, 2, top_k=1, kernels=kernels, dtype=torch.float32)
    x = torch.randn(shape, requires_grad=True)
    z = module(x)
    assert z.shape == (*shape[:-1], 5)
    z.sum().backward()
    assert x.grad.shape == x.shape and module.mask.grad.shape == module.mask.shape
    if x.numel():
        assert_close(z.reshape(-1, 5), naive.projection(module, x.reshape(-1, 6)), 1e-5)


def test_parameters_have_the_names_of_the_format():
    assert list(make(6, 5, 2, bias=True, top_k=1).state_dict()) == ["weight", "mask", "gate_bias", "value_bias",
                                                                     "router.weight"]
    fixed = make(6, 5, 2, learn_masks=False)
    assert fixed.mask.dtype == torch.uint8 and list(dict(fixed.named_parameters())) == ["weight"]
    assert fixed.half().mask.dtype == torch.uint8


def test_how_parameters_begin():
    module = make(64, 300, 4, bias=True, mask_std=0.02)
    assert module.mask.std().item() == pytest.approx(0.02, rel=0.02) and abs(module.mask.mean().item()) < 1e-3
    assert module.weight.abs().max() <= 1 / 8 and module.weight.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.05)
    fixed = make(64, 300, 4, learn_masks=False)
    assert set(fixed.mask.unique().tolist()) == {0, 1} and abs(fixed.mask.double().mean().item() - 0.5) < 0.01
    assert torch.equal(make(6, 5, 2, seed=3).mask, make(6, 5, 2, seed=3).mask)


@pytest.mark.parametrize("options, message", [
    ({"n_masks": 0}, "n_masks is 0; expected 1 to 16"),
    ({"n_masks": 17}, "n_masks is 17"),
    ({"n_masks": 2, "top_k": 3}, "top_k is 3; expected 0 to n_masks, 2"),
    ({"n_masks": 2, "activation": "swish"}, "activation is 'swish'; expected one of silu, gelu_erf"),
    ({"n_masks": 2, "activation": "relu", "silu_beta": 2.0}, "silu_beta is 2.0; expected 0 for relu"),
])
def test_options_that_are_refused(options, message):
    with pytest.raises(mglu.InvalidArgument, match=message):
        MGLU(6, 5, **options)


@pytest.mark.parametrize("kernels", ["torch", "mglu"])
def test_second_derivatives_are_refused(kernels):
    module, (x, _) = make(6, 5, 2, kernels=kernels, dtype=torch.float32), batch(4, 6, 5, torch.float32)
    with pytest.raises(mglu.Unsupported, match="first derivatives only"):
        torch.autograd.grad(module(x.requires_grad_()).sum(), x, create_graph=True)
