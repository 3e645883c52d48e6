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
import shlex
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results"
FIGURES = ROOT / "bench" / "figures.json"
BEGIN, END = "<!-- bench/report.py writes from here -->", "<!-- to here -->"
GPU_BEGIN, GPU_END = "<!-- bench/report.py writes about GPUs from here -->", "<!-- to here, about GPUs -->"


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def isa_of(report):
    words = dict(word.split("=", 1) for word in report["device"]["details"].split() if "=" in word)
    return words.get("isa", words.get("arch", report["device"]["backend"]))


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


def rows_of(reports):
    return [row for report in reports for row in report["rows"]]


def unique(values):
    return list(dict.fromkeys(values))


def table(heading, lines):
    """A Markdown table, numbers right-aligned."""
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
    """The limit of a row: memory for one token, arithmetic for many."""
    return "fraction_of_read_bandwidth" if row["batch"] == 1 else "fraction_of_peak"


def limit_of(row):
    """That limit, with what has it: layers of different dtypes have peaks of different instructions."""
    if row["batch"] == 1:
        return number(row["read_gbps"], ".0f")
    return f"{number(row['peak_gflops'], '.0f')} {row['peak'] or ''}".rstrip()


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
        cells = [cell(find(mine, what="mglu", n_masks=count)) for count in masks]
        lines.append([name, limit_of(glu), milliseconds(glu), number(glu[share_of(glu)], ".2f"), *cells])
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
    """Median milliseconds of all rows of the runs with peers."""
    masks = sorted(unique(row["n_masks"] for row in rows if row["n_masks"]))
    lines = []
    for key in unique((row["backend"], row["what"].replace("mglu", "glu"), row["dtype"]) for row in rows):
        mine = [row for row in rows if (row["backend"], row["what"].replace("mglu", "glu"), row["dtype"]) == key]
        ours = key[0] == backend
        name = f"mglu {key[2]}" if ours else " ".join(key)
        cells = [milliseconds(find(mine, n_masks=count)) for count in [0, *masks]]
        lines.append([name, *(text.replace("-", "") for text in cells)])
    return table(["ms", "GLU", *(f"n_m = {count}" for count in masks)], lines)


def relative_lines(report, batch, masks):
    """How many times as fast as a peer's GLU this library's layers are, by their ratios over the same GLU."""
    for peer in report["rows"]:
        if peer["backend"] == "cpu" or peer["n_masks"] or peer["batch"] != batch or not peer["ratio_vs_glu"]:
            continue
        same = {key: peer[key] for key in ("d", "h", "dtype", "threads", "batch")}
        ours = [find(report["rows"], backend="cpu", n_masks=count, **same) for count in (0, *masks)]
        if ours[0] is not None:
            cells = [f"{row['ratio_vs_glu'] / peer['ratio_vs_glu']:.2f}" if row else "" for row in ours]
            yield [f"{label(ours[0])}; {peer['backend']} {peer['what']}", milliseconds(peer), *cells]


def relative_sections(reports):
    """(title, table) of this library's layers over the GLUs of peers, in the same rounds and of the same dtype."""
    reports = list(filter(has_peers, reports))
    for batch in sorted(unique(row["batch"] for row in rows_of(reports))):
        masks = sorted(unique(row["n_masks"] for row in rows_of(reports) if row["batch"] == batch and row["n_masks"]))
        lines = [line for report in reports for line in relative_lines(report, batch, masks)]
        heading = ["", "peer ms", "GLU", *(f"n_m = {count}" for count in masks)]
        yield f"Times as fast as a peer's GLU, batch {batch}", lines and table(heading, lines)


def of_kind(reports, **wanted):
    """Rows of this library's layers with these values, leaving out the runs with peers."""
    plain = [report for report in reports if not has_peers(report)]
    return [row for row in rows_of(plain) if all(row[key] == value for key, value in wanted.items())]


def has_peers(report):
    return any(row["backend"] != report["device"]["backend"] for row in report["rows"])


def layer_sections(reports):
    """(title, table) of the comparisons of layers with their twins."""
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
    for title, made in [*layer_sections(reports), *relative_sections(reports), *peer_sections(reports)]:
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
    """Name, numbers of masks and milliseconds of each line of a plot; a GLU is a horizontal line."""
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

    # Runs with peers have all curves of the plot, measured in the same rounds.
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


def microseconds(value):
    return "" if value is None else f"{value:.1f}"


def expected_tables(figures):
    """The expected values of each shape, with the ratio over the GLU of the same row, and their sources."""
    masks = [0, 1, 2, 4, 8, 16]
    for d, h in unique((row["d"], row["h"]) for row in figures["rows"]):
        lines = [["MB read", *(f"{d * h * (16 + count) / 8e6 if count else d * h * 4e-6:.1f}" for count in masks)]]
        for row in figures["rows"]:
            if (row["d"], row["h"]) != (d, h):
                continue
            cells = [row["us"].get(str(count)) for count in masks]
            texts = [microseconds(us) + (f" ({cells[0] / us:.2f})" if us and count and cells[0] else "")
                     for count, us in zip(masks, cells)]  # fmt: skip
            lines.append([", ".join(filter(None, [row["device"], row.get("regime"), row["source"]])), *texts])
        yield from [*table([f"{d}x{h}, µs", "GLU", *(f"n_m = {count}" for count in masks[1:])], lines), ""]
    yield from [*(f"- {name}: {about}" for name, about in figures["sources"].items()), ""]


def expected(figures, source, device, row):
    """The microseconds that a source predicts for a row, or None."""
    for about in figures["rows"]:
        if (about["source"], about["d"], about["h"]) == (source, row["d"], row["h"]) and about["device"] in device:
            if about.get("regime", row["regime"]) == row["regime"]:
                return about["us"].get(str(row["n_masks"]))
    return None


def ours_in(report):
    return [row for row in report["rows"] if row["backend"] == report["device"]["backend"]]


def beside_expected(report, figures):
    """One token: each layer, cuBLAS (which has no masks), and the expected values."""
    lines = []
    for row in ours_in(report):
        cublas = find(report["rows"], backend="nvidia", what="glu", d=row["d"], h=row["h"], regime=row["regime"])
        lines.append([f"{row['d']}x{row['h']}", str(row["n_masks"]),
                      f"{microseconds(row['median_us'])} ({number(row['ratio_vs_glu'], '.2f')})",
                      number(row["fraction_of_read_bandwidth"], ".2f"),
                      microseconds(cublas["median_us"]) if cublas and not row["n_masks"] else "",
                      *(microseconds(expected(figures, source, report["device"]["name"], row))
                        for source in figures["sources"])])  # fmt: skip
    return table(["", "n_m", "µs (x GLU)", "of a copy", "cuBLAS µs", *figures["sources"]], lines)


def side_by_side(columns):
    """Microseconds of the same layers in several lists of rows, by name of the list."""
    keys = unique((row["d"], row["h"], row["n_masks"]) for rows in columns.values() for row in rows)
    lines = []
    for d, h, count in keys:
        found = [find(rows, d=d, h=h, n_masks=count) for rows in columns.values()]
        lines.append([f"{d}x{h}", str(count), *(microseconds(row and row["median_us"]) for row in found)])
    return table(["µs", "n_m", *columns], lines)


def gpu_columns(reports):
    """(title, columns) of the measurements without expected values."""
    if "batches" in reports:
        rows = ours_in(reports["batches"])
        batches = sorted(unique(row["batch"] for row in rows))
        yield "Batches", {f"batch {count}": [row for row in rows if row["batch"] == count] for count in batches}
    variants = {name.removeprefix("variant-"): ours_in(report)
                for name, report in reports.items() if name.startswith("variant-")}  # fmt: skip
    if variants:
        yield "One token, by kernel variant", variants
    if "ffn" in reports:
        yield "Whole block, with down-projection, one token", {"ffn": ours_in(reports["ffn"])}
    if "torch" in reports:
        naive = [row for row in reports["torch"]["rows"] if row["what"] == "naive"]
        yield "One token, PyTorch's naive masked layer", {"mglu": ours_in(reports["torch"]), "naive": naive}


def gpu_section(path, results, figures):
    """All tables of one run on a GPU."""
    reports, steps = results["reports"], results["steps"]
    first = next(iter(reports.values()))
    lines = [f"### {first['device']['name']}, {first['device']['details']}, {first['date'][:10]}", ""]
    said = [[step["step"], step["state"], str(step["seconds"]), step["said"].replace("|", "/")] for step in steps]
    lines += [*table(["step", "ended", "s", "said"], said), ""]
    for name in ("cold", "warm", "opencl"):
        if name in reports:
            title = f"{name}, times by {reports[name]['timer']}"
            lines += [f"One token, {title}:", "", *beside_expected(reports[name], figures), ""]
    for title, columns in gpu_columns(reports):
        lines += [f"{title}, cold:", "", *side_by_side(columns), ""]
    return [*lines, f"From [bench/results/{path.name}](../bench/results/{path.name}).", ""]


def replace_between(text, begin, end, lines):
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{DOCUMENT}: needs the markers {begin} and {end}, once each")
    before, rest = text.split(begin)
    return before + begin + "\n\n" + "\n".join(lines) + end + rest.split(end)[1]


def write(*paths):
    """Rewrites the document between its markers. The part about CPUs is unchanged if no result is from one."""
    text = DOCUMENT.read_text()
    results = {path: json.loads(path.read_text()) for path in sorted(map(pathlib.Path, paths))}
    # Lists of reports and those of GPUs; training and the study have tables of their own.
    results = {path: found for path, found in results.items() if isinstance(found, list) or "steps" in found}
    figures = json.loads(FIGURES.read_text())
    lines, gpu_lines = [], list(expected_tables(figures))
    for path, found in results.items():
        if "steps" in found:
            gpu_lines += gpu_section(path, found, figures)
        else:
            lines += section(path, found)
    text = replace_between(text, GPU_BEGIN, GPU_END, gpu_lines)
    if lines:
        text = replace_between(text, BEGIN, END, lines)
    DOCUMENT.write_text(text)


def main():
    commands = {"collect": collect, "keep": keep, "write": write}
    if len(sys.argv) < 3 or sys.argv[1] not in commands or (sys.argv[1] == "keep" and len(sys.argv) != 3):
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
