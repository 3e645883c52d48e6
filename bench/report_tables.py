# SPDX-License-Identifier: MIT
"""Tables in Markdown and their cells, for report.py."""


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


def microseconds(value):
    return "" if value is None else f"{value:.1f}"


def stored(row):
    return row["dtype"] + (", x quantised" if row.get("quantised_x") else "")


def label(row):
    return f"{row['d']}x{row['h']} {stored(row)}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"


def find(rows, **wanted):
    """The last row with these values, or None: later measurements count."""
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found[-1] if found else None


def isa_of(report):
    words = dict(word.split("=", 1) for word in report["device"]["details"].split() if "=" in word)
    return words.get("isa", words.get("arch", report["device"]["backend"]))
