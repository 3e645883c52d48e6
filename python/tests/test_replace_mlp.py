# SPDX-License-Identifier: MIT
"""mglu.torch.replace_mlp() on models of the transformers package, trained, saved, packed and run by the programs."""

import json
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="PyTorch was not found; tools/test python installs it")
transformers = pytest.importorskip("transformers", reason="the package transformers was not found; tools/setup hub "
                                                          "installs it")

import mglu  # noqa: E402
from mglu.torch import MLP, replace_mlp  # noqa: E402

transformers.logging.set_verbosity_error()
SIZES = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "pad_token_id": 0,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "tokenizer": "bytes"}
TEXT = bytes((7 * i * i + 3 * i) % 256 for i in range(60))
# Kind of the model, what its configuration has besides SIZES, and the activation.
MODELS = [
    ("Llama", {}, "silu"),
    ("Llama", {"mlp_bias": True, "hidden_act": "gelu"}, "gelu_erf"),
    ("Mistral", {"hidden_act": "gelu_new"}, "gelu_tanh"),
    ("Qwen2", {"hidden_act": "relu"}, "relu"),
    ("Gemma", {"head_dim": 16, **dict.fromkeys(("hidden_act", "hidden_activation"), "gelu_pytorch_tanh")}, "gelu_tanh"),
]


def make(kind, changes, **options):
    torch.manual_seed(1)
    config = getattr(transformers, kind + "Config")(**{**SIZES, **changes}, attn_implementation="eager")
    return replace_mlp(getattr(transformers, kind + "ForCausalLM")(config), **options)


def train(model, steps=3):
    text = torch.tensor(list(TEXT))[None]
    optimiser = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        model(text, labels=text).loss.backward()
        optimiser.step()
    with torch.no_grad():
        return model(text, labels=text).loss.item()


def mglu_program(*arguments):
    program = shutil.which("mglu")
    command = [program] if program else [sys.executable, "-m", "mglu"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def nats_per_byte(folder, text, *options):
    return json.loads(mglu_program("perplexity", folder, "--text", text, "--json", *options))["nll_nats_per_byte"]


@pytest.mark.parametrize("kind, changes, activation", MODELS)
def test_blocks_are_replaced(kind, changes, activation):
    model = make(kind, changes, n_masks=3, mask_std=0.5)
    for layer in model.model.layers:
        block = layer.mlp
        assert isinstance(block, MLP) and type(block.down_proj) is torch.nn.Linear
        assert block.up_proj.activation == activation and block.up_proj.mask.std().item() == pytest.approx(0.5, rel=0.1)
        assert (block.up_proj.gate_bias is None) == (not changes.get("mlp_bias"))
        assert block.up_proj.weight.std().item() == pytest.approx(model.config.initializer_range, rel=0.1)
    assert model.config.num_masks == 3
    first = train(model, 0)
    assert train(model, 5) < first


def test_down_proj_dtype_and_mode_are_kept():
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).bfloat16().eval()
    down = model.model.layers[1].mlp.down_proj
    block = replace_mlp(model, n_masks=2, top_k=1).model.layers[1].mlp
    assert block.down_proj is down and not block.training
    assert {parameter.dtype for parameter in block.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("kind, changes, activation", MODELS[:4])
def test_a_trained_model_is_packed_and_has_the_same_perplexity(kind, changes, activation, tmp_path):
    model = make(kind, changes, learn_masks=activation != "relu")
    train(model)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "text").write_bytes(TEXT)
    mglu_program("pack", tmp_path / "model", tmp_path / "packed", "--dtype", "f32")
    text = torch.tensor(list(TEXT))
    with torch.no_grad():
        logits = model.double()(text[None]).logits[0].double()
    want = torch.nn.functional.cross_entropy(logits[:-1], text[1:]).item()
    for folder in ("model", "packed"):
        for backend in ("ref", "cpu"):
            got = nats_per_byte(tmp_path / folder, tmp_path / "text", "--backend", backend)
            assert got == pytest.approx(want, abs=1e-6 if backend == "ref" else 1e-4)


def test_a_saved_model_is_loaded_again(tmp_path):
    model = make("Llama", {}, n_masks=2)
    model.save_pretrained(tmp_path)
    config = transformers.LlamaConfig.from_pretrained(tmp_path)
    again = replace_mlp(transformers.LlamaForCausalLM(config), config.num_masks)
    again.load_state_dict(mglu_state(tmp_path / "model.safetensors"))
    assert train(again, 0) == train(model, 0)


def mglu_state(path):
    from safetensors.torch import load_file
    return load_file(path)


def test_frozen_blocks_generate():
    model = make("Llama", {}).eval()
    text = torch.tensor(list(TEXT))[None]
    with torch.no_grad():
        want = model(text).logits
        for layer in model.model.layers:
            layer.mlp.freeze()
        assert torch.allclose(model(text).logits, want, atol=1e-5)


@pytest.mark.parametrize("kind, message", [("Phi3", "the model's type is phi3; expected one of llama, mistral, qwen2"),
                                           ("Gemma2", "the model's type is gemma2")])
def test_other_models_are_refused(kind, message):
    changes = {"head_dim": 16} if kind == "Gemma2" else {}
    with pytest.raises(mglu.Unsupported, match=message):
        make(kind, changes)


def test_what_else_is_refused():
    with pytest.raises(mglu.Unsupported, match="the model's type is Linear; expected one of llama"):
        replace_mlp(torch.nn.Linear(2, 2))
    with pytest.raises(mglu.InvalidArgument, match="LlamaForCausalLM has no block of gate_proj"):
        replace_mlp(make("Llama", {}))
    with pytest.raises(mglu.Unsupported, match="the activation is QuickGELUActivation; expected one of SiLU"):
        make("Llama", {"hidden_act": "quick_gelu"})
