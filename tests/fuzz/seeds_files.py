# SPDX-License-Identifier: MIT
"""Seeds of the targets that read files: FILE, PACK, MODEL and JSON, from a name to the bytes."""

import json
import struct

ONE_F32, NAN_F32 = struct.pack("<f", 1), struct.pack("<I", 0x7FC00000)
ONE_F16, ONE_BF16 = struct.pack("<e", 1), ONE_F32[2:]


def tensor(name, dtype, shape, begin, end):
    """One member of a header."""
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}'.replace(", ", ",")


def file(members, data=b"", length=None):
    """A file with these members in its header; `length` is a wrong size of the header."""
    header = ("{" + ",".join(members) + "}").encode() if isinstance(members, list) else members.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


FILE = {
    # Files that must be read.
    "nothing": file("{}"),
    "plain": file([tensor("m.gate_proj.weight", "BF16", [1, 2], 0, 4), tensor("m.up_proj.weight", "BF16", [1, 2], 4, 8),
                   tensor("x.weight", "F32", [1, 1], 8, 12), tensor("x.mask", "BOOL", [1, 1], 12, 13)],
                  4 * ONE_BF16 + ONE_F32 + b"\1"),
    "packed": file(['"__metadata__":{"mglu.version":"1","mglu.activation.a":"silu"}',
                    tensor("a.weight", "F16", [1, 40], 0, 80), tensor("a.mask_bits", "I32", [1, 2, 2], 80, 96)],
                   40 * ONE_F16 + struct.pack("<4I", 5, 6, 255, 0)),
    "checkpoint": file(['"__metadata__":{"format":"pt","mglu.activation":"relu"}',
                        tensor("m.up_proj.weight", "F32", [2, 3], 0, 24),
                        tensor("m.up_proj.mask", "F32", [2, 2, 3], 24, 72),
                        tensor("m.up_proj.gate_bias", "F32", [2, 2], 72, 88),
                        tensor("m.up_proj.router.weight", "BF16", [2, 3], 88, 100),
                        tensor("m.down_proj.weight", "F16", [2, 2], 100, 108),
                        tensor("m.down_proj.bias", "F16", [2], 108, 112)],
                       6 * ONE_F32 + struct.pack("<12f", *(range(-6, 6))) + 4 * ONE_F32 + 6 * ONE_BF16 + 6 * ONE_F16),
    "empty-sizes": file([tensor("a.weight", "F16", [0, 3], 0, 0), tensor("a.mask_bits", "U32", [0, 1, 1], 0, 0),
                         tensor("b.weight", "F16", [3, 0], 0, 0), tensor("b.mask", "F16", [1, 3, 0], 0, 0),
                         tensor("scalar", "F64", [], 0, 8)], bytes(8)),
    "escapes": file(r'{"a\u00e4\n\"":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":{"x":[null,true,1.5]}}, '
                    r'"__metadata__" : {"k\t":"v"} }  ', b"\0"),
    "no-prefix": file([tensor("weight", "F32", [1, 1], 0, 4), tensor("mask", "U8", [1, 1, 1], 4, 5)], ONE_F32 + b"\0"),
    "q8_0": file([tensor("m.gate_proj.weight", "I8", [1, 40], 0, 40), tensor("m.up_proj.weight", "I8", [1, 40], 40, 80),
                  tensor("m.gate_proj.weight_scale", "F16", [1, 2], 80, 84),
                  tensor("m.up_proj.weight_scale", "F16", [1, 2], 84, 88),
                  tensor("a.weight", "F32", [1, 32], 88, 216), tensor("a.mask", "U8", [1, 32], 216, 248)],
                 bytes(range(80)) + 4 * ONE_F16 + 32 * ONE_F32 + 32 * b"\1"),
    "q4_0": file([tensor("m.up_proj.weight", "U8", [32, 16], 0, 512),
                  tensor("m.up_proj.weight_scale", "F16", [32, 1], 512, 576),
                  tensor("m.up_proj.mask_bits", "I32", [32, 1, 1], 576, 704),
                  tensor("m.down_proj.weight", "U8", [1, 16], 704, 720),
                  tensor("m.down_proj.weight_scale", "F16", [1, 1], 720, 722)],
                 512 * b"\x87" + 32 * ONE_F16 + bytes(128) + 16 * b"\x78" + ONE_F16),
    # Other layouts: names, gate and value in one matrix, stacks of experts.
    "other-names": file([tensor("m.w1.weight", "F16", [2, 2], 0, 8), tensor("m.w3.weight", "F16", [2, 2], 8, 16),
                         tensor("m.w2.weight", "F16", [3, 2], 16, 28)], 14 * ONE_F16),
    **{f"fused-{order}": file([f'"__metadata__":{{"mglu.fused":"{order}"}}',
                               tensor("m.gate_up_proj.weight", "F16", [4, 2], 0, 16),
                               tensor("m.down_proj.weight", "F16", [3, 2], 16, 28)], 14 * ONE_F16)
       for order in ("halves", "interleaved", "bad")},
    "experts": file(['"__metadata__":{"mglu.fused":"halves"}',
                     tensor("m.experts.gate_up_proj", "F16", [2, 2, 6], 0, 48),
                     tensor("m.experts.gate_up_proj_bias", "F16", [2, 6], 48, 72),
                     tensor("m.experts.down_proj", "F16", [2, 3, 2], 72, 96),
                     tensor("m.experts.down_proj_bias", "F16", [2, 2], 96, 104)], 52 * ONE_F16),
    # A finding: the target did not know this status of mglu_file_layer().
    "fused-without-order": file([tensor("m.gate_up_proj.weight", "F16", [4, 2], 0, 16),
                                 tensor("m.down_proj.weight", "F16", [3, 2], 16, 28)], 14 * ONE_F16),
    # Files that must be refused.
    "bad-no-scale": file([tensor("a.weight", "I8", [1, 3], 0, 3), tensor("a.mask", "U8", [1, 3], 3, 6)], bytes(6)),
    "bad-scale": file([tensor("a.weight", "I8", [1, 3], 0, 3), tensor("a.mask", "U8", [1, 3], 3, 6),
                       tensor("a.weight_scale", "F16", [1, 1], 6, 8)], bytes(6) + b"\0\x7e"),
    "bad-short": b"\2\0\0",
    "bad-length": file("{}", length=2**64 - 1),
    "bad-json": file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]', b"\0"),
    "bad-nesting": file('{"a":' + 64 * "[" + 64 * "]" + "}"),
    "bad-twice": file([tensor("a", "U8", [1], 0, 1), tensor("a", "U8", [1], 1, 2)], bytes(2)),
    "bad-overlap": file([tensor("a", "U8", [2], 0, 2), tensor("b", "U8", [2], 1, 3)], bytes(3)),
    "bad-product": file([tensor("a", "F64", [2**32, 2**32], 0, 0)]),
    "bad-17-masks": file([tensor("a.weight", "F32", [1, 1], 0, 4), tensor("a.mask", "U8", [17, 1, 1], 4, 21)],
                         ONE_F32 + 17 * b"\1"),
    "bad-nan": file([tensor("a.weight", "F32", [1, 1], 0, 4), tensor("a.mask", "F32", [1, 1], 4, 8)], 2 * NAN_F32),
    "bad-padding": file([tensor("a.weight", "F16", [1, 3], 0, 6), tensor("a.mask_bits", "I32", [1, 1, 1], 6, 10)],
                        bytes(6) + struct.pack("<I", 8)),
    "bad-two-layers-in-one": file([tensor("m.weight", "F32", [1, 1], 0, 4), tensor("m.mask", "U8", [1, 1], 4, 5),
                                   tensor("m.up_proj.weight", "F32", [1, 1], 5, 9),
                                   tensor("m.up_proj.mask", "U8", [1, 1], 9, 10),
                                   tensor("m.down_proj.weight", "BOOL", [5], 10, 15)],
                                  ONE_F32 + b"\1" + ONE_F32 + 6 * b"\1"),
}


# The options of fuzz_pack.c (bit 0: convert, 1-3: dtype, 4-5: activation, 6: cancel, 7: same path), then a file.
PACK_OPTIONS = {"plain": 0x00, "f16": 0x03, "bf16": 0x05, "q8_0": 0x07, "q4_0": 0x09, "f32": 0x01, "strange-dtype": 0x0f,
                "activation": 0x10, "strange-activation": 0x20, "empty-activation": 0x30, "cancelled": 0x41,
                "in-place": 0x87}
PACK = {f"{name}-{seed}": bytes([options]) + FILE[seed]
        for name, options in PACK_OPTIONS.items()
        for seed in ("checkpoint", "packed", "q4_0", "bad-nan", "other-names", "fused-without-order")}
PACK.update({f"plain-{seed}": b"\0" + content for seed, content in FILE.items()})
PACK["gguf-version"] = b"\0GGUF" + bytes(4)

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 2, "intermediate_size": 3, "num_hidden_layers": 1,
          "num_attention_heads": 1, "vocab_size": 256, "max_position_embeddings": 8, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0, "hidden_act": "silu", "tokenizer": "bytes", "tie_word_embeddings": True,
          "attention_bias": False}


def weights(names, dtype="BF16"):
    """A file with tensors {name: shape}, whose elements are 1."""
    size = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "BOOL": 1, "U8": 1}
    one = {"BF16": ONE_BF16, "F16": ONE_F16, "F32": ONE_F32, "F64": struct.pack("<d", 1), "BOOL": b"\1", "U8": b"\1"}
    members, data = [], b""
    for name, shape in names.items():
        kind = "BOOL" if name.endswith(".mask") else dtype
        count = 1
        for length in shape:
            count *= length
        members.append(tensor(name, kind, shape, len(data), len(data) + count * size[kind]))
        data += count * one[kind]
    return file(members, data)


def decoder(config, masks=0):
    """The tensors of a model of this config."""
    h, d = config["hidden_size"], config["intermediate_size"]
    heads, size = config["num_attention_heads"], config.get("head_dim", h // config["num_attention_heads"])
    narrow = config.get("num_key_value_heads", heads) * size
    names = {"model.embed_tokens.weight": [256, h], "model.norm.weight": [h]}
    if not config["tie_word_embeddings"]:
        names["lm_head.weight"] = [256, h]
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}."
        names[layer + "input_layernorm.weight"] = [h]
        names[layer + "post_attention_layernorm.weight"] = [h]
        for which, rows, columns in (("q", heads * size, h), ("k", narrow, h), ("v", narrow, h), ("o", h, heads * size)):
            names[f"{layer}self_attn.{which}_proj.weight"] = [rows, columns]
            if config["attention_bias"]:
                names[f"{layer}self_attn.{which}_proj.bias"] = [rows]
        names[layer + "mlp.up_proj.weight"] = [d, h]
        names[layer + "mlp." + ("up_proj.mask" if masks else "gate_proj.weight")] = [masks, d, h] if masks else [d, h]
        names[layer + "mlp.down_proj.weight"] = [h, d]
    return names


def model(changes=None, masks=0, dtype="BF16", wrong=None):
    """config.json with its length before it, and the weights that fit to it, or with `wrong` added to the names."""
    config = {**CONFIG, **(changes or {})}
    text = json.dumps(config).encode()
    return struct.pack("<H", len(text)) + text + weights({**decoder(config, masks), **(wrong or {})}, dtype)


MODEL = {
    "plain": model(),
    "masked": model({"num_masks": 2}, masks=2),
    "heads": model({"hidden_size": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2,
                    "attention_bias": True, "tie_word_embeddings": False, "max_position_embeddings": 2}),
    "two-layers": model({"num_hidden_layers": 2, "hidden_act": "gelu_pytorch_tanh"}, dtype="F32"),
    "doubles": model({"hidden_act": "relu"}, dtype="F64"),
    "null": model({"num_masks": None, "rope_scaling": None}),
    "bad-shape": model(wrong={"model.norm.weight": [3]}),
    "bad-masks": model({"num_masks": 3}, masks=2),
    "bad-activation": model({"hidden_act": "none of them"}),
    "bad-tokenizer": model({"tokenizer": "bpe"}),
    "bad-number": model({"rms_norm_eps": -1, "vocab_size": 2**60}),
    "bad-rope": model({"rope_scaling": {"type": "linear"}}),
    "bad-json": struct.pack("<H", 9) + b'{"a": 1,}' + weights({}),
    "bad-array": struct.pack("<H", 2) + b"[]",
    "bad-nothing": b"",
}

JSON = {
    "header": FILE["checkpoint"][8:500].partition(b"}}")[0] + b"}}",
    "config": json.dumps(CONFIG, indent=1).encode(),
    "numbers": b"[1,-2,3.25,-4e5,6E-7,0,-0,0.0,1e22,12345678901234567,18446744073709551615,1e400]",
    "texts": br'["\u00e4\ud83d\ude00\"\\\/\b\f\n\r\t","","\u0000"]',
    "utf-8": '["\u00e4\u20ac\U0001f600"]'.encode(),
    "nested": 100 * b"[" + 100 * b"]",
    "mixed": b'{"a":[true,false,null,{}],"":{"b":[]},"a b":-1.5e-3} \r\n\t',
    "twice": b'{"a":1,"a":2}',
    "bad-utf-8": b'["\xc0\x80\xed\xa0\x80"]',
    "bad-surrogate": br'["\ud800"]',
    "bad-comma": b"[1,]",
    "bad-number": b"[01]",
    "bad-end": b'{"a":',
    "bad-nul": b"[1,2\0]",
    "bad-more": b"{} {}",
    "too-deep": 200 * b"[" + 200 * b"]",
}

INDEX = {
    "good": b'{"metadata":{"total_size":5},"weight_map":{"p.weight":"a.safetensors","p.mask":"a.safetensors"}}',
    "missing-tensor": b'{"weight_map":{"p.weight":"a.safetensors"}}',
    "missing-shard": b'{"weight_map":{"p.weight":"a.safetensors","p.mask":"b.safetensors"}}',
    "outside": b'{"weight_map":{"p.weight":"../a.safetensors"}}',
    "twice": b'{"weight_map":{"p.mask":"a.safetensors","p.mask":"a.safetensors"}}',
    "empty": b'{"weight_map":{}}',
}
