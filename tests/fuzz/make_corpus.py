# SPDX-License-Identifier: MIT
"""Writes the seeds of all targets: make_corpus.py FOLDER [STAMP]. Each target has a folder of its own in FOLDER."""

import pathlib
import sys

import seeds_bytes
import seeds_files
import seeds_gguf

TARGETS = {
    "api": seeds_bytes.API,
    "differential": seeds_bytes.DIFFERENTIAL,
    "file": seeds_files.FILE,
    "gguf": seeds_gguf.GGUF,
    "index": seeds_files.INDEX,
    "json": seeds_files.JSON,
    "model": seeds_files.MODEL,
    "opencl": seeds_bytes.OPENCL,
    "pack": seeds_files.PACK,
    "plugin": seeds_bytes.PLUGIN,
    "train": seeds_bytes.TRAIN,
}


def main(folder, stamp=None):
    for target, seeds in TARGETS.items():
        place = pathlib.Path(folder) / target
        place.mkdir(parents=True, exist_ok=True)
        for old in place.iterdir():
            if old.name not in seeds:
                old.unlink()
        for name, content in seeds.items():
            (place / name).write_bytes(content)
    if stamp:
        pathlib.Path(stamp).touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
