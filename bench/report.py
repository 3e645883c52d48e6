# SPDX-License-Identifier: MIT
"""Makes docs/performance.md's tables and plots from results of mglu-bench.

report.py collect PART...    joins reports of one machine to bench/results/MACHINE-ISA-DATE.json
report.py keep OUT           does so with the results of a run of the GPU report kit, in the folder OUT
report.py write RESULT...    rewrites the tables between the markers in docs/performance.md, and its plots; the part
                             about GPUs also has the expected values of bench/figures.json
"""
import json
import pathlib
import re
import sys

from report_gpu import expected_tables, gpu_section
from report_layers import section, summary
from report_tables import isa_of

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results"
FIGURES = ROOT / "bench" / "figures.json"
SUMMARY_BEGIN, SUMMARY_END = "<!-- bench/report.py writes a summary from here -->", "<!-- to here, the summary -->"
BEGIN, END = "<!-- bench/report.py writes from here -->", "<!-- to here -->"
GPU_BEGIN, GPU_END = "<!-- bench/report.py writes about GPUs from here -->", "<!-- to here, about GPUs -->"


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def collect(*parts):
    """Joins the reports of one run to a list in one file, without the paths of the parts and the peers' commands."""
    reports = [json.loads(pathlib.Path(part).read_text()) for part in parts]
    for report in reports:
        drop_option(report["command"], "--json")
        report["command"] = [re.sub(r"(\w+)=[^,]*/[^,]*", r"\1=COMMAND", word) for word in report["command"]]
    store(reports[0], reports)


def drop_option(command, option):
    if option in command:
        at = command.index(option)
        del command[at : at + 2]


def store(first, results):
    """Writes results to a file named after the machine of the first report."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{slug(first['device']['name'])}-{slug(isa_of(first))}-{first['date'][:10]}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(path.relative_to(ROOT))


def keep(out):
    """Joins the steps and the measurements of a run on a GPU."""
    steps = [json.loads(path.read_text()) for path in sorted((pathlib.Path(out) / "steps").glob("*.json"))]
    reports = {}
    for path in (pathlib.Path(out) / f"{step['step']}.json" for step in steps):
        report = json.loads(path.read_text()) if path.exists() else {}
        if report.get("rows"):
            drop_option(report["command"], "--json")
            drop_option(report["command"], "--peers")
            reports[path.stem] = report
    if not reports:
        sys.exit(f"{out}: no step has measured anything")
    store(next(iter(reports.values())), {"steps": steps, "reports": reports})


def replace_between(text, begin, end, lines):
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{DOCUMENT}: needs the markers {begin} and {end}, once each")
    before, rest = text.split(begin)
    return before + begin + "\n\n" + "\n".join(lines) + end + rest.split(end)[1]


def write(*paths):
    """Rewrites the document between its markers. The parts about CPUs are unchanged if no result is from one."""
    text = DOCUMENT.read_text()
    results = {path: json.loads(path.read_text()) for path in sorted(map(pathlib.Path, paths))}
    # Lists of reports and those of GPUs; training and the study have tables of their own.
    gpus = {path: found for path, found in results.items() if "steps" in found}
    machines = {path: found for path, found in results.items() if isinstance(found, list)}
    figures = json.loads(FIGURES.read_text())
    gpu_lines = [line for path, found in gpus.items() for line in gpu_section(path, found, figures)]
    text = replace_between(text, GPU_BEGIN, GPU_END, [*expected_tables(figures), *gpu_lines])
    if machines:
        lines = [line for path, reports in machines.items() for line in section(path, reports, DOCUMENT.parent)]
        text = replace_between(text, BEGIN, END, lines)
        text = replace_between(text, SUMMARY_BEGIN, SUMMARY_END, summary(machines.values()))
    DOCUMENT.write_text(text)


def main():
    commands = {"collect": collect, "keep": keep, "write": write}
    if len(sys.argv) < 3 or sys.argv[1] not in commands or (sys.argv[1] == "keep" and len(sys.argv) != 3):
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
