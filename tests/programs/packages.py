# SPDX-License-Identifier: MIT
"""Where tests find packages beside Python's own: in the environment that tools/setup test makes."""
import os
import pathlib
import sys


def without_packages(names):
    """
    For a script that can't import packages: it runs again in the environment that tools/setup test makes, where there
    is one (which may be made after the build was configured), else it is skipped.
    """
    environment = pathlib.Path(__file__).resolve().parents[2] / "build" / "python"
    python = environment / "bin" / "python3"
    if python.exists() and pathlib.Path(sys.prefix) != environment:
        os.execv(python, [str(python), *sys.argv])
    print("skipped: Python packages were not found: %s; tools/setup test installs them" % names)
    sys.exit(77)
