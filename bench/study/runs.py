# SPDX-License-Identifier: MIT
"""All runs of a study: a file each, in a folder."""

import concurrent.futures
import datetime
import json
import multiprocessing
import os
import platform
import sys

import torch
from tqdm import tqdm

import corpus
import mglu
from training import train, write_whole

text = None  # of a process


def processor():
    """The processor's name, as Linux tells it."""
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def study_of(setting, facts):
    return {
        "setting": setting._asdict() | {"betas": list(setting.betas)},
        "corpus": facts,
        "machine": {"processor": processor(), "processors": os.cpu_count(), "torch": torch.__version__,
                    "mglu": mglu.__version__},
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def open_folder(folder, setting):
    """Says what the runs of the folder are, or checks that they are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    loaded = corpus.load()
    study = study_of(setting, {**loaded.facts, "unigram_perplexity": corpus.unigram_perplexity(loaded)})
    path = folder / "study.json"
    if not path.exists():
        write_whole(path, lambda part: part.write_text(json.dumps(study, indent=1) + "\n"))
        return
    known = json.loads(path.read_text())
    for part in ("setting", "corpus"):
        changed = [key for key, value in study[part].items() if known[part].get(key) != value and key != "seeds"]
        if changed:
            sys.exit(f"{folder}: its runs have another {part} ({', '.join(changed)}): name another folder")


def start_process(lock):
    global text
    torch.set_num_threads(1)
    tqdm.set_lock(lock)
    text = corpus.load()


def one(folder, setting, name, seed):
    with tqdm(total=setting.steps, desc=f"{name}, seed {seed}", unit="step", leave=False, disable=None) as bar:

        def progress(step, loss):
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update(step - bar.n)

        train(folder, text, setting, name, seed, progress)
    return f"{name}, seed {seed}"


def run(folder, setting, variants, jobs):
    """Trains every variant with the first seed, then with the next one, so that what there is can be compared."""
    open_folder(folder, setting)
    wanted = [(folder, setting, name, seed) for seed in range(1, setting.seeds + 1) for name in variants]
    lock = multiprocessing.get_context("spawn").RLock()
    if jobs == 1:
        start_process(lock)
        for at, what in enumerate(wanted, 1):
            tell(one(*what), at, wanted)
        return
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), start_process,
                                                (lock,)) as pool:  # fmt: skip
        pending = [pool.submit(one, *what) for what in wanted]
        for at, done in enumerate(concurrent.futures.as_completed(pending), 1):
            tell(done.result(), at, wanted)


def tell(what, at, wanted):
    tqdm.write(f"{at} of {len(wanted)}: {what}", file=sys.stderr)


def results(folder):
    path = folder / "study.json"
    if not path.exists():
        sys.exit(f"{folder}: expected a folder that `study run` made; study.json was not found")
    ended = [json.loads(run.read_text()) for run in sorted(folder.glob("*-*.json"))]
    return {**json.loads(path.read_text()), "runs": ended}
