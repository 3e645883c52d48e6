# SPDX-License-Identifier: MIT
"""Tables and plots of a study, and docs/study.md, which has them."""

import json
import math
import pathlib
import statistics
import sys

from variants import VARIANTS

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "study.md"
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- bench/study writes from here -->", "<!-- to here -->"
# Validation perplexity per token of the paper's small models.
PAPER = {"gelu": 25.8, "swiglu": 23.7, "swiglu-shared": 27.0, "swimglu-1": 25.0, "swimglu-2": 24.5, "swimglu-4": 23.9,
         "swimglu-8": 23.5, "swimglu-2-fixed": 25.1, "remglu-4": 24.3, "gemglu-4": 24.0,
         "swimglu-4-top-2": 24.0}  # fmt: skip
TICKS = [3, 4, 5, 6, 8, 10, 15, 20, 30]
CURVES = {
    "Gates and numbers of masks": ["gelu", "swiglu-shared", "swiglu", "swimglu-1", "swimglu-2", "swimglu-4",
                                   "swimglu-8"],
    "Kinds of masked units, and equal bytes": ["swiglu", "swimglu-4", "gemglu-4", "remglu-4", "swimglu-4-top-2",
                                               "swimglu-2-fixed", "swiglu-narrow", "swimglu-4-wide"],
}  # fmt: skip


def runs_of(study, name):
    return [run for run in study["runs"] if run["variant"] == name]


def perplexities(runs, text="held_out"):
    """At the end; of the training text over the last part of the curve."""
    return {run["seed"]: math.exp(run["curve"][-1][text + "_nats"]) for run in runs}


def spread(values):
    """Standard deviation of a sample, or a dash for one value."""
    return f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-"


def difference(ours, theirs):
    """Mean over the seeds that both have, with its spread: seeds share batches and the start of all but the block."""
    pairs = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    return f"{statistics.mean(pairs):+.3f} ± {spread(pairs)}" if pairs else ""


def perplexity_cells(runs, swiglu_runs):
    """Of the held-out text, and of the training text: mean, spread, and the difference from a SwiGLU's."""
    for text in ("held_out", "train"):
        values, base = perplexities(runs, text), perplexities(swiglu_runs, text)
        yield from [f"{statistics.mean(values.values()):.3f}", spread(values.values())]
        yield "" if runs == swiglu_runs else difference(values, base)


def table(study):
    """Markdown: a line for each variant that has ended runs."""
    swiglu_runs = runs_of(study, "swiglu")
    lines = ["| | FFN bytes | held-out text | spread | against SwiGLU | training text | spread | against SwiGLU "
             "| CPU time | paper |", "|---|" + "---:|" * 9]  # fmt: skip
    for name, variant in VARIANTS.items():
        runs = runs_of(study, name)
        if runs:
            cells = [variant.title, f"{runs[0]['ffn_bytes']:,}", *perplexity_cells(runs, swiglu_runs),
                     time_over(runs, swiglu_runs), str(PAPER.get(name, ""))]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def time_over(runs, swiglu_runs):
    """CPU time of a step over the SwiGLU's."""
    ours, theirs = ([run["cpu_seconds"] for run in some] for some in (runs, swiglu_runs))
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}" if theirs else ""


def ones_table(study):
    """Share of ones in the masks of each block, over all seeds."""
    layers = study["setting"]["layers"]
    lines = ["| share of ones | " + " | ".join(f"block {at + 1}" for at in range(layers)) + " |",
             "|---|" + "---:|" * layers]  # fmt: skip
    for name, variant in VARIANTS.items():
        runs = runs_of(study, name)
        if runs and variant.masks:
            means = [statistics.mean(shares) for shares in zip(*(run["ones"] for run in runs))]
            lines.append(f"| {variant.title} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return lines


def new_figure(panels):
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "study"})
    from matplotlib import pyplot

    return pyplot.subplots(1, panels, figsize=(6 * panels, 5), squeeze=False, sharey=True)


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def plot_curves(study, path):
    """Held-out perplexity over the steps: means, and all seeds between the bounds of an area."""
    figure, (axes,) = new_figure(len(CURVES))
    for axis, (title, names) in zip(axes, CURVES.items()):
        for name in names:
            curves = [run["curve"] for run in runs_of(study, name)]
            if not curves:
                continue
            steps = [point["step"] for point in curves[0]]
            values = [[math.exp(point["held_out_nats"]) for point in points] for points in zip(*curves)]
            line, = axis.plot(steps, list(map(statistics.mean, values)), label=VARIANTS[name].title)
            axis.fill_between(steps, list(map(min, values)), list(map(max, values)), alpha=0.15, color=line.get_color())
        axis.set(xlabel="steps", title=title, yscale="log")
        limits = axis.get_ylim()
        axis.set_yticks(TICKS, labels=map(str, TICKS))
        axis.set_ylim(limits)
        axis.minorticks_off()
        axis.legend(fontsize="small")
    axes[0].set_ylabel("perplexity per byte, held-out text")
    save(figure, path)


def plot_ones(study, path):
    figure, ((axis,),) = new_figure(1)
    for name, variant in VARIANTS.items():
        runs = runs_of(study, name)
        if runs and variant.masks and not variant.fixed:
            means = [statistics.mean(shares) for shares in zip(*(run["ones"] for run in runs))]
            axis.plot(range(1, len(means) + 1), means, marker="o", label=variant.title)
    axis.axhline(0.5, color="grey", linestyle="--")
    axis.set(xlabel="block", ylabel="share of ones in the masks")
    axis.set_xticks(range(1, study["setting"]["layers"] + 1))
    axis.legend(fontsize="small")
    save(figure, path)


def as_json(study):
    """A line for each run."""
    head = json.dumps({key: value for key, value in study.items() if key != "runs"}, indent=1)
    rows = ",\n  ".join(json.dumps(run) for run in study["runs"])
    return f'{head[:-2]},\n "runs": [\n  {rows}\n ]\n}}\n'


def results_path(study):
    return RESULTS / f"study-{study['date']}-{study['setting']['steps']}-steps.json"


def keep(study):
    path = results_path(study)
    path.write_text(as_json(study))
    return path


def write(study):
    """Plots, and the document's part between its markers."""
    path = results_path(study)
    plot_curves(study, DOCUMENT.parent / "study-curves.svg")
    plot_ones(study, DOCUMENT.parent / "study-ones.svg")
    text = DOCUMENT.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{DOCUMENT}: needs the markers {BEGIN} and {END}, once each")
    lines = [*table(study), "", "![Learning curves](study-curves.svg)", "", *ones_table(study), "",
             "![Share of ones in the masks of each block](study-ones.svg)", "",
             f"From [bench/results/{path.name}](../bench/results/{path.name}).", ""]  # fmt: skip
    before, rest = text.split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + "\n\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1])
