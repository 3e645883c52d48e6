# SPDX-License-Identifier: MIT
"""Errors, threads, forks, memory, logging and the program."""

import ctypes
import gc
import logging
import os
import pathlib
import re
import subprocess
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from conftest import Problem

import mglu
from mglu import _errors, _library

HEADERS = pathlib.Path(__file__).resolve().parents[2] / "include" / "mglu"


def test_every_status_has_a_class():
    if not HEADERS.exists():
        pytest.skip("no source tree: include/mglu was not found")
    names = re.findall(r"^    MGLU_(?:ERROR_)?(\w+) = (\d+)", (HEADERS / "status.h").read_text(), re.MULTILINE)
    assert len(names) == len(_errors.BY_STATUS)
    for name, value in names[1:]:
        assert _errors.BY_STATUS[int(value)].status == name.lower()
        assert issubclass(_errors.BY_STATUS[int(value)], mglu.Error)


def test_an_unknown_status_is_an_error():
    assert type(_errors.error_of(12345, "text")) is mglu.Error


def test_errors_have_the_text_of_the_library():
    with pytest.raises(mglu.NoDevice, match="cpu.*ref"):
        mglu.default_context().device("abacus")


def test_bad_routing_is_raised_by_its_call():
    problem = Problem(8, 4, masks=2)
    layer, x = problem.layer(top_k=1), problem.x(2)
    ids, weights = np.array([[0], [5]], np.int32), np.ones((2, 1), np.float32)
    with pytest.raises(mglu.BadRouting):
        layer(x, ids=ids, weights=weights)
    ids[1] = 1
    assert np.all(np.isfinite(layer(x, ids=ids, weights=weights)))


def test_the_lock_of_python_is_released():
    """Functions of a CDLL release it; those of a PyDLL do not."""
    for library in (_library.core, _library.io, _library.pool):
        assert type(library) is ctypes.CDLL


def test_threads_share_a_layer():
    problem = Problem(96, 80, masks=4, outputs=96)
    context = mglu.Context(threads=2)
    layer = problem.layer("bf16", device=context.device("cpu"))
    inputs = [problem.x(n % 5 + 1) for n in range(8)]
    expected = [layer(x) for x in inputs]
    wrong = []

    def call(x, y):
        for _ in range(50):
            if not np.array_equal(layer(x), y):
                wrong.append(x)

    threads = [threading.Thread(target=call, args=pair) for pair in zip(inputs, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_no_bit(threads):
    problem = Problem(128, 96, masks=2, outputs=128)
    context = mglu.Context(threads=threads)
    assert context.threads == threads
    x = problem.x(3)
    one = problem.layer(device=mglu.Context(threads=1).device("cpu"))
    assert np.array_equal(problem.layer(device=context.device("cpu"))(x), one(x))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_computes_with_layers_of_its_parent():
    problem = Problem(64, 64, masks=2)
    context = mglu.Context(threads=2)
    layer, x = problem.layer(device=context.device("cpu")), problem.x(4)
    expected = layer(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(layer(x), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(layer(x), expected)


def test_objects_are_destroyed_with_their_last_reference(monkeypatch):
    destroyed = []
    real = _library._destroy
    monkeypatch.setattr(_library, "_destroy", lambda destroy, out, keep: (destroyed.append(destroy.__name__),
                                                                         real(destroy, out, keep)))
    problem = Problem(16, 8)
    context = mglu.Context(threads=1)
    layer = problem.layer(device=context.device("cpu"))
    layer(problem.x(2))
    del context
    gc.collect()
    assert destroyed == []  # the layer needs them
    del layer
    gc.collect()
    assert sorted(destroyed) == sorted(["mglu_memory_destroy", "mglu_layer_destroy", "mglu_weights_destroy",
                                        "mglu_context_destroy"])
    assert destroyed.index("mglu_context_destroy") == 3


def test_calls_keep_no_array_and_no_memory():
    problem = Problem(16, 8, masks=2)
    layer, x = problem.layer(top_k=1), problem.x(3)
    ids, weights = np.zeros((3, 1), np.int32), np.ones((3, 1), np.float32)
    layer(x, ids=ids, weights=weights)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(500):
        layer(x, ids=ids, weights=weights)
    growth = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert growth < 4096
    seen = weakref.ref(x)
    del x
    assert seen() is None


def test_failed_calls_keep_no_memory():
    layer, x = Problem(16, 8).layer(), np.zeros((3, 15), np.float32)
    gc.collect()
    tracemalloc.start()
    for count in range(600):
        if count == 100:
            before = tracemalloc.get_traced_memory()[0]
        try:
            layer(x)
        except mglu.InvalidArgument:
            continue
    growth = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert growth < 4096


def test_the_log_goes_to_logging(caplog):
    with caplog.at_level(logging.DEBUG, logger="mglu"):
        context = mglu.Context(threads=1)
        Problem(64, 32).layer(device=context.device("cpu"))
    assert any("layer 64x32" in record.getMessage() for record in caplog.records)


def test_devices_tell_what_they_are():
    devices = mglu.devices()
    assert [device.backend for device in devices if device.backend in ("cpu", "ref")] == ["cpu", "ref"]
    cpu = next(device for device in devices if device.backend == "cpu")
    assert cpu.available and cpu.host_memory and cpu.type == "cpu" and cpu.works_after_fork and cpu.instruction_sets
    for device in devices:
        assert device.available or device.reason


def test_options_of_a_context():
    context = mglu.Context(threads=1, backends="cpu,ref")
    assert {device.backend for device in context.devices() if device.available} == {"cpu", "ref"}
    with pytest.raises(mglu.InvalidArgument, match="isa"):
        mglu.Context(max_isa="abacus").device("cpu")
    with pytest.raises(ValueError, match="threads is 0"):
        mglu.Context(threads=0)


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "mglu", *arguments], capture_output=True, text=True)


def test_the_module_is_the_program():
    done = run("--version")
    if "was found neither" in done.stderr:
        pytest.skip("the program mglu was not built")
    assert done.returncode == 0 and done.stdout.startswith(f"mglu {mglu.__version__}")
    assert run("no-such-command").returncode != 0
