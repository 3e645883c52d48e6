# SPDX-License-Identifier: MIT
"""The tables of GPUs, for report.py."""
from report_tables import find, microseconds, number, table, unique


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
