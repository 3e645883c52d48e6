# SPDX-License-Identifier: MIT
"""The environments with Python packages that tools/setup makes. They may be made after a build was configured."""
import os
import pathlib
import sys


def enter(name):
    """Runs the script again with the Python of build/NAME, where there is one and it is not the one that runs."""
    environment = pathlib.Path(__file__).resolve().parents[2] / "build" / name
    python = environment / "bin" / "python3"
    if python.exists() and pathlib.Path(sys.prefix) != environment:
        os.execv(python, [str(python), *sys.argv])


def skip(error):
    """Ends a script that can't import a package."""
    print(f"skipped: the Python package {error.name} was not found; tools/setup test installs it")
    sys.exit(77)
