# SPDX-License-Identifier: MIT
"""Puts the files of some folders into an archive: zip_seeds.py ARCHIVE FOLDER... Missing folders are skipped."""

import pathlib
import sys
import zipfile


def main(archive, *folders):
    with zipfile.ZipFile(archive, "w") as seeds:
        for folder in folders:
            for path in sorted(pathlib.Path(folder).glob("*")):
                seeds.write(path, path.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
