# SPDX-License-Identifier: MIT
"""run.py ENVIRONMENT TESTS: pytest of this folder in build/ENVIRONMENT, which tools/setup makes; with the Python that
runs this where there is none. Skipped where numpy or pytest is missing."""

import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
# Last in the path: it has a safetensors.py of its own.
sys.path.append(str(FOLDER.parents[1] / "tests/programs"))
import packages  # noqa: E402

packages.enter(sys.argv[1])
try:
    import numpy  # noqa: F401
    import pytest
except ImportError as error:
    packages.skip(error)

status = pytest.main(["-q", "-rs", "-p", "no:cacheprovider", "--rootdir", str(FOLDER),
                      *(str(FOLDER / name) for name in sys.argv[2:])])
sys.exit(77 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status)
