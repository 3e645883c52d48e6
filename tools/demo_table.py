# SPDX-License-Identifier: MIT
"""Prints the table that tools/demo ends with, from the JSON that the mglu program wrote into a folder."""
import json
import os
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
devices, inspect, perplexity = (
    json.loads((folder / f"{name}.json").read_text()) for name in ("devices", "inspect", "perplexity"))
generated = (folder / "generate.stats").read_text()

selected = next(d for d in devices if d["backend"] == perplexity["backend"] and d["available"])
wanted = os.environ.get("MGLU_BACKEND", "auto")
reason = "the best available" if wanted == "auto" else f"MGLU_BACKEND={wanted}"
others = [f'{d["backend"]}: {d["reason"]}' for d in devices if not d["available"]]
rows = [
    ("device", f'{selected["backend"]}, {selected["name"]} ({selected["details"]})'),
    ("why", "; ".join([reason, *others])),
    ("generating", generated.split(", ")[1]),
    ("reading", f'{perplexity["tokens_per_second"]:.1f} tokens/s'),
    ("FFN weights", f'{inspect["bytes"]} bytes; an equal GLU {inspect["glu_bytes"]}, '
                    f'{inspect["glu_bytes"] / inspect["bytes"]:.2f} times as many'),
]
for name, value in rows:
    print(f"{name:<12} {value}")
