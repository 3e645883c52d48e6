# SPDX-License-Identifier: MIT
"""run.py ARGUMENTS: pytest of this folder, for Meson: skipped where it or numpy is missing."""

import pathlib
import sys

try:
    import numpy  # noqa: F401
    import pytest
except ImportError as error:
    print(f"skipped: the Python package {error.name} was not found; tools/setup test installs it")
    sys.exit(77)

FOLDER = pathlib.Path(__file__).parent
status = pytest.main(["-q", "-rs", "-p", "no:cacheprovider", "--rootdir", str(FOLDER),
                      *(str(FOLDER / name) for name in sys.argv[1:])])
sys.exit(77 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status)
