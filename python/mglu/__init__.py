# SPDX-License-Identifier: MIT
"""Gated linear units, masked and plain, on numpy arrays, torch tensors and all else with __dlpack__: docs/python.md."""

from ._context import Context, Device, default_context, devices
from ._errors import (AfterFork, BadRouting, BuildFailed, Cancelled, CorruptFile, DeviceError, DeviceLost,
                      DriverMissing, DriverTooOld, Error, FileError, InvalidArgument, NoDevice, NoKernelForDevice,
                      NonFinite, OutOfMemory, Timeout, Unsupported, VersionMismatch)
from ._files import File, TensorInfo, pack, save
from ._layer import Layer
from ._library import core as _core
from ._pack import Packed, Quantised, pack_masks, pack_weights, unpack_masks, unpack_weights
from ._weights import Weights

__version__: str = _core.mglu_version().decode()
build_info: str = _core.mglu_build_info().decode()

__all__ = [
    "AfterFork", "BadRouting", "BuildFailed", "Cancelled", "Context", "CorruptFile", "Device", "DeviceError",
    "DeviceLost", "DriverMissing", "DriverTooOld", "Error", "File", "FileError", "InvalidArgument", "Layer", "NoDevice",
    "NoKernelForDevice", "NonFinite", "OutOfMemory", "Packed", "Quantised", "TensorInfo", "Timeout", "Unsupported",
    "VersionMismatch", "Weights", "build_info", "default_context", "devices", "pack", "pack_masks", "pack_weights",
    "save", "unpack_masks", "unpack_weights",
]
