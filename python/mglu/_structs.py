# SPDX-License-Identifier: MIT
"""The structs and enums of include/mglu, with the names that they have there.

tests/test_structs.py compares them with the headers.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

F32, F16, BF16, Q8_0, Q4_0 = range(5)
MASK_WORDS, MASK_BYTES, MASK_LOGITS_F32, MASK_LOGITS_F16, MASK_LOGITS_BF16, MASK_BITS = range(6)
KIND_MASKED, KIND_PLAIN = range(2)
FORMAT_SAFETENSORS, FORMAT_GGUF = range(2)
WEIGHTS_ALLOW_NONFINITE, WEIGHTS_BORROW = 1 << 0, 1 << 1
LAYER_REPRODUCIBLE, LAYER_ALLOW_QUANTISED_X = 1 << 0, 1 << 1
TRAIN_GATE_BIAS, TRAIN_VALUE_BIAS = 1 << 0, 1 << 1
FILE_MMAP, FILE_HEADER, FILE_FUSED_HALVES, FILE_FUSED_INTERLEAVED, FILE_IGNORE_UNREAD = (1 << bit for bit in range(5))

DTYPES = {"f32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0, "q4_0": Q4_0}
DTYPE_NAMES = tuple(DTYPES)
DEVICE_TYPES = ("cpu", "gpu", "accelerator")
ACCURACIES = ("A", "B", "C")
FILE_DTYPES = ("BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "F64", "I64", "U64")


class Parallel(ctypes.Structure):
    c_name = "mglu_parallel"
    _fields_ = [("user", c_void_p), ("parallel_for", c_void_p), ("num_threads", c_int32)]


LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p)


class Logger(ctypes.Structure):
    c_name = "mglu_logger"
    _fields_ = [("user", c_void_p), ("log", LOG_CALLBACK), ("level", c_int)]


class ContextDesc(ctypes.Structure):
    c_name = "mglu_context_desc"
    _fields_ = [("struct_size", c_uint32), ("num_threads", c_int32), ("max_isa", c_char_p), ("allocator", c_void_p),
                ("device_allocator", c_void_p), ("parallel", POINTER(Parallel)), ("logger", POINTER(Logger)),
                ("program_cache", c_void_p), ("cache_dir", c_char_p), ("backends", c_char_p)]


class DeviceInfo(ctypes.Structure):
    c_name = "mglu_device_info"
    _fields_ = [("struct_size", c_uint32), ("type", c_int), ("backend", c_char_p), ("name", c_char_p),
                ("reason", c_char_p), ("details", c_char_p), ("memory_bytes", c_uint64), ("available", c_int32),
                ("host_memory", c_int32), ("instruction_sets", POINTER(c_char_p)), ("works_after_fork", c_int32)]


class QueueDesc(ctypes.Structure):
    c_name = "mglu_queue_desc"
    _fields_ = [("struct_size", c_uint32), ("native_stream", c_void_p), ("destroy_ns", c_uint64)]


class Array(ctypes.Structure):
    c_name = "mglu_array"
    _fields_ = [("data", c_void_p), ("dtype", c_int), ("stride_bytes", c_size_t), ("scales", c_void_p),
                ("scale_stride_bytes", c_size_t)]


class MaskArray(ctypes.Structure):
    c_name = "mglu_mask_array"
    _fields_ = [("data", c_void_p), ("form", c_int)]


class WeightsDesc(ctypes.Structure):
    c_name = "mglu_weights_desc"
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("kind", c_int), ("dtype", c_int),
                ("hidden_size", c_int64), ("intermediate_size", c_int64), ("output_size", c_int64),
                ("n_masks", c_int32), ("reserved", c_int32), ("weight", Array), ("value_weight", Array),
                ("masks", MaskArray), ("gate_bias", Array), ("value_bias", Array), ("router", Array), ("down", Array),
                ("down_bias", Array), ("parallel", POINTER(Parallel))]


class WeightsInfo(ctypes.Structure):
    c_name = "mglu_weights_info"
    _fields_ = [("struct_size", c_uint32), ("n_masks", c_int32), ("kind", c_int), ("dtype", c_int),
                ("hidden_size", c_int64), ("intermediate_size", c_int64), ("output_size", c_int64),
                ("device_bytes", c_uint64), ("projection_bytes", c_uint64), ("borrowed_bytes", c_uint64)]


class LayerDesc(ctypes.Structure):
    c_name = "mglu_layer_desc"
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("activation", c_int), ("silu_beta", c_float),
                ("x_dtype", c_int), ("y_dtype", c_int), ("top_k", c_int32), ("reserved", c_int32),
                ("max_batch", c_int64)]


class Input(ctypes.Structure):
    c_name = "mglu_input"
    _fields_ = [("data", c_void_p), ("byte_offset", c_size_t), ("row_stride", c_int64)]


class Output(ctypes.Structure):
    c_name = "mglu_output"
    _fields_ = [("data", c_void_p), ("byte_offset", c_size_t), ("row_stride", c_int64)]


class ForwardArgs(ctypes.Structure):
    c_name = "mglu_forward_args"
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("batch", c_int64), ("x", Input), ("y", Output),
                ("residual", Input), ("routing_ids", Input), ("routing_weights", Input), ("workspace", c_void_p),
                ("workspace_size", c_size_t), ("parallel", POINTER(Parallel))]


class TrainDesc(ctypes.Structure):
    c_name = "mglu_train_desc"
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("hidden_size", c_int64),
                ("intermediate_size", c_int64), ("n_masks", c_int32), ("top_k", c_int32), ("activation", c_int),
                ("silu_beta", c_float), ("dtype", c_int), ("reserved", c_int32), ("max_batch", c_int64)]


class TrainInputs(ctypes.Structure):
    c_name = "mglu_train_inputs"
    _fields_ = [("x", Input), ("weight", Array), ("masks", MaskArray), ("gate_bias", c_void_p),
                ("value_bias", c_void_p), ("router_logits", Input)]


class TrainForwardArgs(ctypes.Structure):
    c_name = "mglu_train_forward_args"
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("batch", c_int64), ("inputs", TrainInputs),
                ("y", Output), ("saved", c_void_p), ("saved_size", c_size_t), ("workspace", c_void_p),
                ("workspace_size", c_size_t), ("parallel", POINTER(Parallel))]


class TrainBackwardArgs(ctypes.Structure):
    c_name = "mglu_train_backward_args"
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("batch", c_int64), ("inputs", TrainInputs),
                ("dy", Input), ("saved", c_void_p), ("saved_size", c_size_t), ("dx", Output), ("dweight", c_void_p),
                ("dlogits", c_void_p), ("dgate_bias", c_void_p), ("dvalue_bias", c_void_p),
                ("drouter_logits", Output), ("workspace", c_void_p), ("workspace_size", c_size_t),
                ("parallel", POINTER(Parallel))]


class FileTensor(ctypes.Structure):
    c_name = "mglu_file_tensor"
    _fields_ = [("name", c_char_p), ("dtype", c_int), ("rank", c_int32), ("shape", POINTER(c_int64)),
                ("data", c_void_p), ("bytes", c_size_t)]


PROGRESS_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_size_t, c_size_t)


class PackOptions(ctypes.Structure):
    c_name = "mglu_file_pack_options"
    _fields_ = [("struct_size", c_uint32), ("convert", c_int32), ("dtype", c_int), ("activation", c_char_p),
                ("progress", PROGRESS_CALLBACK), ("user", c_void_p), ("format", c_int), ("input_flags", c_uint32),
                ("shard_size", c_uint64), ("parallel", POINTER(Parallel))]


ALL = (Parallel, Logger, ContextDesc, DeviceInfo, QueueDesc, Array, MaskArray, WeightsDesc, WeightsInfo, LayerDesc,
       Input, Output, ForwardArgs, TrainDesc, TrainInputs, TrainForwardArgs, TrainBackwardArgs, FileTensor, PackOptions)
