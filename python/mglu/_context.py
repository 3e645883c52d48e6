# SPDX-License-Identifier: MIT
"""Contexts and devices."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from ctypes import byref, c_size_t, c_void_p
from typing import Any

from . import _structs as s
from ._errors import OutOfMemory
from ._library import Handle, check, core, pool, text_of

logger = logging.getLogger("mglu")
logger.addHandler(logging.NullHandler())
# mglu_log_level, 1 to 4.
_LEVELS = (logging.NOTSET, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


class _Pool:
    """Threads for the library's loops, which sleep between them. A child made by os.fork() gets threads of its own."""

    _all: weakref.WeakSet[_Pool] = weakref.WeakSet()

    def __init__(self, threads: int):
        self.value = pool.pool_create(threads)
        if not self.value:
            raise OutOfMemory(f"no memory for {threads} threads")
        self.threads: int = pool.pool_threads(self.value)
        self.hook = pool.pool_hook(self.value)
        weakref.finalize(self, pool.pool_destroy, self.value).atexit = False
        self._all.add(self)

    @classmethod
    def restart_all(cls) -> None:
        for each in cls._all:
            pool.pool_restart(each.value)


os.register_at_fork(after_in_child=_Pool.restart_all)


def _log(user: int | None, level: int, text: bytes) -> None:
    logger.log(_LEVELS[level] if 0 < level < len(_LEVELS) else logging.ERROR, "%s", text_of(text))


_log_callback = s.LOG_CALLBACK(_log)


def _log_level() -> int:
    """The most detailed level that the logger "mglu" takes."""
    return max((level for level in range(1, len(_LEVELS)) if logger.isEnabledFor(_LEVELS[level])), default=1)


def _thread_count(threads: int | None) -> int:
    if threads is None:
        named = os.environ.get("MGLU_NUM_THREADS", "")
        threads = int(named) if named.isdecimal() and int(named) > 0 else pool.threads_usable()
    if not 1 <= threads <= 4096:
        raise ValueError(f"threads is {threads}; expected 1 to 4096")
    return threads


class Context:
    """Devices, and the threads that compute on CPUs.

    threads: None: MGLU_NUM_THREADS if set, else the CPUs that this process may use. max_isa: the best instruction set
    of CPUs to use, as "avx2". backends: names of those that may be opened, as "cpu,cuda"; None: MGLU_BACKENDS if set,
    else all. cache_dir: where programs compiled on OpenCL devices are kept.

    What the library logs goes to logging.getLogger("mglu"), at the level that it has when the context is made; with
    MGLU_LOG set to stderr instead.
    """

    def __init__(self, *, threads: int | None = None, max_isa: str | None = None,
                 backends: str | None = None, cache_dir: str | os.PathLike[str] | None = None):
        self._pool = _Pool(_thread_count(threads))
        desc = s.ContextDesc(struct_size=ctypes.sizeof(s.ContextDesc))
        desc.max_isa = max_isa.encode() if max_isa else None
        desc.backends = backends.encode() if backends else None
        desc.cache_dir = os.fsencode(cache_dir) if cache_dir else None
        desc.parallel = self.parallel()
        if not os.environ.get("MGLU_LOG"):
            desc.logger = ctypes.pointer(s.Logger(None, _log_callback, _log_level()))
        self.handle = Handle(core.mglu_context_create, byref(desc), destroy=core.mglu_context_destroy,
                             keep=(self._pool, _log_callback))

    def parallel(self) -> Any:
        """The threads as a pointer to mglu_parallel."""
        return ctypes.pointer(self._pool.hook)

    @property
    def threads(self) -> int:
        """Threads that compute on CPUs, the calling one included."""
        return self._pool.threads

    def devices(self) -> list[Device]:
        """All devices, unavailable ones with the reason. The first call opens the drivers of all vendors."""
        count = c_size_t()
        check(core.mglu_device_count(self.handle.value, byref(count)))
        return [Device(self, core.mglu_device_at(self.handle.value, index)) for index in range(count.value)]

    def device(self, name: str | None = None) -> Device:
        """The device of a backend, as "cpu" or "opencl"; "auto": the best; "host": the best that computes in host
        memory. None: MGLU_BACKEND if set, else "host", which opens no driver."""
        chosen = name.encode() if name else None if os.environ.get("MGLU_BACKEND") else b"host"
        out = c_void_p()
        check(core.mglu_device_pick(self.handle.value, chosen, byref(out)))
        return Device(self, out.value)

    def load_backend(self, path: str | os.PathLike[str]) -> None:
        """Adds the devices of a backend in a shared object (docs/backends.md)."""
        check(core.mglu_backend_load(self.handle.value, os.fsencode(os.path.abspath(path))))


class Device:
    """A device of a context."""

    def __init__(self, context: Context, value: Any):
        info = s.DeviceInfo(struct_size=ctypes.sizeof(s.DeviceInfo))
        check(core.mglu_device_get_info(value, byref(info)))
        self.context = context
        self.value = value
        self.backend = text_of(info.backend)
        self.name = text_of(info.name)
        self.reason = text_of(info.reason)
        self.details = text_of(info.details)
        self.type = s.DEVICE_TYPES[info.type] if info.type < len(s.DEVICE_TYPES) else "unknown"
        self.memory_bytes: int = info.memory_bytes
        self.available = bool(info.available)
        self.host_memory = bool(info.host_memory)
        self.works_after_fork = bool(info.works_after_fork)
        self.instruction_sets = _texts(info.instruction_sets)

    def __repr__(self) -> str:
        state = self.details if self.available else f"unavailable: {self.reason}"
        return f"<mglu.Device {self.backend}: {self.name}{', ' if self.name and state else ''}{state}>"


def _texts(array: Any) -> tuple[str, ...]:
    """The texts of a NULL-terminated array."""
    texts: list[str] = []
    while array and array[len(texts)]:
        texts.append(text_of(array[len(texts)]))
    return tuple(texts)


_default_lock = threading.Lock()
_default: Context | None = None


def default_context() -> Context:
    """The context that is used where none is named; made when it is first needed."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Context()
    return _default


def devices() -> list[Device]:
    """All devices of the default context."""
    return default_context().devices()


def pick(device: Device | str | None) -> Device:
    """What an argument `device` means."""
    return device if isinstance(device, Device) else default_context().device(device)
