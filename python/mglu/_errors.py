# SPDX-License-Identifier: MIT
"""Exceptions: one class for each status of the library, with the library's text."""

from __future__ import annotations


class Error(Exception):
    """A call of the library failed. `status` is its name, as "invalid_argument"."""

    status = "unknown_status"


class InvalidArgument(Error, ValueError):
    status = "invalid_argument"


class Unsupported(Error, NotImplementedError):
    status = "unsupported"


class NoDevice(Error):
    status = "no_device"


class DriverMissing(Error):
    status = "driver_missing"


class DriverTooOld(Error):
    status = "driver_too_old"


class NoKernelForDevice(Error):
    status = "no_kernel_for_device"


class OutOfMemory(Error, MemoryError):
    status = "out_of_memory"


class DeviceError(Error):
    status = "device"


class FileError(Error, OSError):
    status = "io"


class CorruptFile(Error, ValueError):
    status = "corrupt_file"


class VersionMismatch(Error):
    status = "version_mismatch"


class Cancelled(Error):
    status = "cancelled"


class DeviceLost(Error):
    status = "device_lost"


class Timeout(Error, TimeoutError):
    status = "timeout"


class BuildFailed(Error):
    status = "build_failed"


class AfterFork(Error):
    status = "after_fork"


class NonFinite(Error, ValueError):
    status = "nonfinite"


class BadRouting(Error, IndexError):
    status = "bad_routing"


# In the order of enum mglu_status, which begins with MGLU_OK.
BY_STATUS = (None, InvalidArgument, Unsupported, NoDevice, DriverMissing, DriverTooOld, NoKernelForDevice, OutOfMemory,
             DeviceError, FileError, CorruptFile, VersionMismatch, Cancelled, DeviceLost, Timeout, BuildFailed,
             AfterFork, NonFinite, BadRouting)

for _class in (Error, *BY_STATUS[1:]):
    _class.__module__ = "mglu"  # where users find it


def error_of(status: int, text: str) -> Error:
    """The exception for a status other than MGLU_OK."""
    kind = BY_STATUS[status] if 0 < status < len(BY_STATUS) else None
    return (kind or Error)(text)
