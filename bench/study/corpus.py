# SPDX-License-Identifier: MIT
"""The licences that Debian installs: all but one to train on, that one to measure on."""

import hashlib
import pathlib
import re
from typing import NamedTuple

FOLDER = pathlib.Path("/usr/share/common-licenses")
HELD_OUT = "MPL-2.0"
SHARED_WORDS = 8  # so many words in a row that the held-out text has too make a paragraph a copy of it


class Corpus(NamedTuple):
    train: bytes
    held_out: bytes
    facts: dict  # what results say about it


def runs_of_words(text):
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[at : at + SHARED_WORDS]) for at in range(len(words) - SHARED_WORDS + 1)}


def without_copies(text, known):
    """The paragraphs that share no run of words with the held-out text."""
    return "\n\n".join(part for part in re.split(r"\n\s*\n", text) if known.isdisjoint(runs_of_words(part)))


def load(folder=FOLDER):
    """Reads every file but links, in the order of names."""
    texts = {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())
             if path.is_file() and not path.is_symlink()}  # fmt: skip
    if HELD_OUT not in texts or len(texts) < 2:
        raise SystemExit(f"{folder}: expected {HELD_OUT} and other licences, found {', '.join(texts) or 'no files'}; "
                         "they are in Debian's package base-files")  # fmt: skip
    held_out = texts.pop(HELD_OUT)
    known = runs_of_words(held_out)
    kept = {name: without_copies(text, known) for name, text in texts.items()}
    train = "\n\n".join(kept.values()).encode()
    facts = {
        "files": list(kept),
        "train_bytes": len(train),
        "dropped_bytes": sum(map(len, texts.values())) - sum(map(len, kept.values())),
        "held_out": HELD_OUT,
        "held_out_bytes": len(held_out.encode()),
        "sha256": hashlib.sha256(train + held_out.encode()).hexdigest(),
    }
    return Corpus(train, held_out.encode(), facts)


def unigram_perplexity(corpus):
    """Of the held-out bytes under the frequencies of the training text, each byte counted once more."""
    import torch

    counts = torch.bincount(torch.frombuffer(bytearray(corpus.train), dtype=torch.uint8), minlength=256) + 1.0
    logs = (counts / counts.sum()).log()
    return logs[torch.frombuffer(bytearray(corpus.held_out), dtype=torch.uint8).long()].mean().neg().exp().item()
