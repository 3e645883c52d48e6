# SPDX-License-Identifier: MIT
"""Trains small language models that differ in their feed-forward blocks alone, on the licences that Debian installs.

study run OUT      trains all variants, seed by seed, and prints the table. What is interrupted goes on where it was
study table OUT    prints the table of what has been trained so far
study keep OUT     copies the results to bench/results/
study write OUT    does that, and rewrites the tables and plots of docs/study.md
"""

import argparse
import pathlib
import signal
import sys

import runs
import summary
from settings import SETTINGS
from variants import VARIANTS


def parse():
    parser = argparse.ArgumentParser(prog="study", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "table", "keep", "write"):
        command = commands.add_parser(name)
        command.add_argument("out", metavar="OUT", type=pathlib.Path, help="folder of the runs")
        if name == "run":
            command.add_argument("--setting", choices=SETTINGS, default="night", help="(default: %(default)s)")
            command.add_argument("--jobs", type=int, default=1, help="processes, of a thread each (default: 1)")
            command.add_argument("--seeds", type=int, help="how many (default: the setting's)")
            command.add_argument("--steps", type=int, help="(default: the setting's)")
            command.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT",
                                 help=f"(default: all: {' '.join(VARIANTS)})")  # fmt: skip
    return parser.parse_args()


def main():
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if arguments.command == "run":
        setting = SETTINGS[arguments.setting]
        setting = setting._replace(seeds=arguments.seeds or setting.seeds, steps=arguments.steps or setting.steps)
        runs.run(arguments.out, setting, arguments.variants, arguments.jobs)
    study = runs.results(arguments.out)
    if arguments.command in ("keep", "write"):
        print(summary.keep(study).relative_to(summary.ROOT))
    if arguments.command == "write":
        summary.write(study)
    if arguments.command in ("run", "table"):
        print("\n".join(summary.table(study)))


if __name__ == "__main__":
    main()
