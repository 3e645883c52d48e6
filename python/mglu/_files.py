# SPDX-License-Identifier: MIT
"""Layers in safetensors and GGUF files, read, written and packed by libmglu-io."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
from ctypes import byref, c_int, c_int64, c_uint32
from typing import Any, Callable, Mapping, NamedTuple

import numpy

from . import _arrays as a
from . import _pack as p
from . import _structs as s
from ._context import Device, default_context
from ._errors import Error, InvalidArgument
from ._layer import Layer, bfloat16
from ._library import Handle, check, core, io, text_of
from ._weights import Weights

_FUSED = {None: 0, "halves": s.FILE_FUSED_HALVES, "interleaved": s.FILE_FUSED_INTERLEAVED}
_NUMPY_NAMES = {"BOOL": "bool", "U8": "u1", "I8": "i1", "I16": "i2", "U16": "u2", "F16": "f2", "I32": "i4", "U32": "u4",
                "F32": "f4", "F64": "f8", "I64": "i8", "U64": "u8"}
_FILE_CODES = {name: code for code, name in enumerate(s.FILE_DTYPES)}


class TensorInfo(NamedTuple):
    """A tensor of a file."""

    dtype: str
    shape: tuple[int, ...]


def _fused_flag(fused: str | None) -> int:
    if fused not in _FUSED:
        raise InvalidArgument(f"fused is '{fused}'; expected 'halves' or 'interleaved'")
    return _FUSED[fused]


def _flags(path: Any, fused: str | None, ignore_unread: bool) -> int:
    """Flags of mglu_file_open(). The order of fused rows also comes from a config.json in the folder."""
    flags = _fused_flag(fused) | (s.FILE_IGNORE_UNREAD if ignore_unread else 0)
    folder = pathlib.Path(path) if os.path.isdir(path) else pathlib.Path(path).parent
    config = folder / "config.json"
    if fused is None and config.is_file():
        model_type = json.loads(config.read_text(encoding="utf-8")).get("model_type")
        known = c_uint32()
        check(io.mglu_file_model_flags(str(model_type).encode(), byref(known)))
        flags |= known.value
    return flags


class File:
    """A safetensors or GGUF file with layers, or a folder with a model, whose shards are read as one.

    mmap: the file is mapped instead of read; it must then not be truncated while it is in use. fused: the order of gate
    and value where they share a matrix, "halves" or "interleaved"; None: as the file, or a config.json beside it, says.
    ignore_unread: layers are read although there are tensors beside theirs that nothing reads.
    """

    def __init__(self, path: str | os.PathLike[str], *, mmap: bool = False, fused: str | None = None,
                 ignore_unread: bool = False):
        flags = _flags(path, fused, ignore_unread) | (s.FILE_MMAP if mmap else 0)
        function = io.mglu_file_open_folder if os.path.isdir(path) else io.mglu_file_open
        self.path = os.fspath(path)
        self.handle = Handle(function, os.fsencode(path), flags, destroy=io.mglu_file_close)

    def layers(self) -> list[str]:
        """Names of the layers: of the whole block where a projection has a down-projection, else of the projection."""
        names = [text_of(name) for name in _until_null(io.mglu_file_layer_at, self.handle.value)]
        return list(dict.fromkeys(self._block(name) for name in names))

    def _block(self, name: str) -> str:
        """The block M around a masked projection M.up_proj, if there is one."""
        parent = name.rpartition(".")[0]
        try:
            return parent if self._layer(parent)[0].n_masks and parent else name
        except Error:
            return name

    def metadata(self) -> dict[str, str]:
        keys = _until_null(io.mglu_file_metadata_key, self.handle.value)
        return {text_of(key): text_of(io.mglu_file_metadata(self.handle.value, key)) for key in keys}

    def tensors(self) -> dict[str, TensorInfo]:
        """All tensors by name."""
        found = {}
        for index in range(io.mglu_file_tensor_count(self.handle.value)):
            tensor = io.mglu_file_tensor_at(self.handle.value, index).contents
            found[text_of(tensor.name)] = _info(tensor)
        return found

    def tensor(self, name: str) -> Any:
        """A tensor as a read-only numpy array in the file's memory; BF16 is uint16 without the package ml_dtypes."""
        pointer = io.mglu_file_find(self.handle.value, name.encode())
        if not pointer:
            raise KeyError(name)
        tensor = pointer.contents
        info = _info(tensor)
        dtype = bfloat16() if info.dtype == "BF16" else _NUMPY_NAMES.get(info.dtype)
        if dtype is None:
            raise InvalidArgument(f"{self.path}: tensor '{name}' is {info.dtype}, which numpy does not have")
        if not tensor.bytes:
            return numpy.empty(info.shape, dtype)
        memory = (ctypes.c_char * tensor.bytes).from_address(tensor.data)
        memory.owner = self.handle
        array = numpy.frombuffer(memory, dtype).reshape(info.shape)
        array.flags.writeable = False
        return array

    def _layer(self, name: str) -> tuple[Any, str | None]:
        """The desc of a layer's weights, and its activation if the file names one."""
        weights, layer, has_activation = p.sized(s.WeightsDesc), p.sized(s.LayerDesc), c_int()
        check(io.mglu_file_layer(self.handle.value, name.encode(), byref(weights), byref(layer),
                                 byref(has_activation)))
        return weights, text_of(core.mglu_activation_name(layer.activation)) if has_activation.value else None

    def weights(self, name: str, *, dtype: str | None = None, device: Device | str | None = None,
                rows: slice | None = None) -> Weights:
        """The weights of a layer; dtype, device and rows as of Weights. What is packed in the file, and of that dtype,
        is used where it is."""
        return Weights.of_file(self.handle, self._layer(name)[0], device, dtype, rows)

    def layer(self, name: str, *, dtype: str | None = None, device: Device | str | None = None,
              rows: slice | None = None, activation: str | None = None, **options: Any) -> Layer:
        """A layer; options as of Layer. The activation is the file's unless one is given."""
        desc, named = self._layer(name)
        chosen = activation or named
        if chosen is None:
            raise InvalidArgument(f"{self.path} names no activation; expected activation=, as 'silu'")
        return Layer(Weights.of_file(self.handle, desc, device, dtype, rows), activation=chosen, **options)

    def __repr__(self) -> str:
        return f"<mglu.File {self.path}: {len(self.layers())} layers>"


def _until_null(function: Callable[[Any, int], bytes | None], handle: Any) -> list[bytes]:
    """What a function gives for 0, 1, and so on, until it gives NULL."""
    found: list[bytes] = []
    while (value := function(handle, len(found))) is not None:
        found.append(value)
    return found


def _info(tensor: Any) -> TensorInfo:
    name = text_of(io.mglu_file_dtype_name(tensor.dtype))
    return TensorInfo(name, tuple(tensor.shape[i] for i in range(tensor.rank)))


def pack(source: str | os.PathLike[str], target: str | os.PathLike[str], *, dtype: str | None = None,
         activation: str | None = None, fused: str | None = None, ignore_unread: bool = False, shard_size: int = 0,
         progress: Callable[[int, int], Any] | None = None) -> None:
    """Packs a training checkpoint, a GGUF file or the model in a folder, as `mglu pack` does.

    dtype: what matrices of layers are stored as; None: as they are. A target that ends in .gguf is written as GGUF.
    shard_size: of a folder: bytes of tensors in a file. progress: called with the bytes written and those of all; what
    it raises stops the packing, and nothing is written.
    """
    raised: list[BaseException] = []

    def report(user: Any, done: int, total: int) -> int:
        try:
            if progress is not None:
                progress(done, total)
        except BaseException as error:  # C code can't pass it on
            raised.append(error)
        return len(raised)

    options = p.sized(s.PackOptions, convert=dtype is not None, activation=activation.encode() if activation else None,
                      dtype=p.dtype_code(dtype) if dtype else 0, progress=s.PROGRESS_CALLBACK(report),
                      input_flags=_flags(source, fused, ignore_unread), shard_size=shard_size,
                      parallel=default_context().parallel(),
                      format=s.FORMAT_GGUF if os.fspath(target).endswith(".gguf") else s.FORMAT_SAFETENSORS)
    function = io.mglu_file_pack_folder if os.path.isdir(source) else io.mglu_file_pack
    try:
        check(function(os.fsencode(source), os.fsencode(target), byref(options)))
    except Error:
        if raised:
            raise raised[0] from None
        raise


# Tensors of a layer (docs/format.md): of a masked projection P, and of a plain block M.
_MASKED_NAMES = {"weight": "weight", "gate_bias": "gate_bias", "value_bias": "value_bias", "router": "router.weight"}
_BLOCK_NAMES = {"down": "down_proj.weight", "down_bias": "down_proj.bias"}
_PLAIN_NAMES = {"weight": "gate_proj.weight", "value_weight": "up_proj.weight", "gate_bias": "gate_proj.bias",
                "value_bias": "up_proj.bias", **_BLOCK_NAMES}


def save(path: str | os.PathLike[str], layers: Mapping[str, Mapping[str, Any]], *,
         activation: str | None = None, metadata: Mapping[str, str] | None = None) -> None:
    """Writes layers to a safetensors file: name to the array arguments of Weights, as {"model.layers.0.mlp":
    {"weight": w, "masks": m, "down": w_o}}. Masks are packed; matrices keep their dtypes. A masked layer with `down` is
    a block, whose projection is called up_proj; pack() converts files to other dtypes."""
    writer = Handle(io.mglu_file_writer_create, destroy=io.mglu_file_writer_destroy)
    entries = {"format": "pt", "mglu.version": "1", **(metadata or {})}
    if activation is not None:
        check(core.mglu_activation_from_name(activation.encode(), byref(c_int())))
        entries["mglu.activation"] = activation
    for key, value in entries.items():
        check(io.mglu_file_writer_metadata(writer.value, key.encode(), value.encode()))
    keep = [_write(writer, name, array) for layer, arrays in layers.items()
            for name, array in _tensors_of(layer, arrays).items()]
    check(io.mglu_file_writer_commit(writer.value, os.fsencode(path)))
    del keep


def _tensors_of(layer: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a layer by the names of their tensors."""
    given = {name: array for name, array in arrays.items() if array is not None}
    if "masks" not in given:
        names = _PLAIN_NAMES
        prefixed = {f"{layer}.{names[name]}" if name in names else name: array for name, array in given.items()}
    else:
        projection = f"{layer}.up_proj" if "down" in given else layer
        names = {**{name: f"{projection}.{tensor}" for name, tensor in _MASKED_NAMES.items()},
                 **{name: f"{layer}.{tensor}" for name, tensor in _BLOCK_NAMES.items()}}
        masks = a.view_of(given["masks"], "masks")
        words = given["masks"] if masks.dtype in (a.INT32, a.UINT32) else p.pack_masks(given["masks"])
        del given["masks"]
        prefixed = {names.get(name, name): array for name, array in given.items()}
        prefixed[f"{projection}.mask_bits"] = words
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise InvalidArgument(f"layer '{layer}' has an array '{unknown[0]}'; expected {', '.join(names)} and masks")
    return prefixed


_FILE_DTYPE_OF = {s.F32: "F32", s.F16: "F16", s.BF16: "BF16", a.INT32: "I32", a.UINT32: "I32", a.F64: "F64"}


def _write(writer: Handle, name: str, array: Any) -> Any:
    """Adds a tensor; returns what must live until the file is written."""
    view = a.view_of(array, name)
    if view.strides is not None:
        array = array.contiguous() if a.is_torch(array) else numpy.ascontiguousarray(array)
        view = a.view_of(array, name)
    if view.dtype not in _FILE_DTYPE_OF or view.place != a.HOST:
        raise InvalidArgument(f"{name} is {a.dtype_of(array)} in {view.place} memory; expected floats in host memory")
    shape = (c_int64 * len(view.shape))(*view.shape)
    code = _FILE_CODES[_FILE_DTYPE_OF[view.dtype]]
    tensor = s.FileTensor(name.encode(), code, len(view.shape), shape, view.address, 0)
    check(io.mglu_file_writer_tensor(writer.value, byref(tensor)))
    return view.keep
