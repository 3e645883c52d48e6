# SPDX-License-Identifier: MIT
"""`python -m mglu` is the program mglu: that of the wheel, else the one in PATH."""

import os
import shutil
import sys
from typing import NoReturn

from ._library import FOLDER


def main() -> NoReturn:
    program = shutil.which("mglu", path=str(FOLDER)) or shutil.which("mglu", path=_path_without_this())
    if program is None:
        sys.exit(f"mglu: the program was found neither in {FOLDER} nor in PATH")
    os.execv(program, ["mglu", *sys.argv[1:]])


def _path_without_this() -> str:
    """PATH without the folder of this command, which would start itself."""
    own = os.path.dirname(os.path.realpath(sys.argv[0]))
    return os.pathsep.join(folder for folder in os.get_exec_path() if os.path.realpath(folder) != own)


if __name__ == "__main__":
    main()
