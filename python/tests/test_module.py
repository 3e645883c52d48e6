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
def test_gradients_over_the_grid(shape, n):
    tokens, h, d = shape
    assert_as_naive(make(h, d, n, bias=True), *batch(tokens, h, d))


@pytest.mark.parametrize("activation, beta", [*((name, 0) for name in naive.ACTIVATIONS), ("silu", 1.7), ("silu", -0.5)])
@pytest.mark.parametrize("dtype", BOUNDS)
def test_every_activation_and_dtype(activation, beta, dtype):
    assert_as_naive(make(40, 24, 2, dtype=dtype, activation=activation, silu_beta=beta), *batch(9, 40, 24, dtype))


@pytest.mark.parametrize("options", [{"bias": True}, {"top_k": 1}, {"top_k": 2}, {"top_k": 3, "bias": True},
                                     {"learn_masks": False}, {"learn_masks": False, "top_k": 2, "bias": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_option(options, dtype):
    assert_as_naive(make(40, 24, 3, dtype=dtype, **options), *batch(9, 40, 24, dtype))


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


def test_the_lower_mask_wins_a_tie():
    module = make(4, 3, 3, top_k=1)
    with torch.no_grad():
        module.router.weight.zero_()
        one = MGLU(4, 3, 1, dtype=torch.float64)
        one.load_state_dict({"weight": module.weight, "mask": module.mask[:1]})
        x = torch.randn(6, 4, dtype=torch.float64)
        assert torch.equal(module(x), one(x))


@pytest.mark.parametrize("frozen", [("x",), ("weight",), ("mask",), ("weight", "mask"), ("x", "gate_bias", "value_bias")])
def test_gradients_that_are_not_wanted_are_not_computed(frozen):
    module, (x, dz) = make(6, 5, 2, bias=True), batch(4, 6, 5)
    _, want = naive.gradients(module, module, x, dz)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    x.requires_grad_("x" not in frozen)
    module(x).backward(dz)
    for name, tensor in (("x", x), *module.named_parameters()):
        assert tensor.grad is None if name in frozen else torch.equal(tensor.grad, want[name])


def test_no_masked_copy_of_the_weights_is_kept():
    """Kept are x, W, the logits and the sums [1 + n_m, tokens, d]."""
    module, (x, dz) = make(64, 48, 4), batch(3, 64, 48)
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        z = module(x.requires_grad_())
    assert sum(kept.values()) == x.numel() + module.weight.numel() + module.mask.numel() + 5 * z.numel()


def test_the_same_bits_each_time():
    module, (x, dz) = make(64, 48, 4, dtype=torch.float32, top_k=2, bias=True), batch(70, 64, 48, torch.float32)
    first, second = (naive.gradients(module, module, x, dz) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(gradient, second[1][name]) for name, gradient in first[1].items())


@pytest.mark.parametrize("shape", [(6,), (0, 6), (2, 3, 6), (2, 0, 3, 6)])
def test_any_number_of_dimensions(shape):
    module = make(6, 5, 2, top_k=1)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    z = module(x)
    assert z.shape == (*shape[:-1], 5)
    z.sum().backward()
    assert x.grad.shape == x.shape and module.mask.grad.shape == module.mask.shape
    assert_close(z.reshape(-1, 5), naive.projection(module, x.reshape(-1, 6)), 1e-13) if x.numel() else None


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


def test_second_derivatives_are_refused():
    module, (x, _) = make(6, 5, 2), batch(4, 6, 5)
    with pytest.raises(mglu.Unsupported, match="first derivatives only"):
        torch.autograd.grad(module(x.requires_grad_()).sum(), x, create_graph=True)
