# SPDX-License-Identifier: MIT
"""Makes docs/performance.md's tables and plots from results of mglu-bench.

report.py collect PART...    joins reports of one machine to bench/results/MACHINE-ISA-DATE.json
report.py write RESULT...    rewrites what stands between the markers in docs/performance.md, and the plots beside it
"""
import json
import pathlib
import re
import shlex
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- bench/report.py writes from here -->", "<!-- to here -->"


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def isa_of(report):
    words = dict(word.split("=", 1) for word in report["device"]["details"].split() if "=" in word)
    return words.get("isa", report["device"]["backend"])


def collect(parts):
    """Joins the reports of one run to a list in one file. Where the parts lay is of no interest."""
    reports = [json.loads(pathlib.Path(part).read_text()) for part in parts]
    for report in reports:
        at = report["command"].index("--json")
        del report["command"][at : at + 2]
    first = reports[0]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{slug(first['device']['name'])}-{slug(isa_of(first))}-{first['date'][:10]}.json"
    path.write_text(json.dumps(reports, indent=1) + "\n")
    print(path.relative_to(ROOT))


def rows_of(reports):
    return [row for report in reports for row in report["rows"]]


def unique(values):
    return list(dict.fromkeys(values))


def table(heading, lines):
    """A Markdown table, numbers to the right."""
    rule = ["---"] + ["---:"] * (len(heading) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (heading, rule, *lines)]


def number(value, form):
    return "-" if value is None else format(value, form)


def milliseconds(row):
    return "-" if row is None or row["median_us"] is None else f"{row['median_us'] / 1000:.3g}"


def label(row):
    stored = row["dtype"] + (", x quantised" if row.get("quantised_x") else "")
    return f"{row['d']}x{row['h']} {stored}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"


def find(rows, **wanted):
    """The last row with these values, or None: later measurements count."""
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found[-1] if found else None


def share_of(row):
    """What bounds a row: memory for one token, arithmetic for many."""
    return "fraction_of_read_bandwidth" if row["batch"] == 1 else "fraction_of_peak"


def cell(row):
    if row is None:
        return ""
    if row["median_us"] is None:
        return "-"
    return f"{number(row['ratio_vs_glu'], '.2f')} ({number(row[share_of(row)], '.2f')})"


def layer_table(rows):
    """A line for each shape, dtype and number of threads; a column for each number of masks."""
    masks = sorted(unique(row["n_masks"] for row in rows if row["what"] == "mglu"))
    bound = "read GB/s" if rows[0]["batch"] == 1 else "peak GFLOP/s"
    lines = []
    for name in unique(map(label, rows)):
        mine = [row for row in rows if label(row) == name]
        glu = find(mine, what="glu")
        if glu["median_us"] is None:
            continue
        limit = glu["read_gbps"] if glu["batch"] == 1 else glu["peak_gflops"]
        cells = [cell(find(mine, what="mglu", n_masks=count)) for count in masks]
        lines.append([name, number(limit, ".0f"), milliseconds(glu), number(glu[share_of(glu)], ".2f"), *cells])
    heading = ["", bound, "GLU ms", "GLU", *(f"n_m = {count}" for count in masks)]
    return table(heading, lines) if lines else []


def routed_table(rows):
    lines = [
        [f"{label(row)}, top-{row['top_k']} of {row['n_masks']}", number(row["median_us"] / 1000, ".3g"),
         number(row["ratio_vs_glu"], ".2f"), number(row["ratio_vs_dense"], ".2f")]
        for row in rows if row["what"] == "routed" and row["median_us"] is not None
    ]  # fmt: skip
    return table(["", "ms", "over GLU", "over all masks"], lines) if lines else []


def peer_table(rows, backend):
    """Median milliseconds of everything that was measured in the runs with peers."""
    masks = sorted(unique(row["n_masks"] for row in rows if row["n_masks"]))
    lines = []
    for key in unique((row["backend"], row["what"].replace("mglu", "glu"), row["dtype"]) for row in rows):
        mine = [row for row in rows if (row["backend"], row["what"].replace("mglu", "glu"), row["dtype"]) == key]
        ours = key[0] == backend
        name = f"mglu {key[2]}" if ours else " ".join(key)
        cells = [milliseconds(find(mine, n_masks=count)) for count in [0, *masks]]
        lines.append([name, *(text.replace("-", "") for text in cells)])
    return table(["ms", "GLU", *(f"n_m = {count}" for count in masks)], lines)


def of_kind(reports, **wanted):
    """Rows of this library's layers with these values, leaving out the runs with peers."""
    plain = [report for report in reports if not has_peers(report)]
    return [row for row in rows_of(plain) if all(row[key] == value for key, value in wanted.items())]


def has_peers(report):
    return any(row["backend"] != report["device"]["backend"] for row in report["rows"])


def layer_sections(reports):
    """(title, table) of all that compares layers with their twins."""
    titles = {"projection": "Projection", "ffn": "Whole block, with down-projection", "routed": "Routed"}
    rows = of_kind(reports)
    for op, batch, regime in unique((row["op"], row["batch"], row["regime"]) for row in rows):
        mine = [row for row in rows if (row["op"], row["batch"], row["regime"]) == (op, batch, regime)]
        made = routed_table(mine) if op == "routed" else layer_table(mine)
        yield f"{titles[op]}, batch {batch}, {regime}", made


def peer_sections(reports):
    for report in filter(has_peers, reports):
        for d, h, batch, regime in unique((row["d"], row["h"], row["batch"], row["regime"]) for row in report["rows"]):
            rows = [row for row in report["rows"]
                    if (row["d"], row["h"], row["batch"], row["regime"]) == (d, h, batch, regime)
                    and row["median_us"] is not None]  # fmt: skip
            yield f"Peers, {d}x{h}, batch {batch}, {regime}", peer_table(rows, report["device"]["backend"])


def section(path, reports):
    """All tables of one results file."""
    device = reports[0]["device"]
    lines = [f"### {device['name']}, {isa_of(reports[0])}, {reports[0]['date'][:10]}", ""]
    for title, made in [*layer_sections(reports), *peer_sections(reports)]:
        if made:
            lines += [f"{title}:", "", *made, ""]
    if "clock" in reports[0]:
        lines += [f"Times are {reports[0]['clock']}.", ""]
    picture = plot(path, reports)
    if picture:
        lines += [f"![Latency against the number of masks]({picture})", ""]
    lines += [f"From [bench/results/{path.name}](../bench/results/{path.name}), measured with:", "", "```sh"]
    lines += [shlex.join(report["command"]) for report in reports]
    return [*lines, "```", ""]


def curves(rows):
    """Name, numbers of masks and milliseconds of each line of a plot; a GLU is a line across."""
    masks = sorted(unique(row["n_masks"] for row in rows if row["what"] == "mglu"))
    keys = unique((row["backend"], row["what"], row["dtype"]) for row in rows)
    for backend, what, dtype in keys:
        mine = [row for row in rows if (row["backend"], row["what"], row["dtype"]) == (backend, what, dtype)]
        times = {row["n_masks"]: row["median_us"] / 1000 for row in mine}
        name = f"{what.upper() if what in ('glu', 'mglu') else what} {dtype}"
        name = name if what == "mglu" or backend == "cpu" else f"{backend} {name}"
        if what == "glu":
            yield name, masks, [times[0]] * len(masks), "--"
        else:
            yield name, sorted(times), [times[count] for count in sorted(times)], "-"


def plot(path, reports):
    """Latency against the number of masks for each shape, as the paper's Figure 4; the picture's name."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": path.stem})
    from matplotlib import pyplot

    # Runs with peers hold all that belongs into the picture, measured in turn.
    shown = list(filter(has_peers, reports)) or reports
    rows = [row for row in rows_of(shown) if row["op"] == "projection" and row["batch"] == 1 and row["median_us"]]
    if not any(row["what"] == "mglu" for row in rows):
        return None
    most = max(row["threads"] for row in rows)
    rows = [row for row in rows if row["threads"] == most and row["regime"] == rows[0]["regime"]]
    shapes = unique((row["d"], row["h"]) for row in rows)
    figure, axes = pyplot.subplots(1, len(shapes), figsize=(6 * len(shapes), 5), squeeze=False)
    for axis, shape in zip(axes[0], shapes):
        for name, masks, times, style in curves([row for row in rows if (row["d"], row["h"]) == shape]):
            axis.plot(masks, times, style, marker="o" if style == "-" else None, label=name)
        axis.set(xscale="log", yscale="log", xlabel="masks n_m", ylabel="ms", title="%dx%d" % shape)
        ticks = sorted(unique(row["n_masks"] for row in rows if row["n_masks"]))
        axis.set_xticks(ticks, labels=map(str, ticks))
        axis.minorticks_off()
        axis.legend(fontsize="small")
    picture = f"latency-{path.stem}.svg"
    figure.tight_layout()
    figure.savefig(DOCUMENT.parent / picture, metadata={"Date": None})
    pyplot.close(figure)
    return picture


def write(results):
    """Rewrites the document between its markers."""
    text = DOCUMENT.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{DOCUMENT}: needs the markers {BEGIN} and {END}, once each")
    lines = []
    for path in sorted(map(pathlib.Path, results)):
        lines += section(path, json.loads(path.read_text()))
    before, rest = text.split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + "\n\n" + "\n".join(lines) + END + rest.split(END)[1])


def main():
    commands = {"collect": collect, "write": write}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    main()
