# SPDX-License-Identifier: MIT
"""run.py ARGUMENTS: pytest of this folder, for Meson: skipped where it or numpy is missing."""

import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1] / "tests/programs"))
from packages import without_packages  # noqa: E402

try:
    import numpy  # noqa: F401
    import pytest
except ImportError as error:
    without_packages(error.name)

status = pytest.main(["-q", "-rs", "-p", "no:cacheprovider", "--rootdir", str(FOLDER),
                      *(str(FOLDER / name) for name in sys.argv[1:])])
sys.exit(77 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status)
