# SPDX-License-Identifier: MIT
"""The tables and the plot of layers on processors, for report.py."""
import re
import shlex

from report_tables import find, isa_of, label, milliseconds, number, rows_of, stored, table, unique

# What the summary has of each machine.
SUMMARY_SHAPE = {"d": 14336, "h": 4096, "op": "projection", "batch": 1, "regime": "cold"}
SUMMARY_WEIGHTS = ["f16", "bf16", "q8_0, x quantised"]


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


def all_sections(reports):
    return [(title, made) for title, made in [*layer_sections(reports), *relative_sections(reports),
                                              *peer_sections(reports)] if made]  # fmt: skip


def title_of(reports):
    return f"{reports[0]['device']['name']}, {isa_of(reports[0])}, {reports[0]['date'][:10]}"


def link_to(title):
    """A link to a heading of the same document."""
    return f"[{title}](#{re.sub(r'[^a-z0-9_ -]', '', title.lower()).replace(' ', '-')})"


def summary(machines):
    """The ratios over a GLU with all threads: a line for each machine and stored dtype."""
    masks = [1, 2, 4, 8, 16]
    lines = []
    for reports in machines:
        rows = of_kind(reports, **SUMMARY_SHAPE)
        most = max((row["threads"] for row in rows), default=0)
        for weights in SUMMARY_WEIGHTS:
            mine = [row for row in rows if stored(row) == weights and row["threads"] == most]
            found = [find(mine, what="mglu", n_masks=count) for count in masks]
            if mine:
                lines.append([link_to(title_of(reports)), weights,
                              *(number(row and row["ratio_vs_glu"], ".2f") for row in found)])  # fmt: skip
    return [*table(["", "stored weights", *(f"n_m = {count}" for count in masks)], lines), ""]


def section(path, reports, folder):
    """All tables of one results file, and its plot in a folder."""
    lines = [f"### {title_of(reports)}", ""]
    for title, made in all_sections(reports):
        lines += [f"{title}:", "", *made, ""]
    if "clock" in reports[0]:
        lines += [f"Times are {reports[0]['clock']}.", ""]
    picture = plot(path, reports, folder)
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


def plot(path, reports, folder):
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
    figure.savefig(folder / picture, metadata={"Date": None})
    pyplot.close(figure)
    return picture
