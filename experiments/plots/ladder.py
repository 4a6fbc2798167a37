"""Draws what `kerf kernels ladder NAME --json` measured.

    kerf kernels ladder matmul.q4_k --json > ladder.json
    python3 experiments/plots/ladder.py ladder.json ladder.svg

One panel for each number of tokens, one bar for each rung: its speed, logarithmic, and how many times as fast it is as the
rung it improves on and as the first one. The same JSON gives the same bytes.
"""

import argparse
import json
import math
import os
import sys
import tempfile

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from matplotlib.transforms import blended_transform_factory

# From light to dark with the width of the instructions.
COLORS = {"base": "#c6c6c6", "avx2": "#9ecae1", "avx512": "#4292c6", "vnni": "#2171b5", "amx": "#08306b"}
STYLE = {
    "svg.hashsalt": "kerf ladder",  # ids of clip paths are hashes: of this, not of a random number
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
ROW, HEAD = 0.30, 0.85  # inches of a rung, and of a panel without them
BARS, BELOW, FIRST = 0.68, 0.89, 1.0  # parts of a panel's width: the longest bar, the right edges of the two columns


def number(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def ratio(x):
    return f"{number(x)}×"


def panel(axes, shape):
    """Decode is bound by memory, the rest by arithmetic; ops that compute nothing have only bytes."""
    rungs = shape["rungs"]
    by_bytes = shape["tokens"] == 1 or any(r["gflop_per_s"] == 0 for r in rungs)
    key, unit = ("gb_per_s", "GB/s") if by_bytes else ("gflop_per_s", "GFLOP/s")
    speeds = [r[key] for r in rungs]
    rows = range(len(rungs) - 1, -1, -1)
    left, most = min(speeds) / 1.6, max(speeds)
    axes.barh(rows, [s - left for s in speeds], left=left, height=0.7, color=[COLORS.get(r["isa"], "#888888") for r in rungs])
    axes.set_xscale("log")
    axes.set_xlim(left, left * (most / left) ** (1 / BARS))
    decades = [10**e for e in range(math.ceil(math.log10(left)), math.floor(math.log10(most)) + 1)]
    axes.set_xticks(decades, [f"{d:g}" for d in decades])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(list(rows), [r["variant"] or r["kernel"].split("/", 1)[1] for r in rungs])
    axes.tick_params(axis="y", length=0)
    columns = blended_transform_factory(axes.transAxes, axes.transData)
    for x, head in ((BELOW, "to the rung below"), (FIRST, "to the first")):
        axes.text(x, len(rungs) - 0.4, head, transform=columns, ha="right", va="bottom", fontsize=8, color="#555555")
    for row, rung, speed in zip(rows, rungs, speeds):
        axes.text(speed * (most / left) ** 0.01, row, number(speed), va="center", ha="left", fontsize=8)
        if rung["ratio_below"] is not None:
            axes.text(BELOW, row, ratio(rung["ratio_below"]), transform=columns, ha="right", va="center", fontsize=8)
        axes.text(FIRST, row, ratio(rung["ratio_first"]), transform=columns, ha="right", va="center", fontsize=8)
    tokens = "1 token" if shape["tokens"] == 1 else f"{shape['tokens']} tokens"
    after = f" after {shape['depth']} positions" if shape["depth"] else ""
    axes.set_title(f"{tokens}{after}: {unit}", loc="left", fontsize=10)


def draw(ladder):
    shapes = ladder["shapes"]
    heights = [HEAD + ROW * len(s["rungs"]) for s in shapes]
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(len(shapes), 1, figsize=(8.5, sum(heights) + 0.5), height_ratios=heights, squeeze=False, layout="constrained")
        for axes, shape in zip(panels[:, 0], shapes):
            panel(axes, shape)
        threads = "1 thread" if ladder["threads"] == 1 else f"{ladder['threads']} threads"
        figure.suptitle(f"{ladder['name']}, {threads}", x=0.01, ha="left", fontsize=12, fontweight="bold")
        used = [isa for isa in COLORS if any(r["isa"] == isa for s in shapes for r in s["rungs"])]
        figure.legend(handles=[Patch(color=COLORS[isa], label=isa) for isa in used], loc="upper right", ncols=len(used), frameon=False, fontsize=8)
        return figure


def main():
    parser = argparse.ArgumentParser(description="Draws what `kerf kernels ladder NAME --json` measured.")
    parser.add_argument("json", help="the ladder; - reads standard input")
    parser.add_argument("svg", help="the drawing")
    args = parser.parse_args()
    with sys.stdin if args.json == "-" else open(args.json) as source:
        ladder = json.load(source)
    if ladder.get("schema") != 1 or "shapes" not in ladder:
        sys.exit(f"{args.json}: expected the output of `kerf kernels ladder NAME --json`, schema 1")
    figure = draw(ladder)
    folder = os.path.dirname(os.path.abspath(args.svg))
    with tempfile.NamedTemporaryFile("wb", dir=folder, suffix=".partial", delete=False) as partial:
        try:
            with plt.rc_context(STYLE):
                figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
            partial.flush()
            os.chmod(partial.name, 0o644)
            os.replace(partial.name, args.svg)
        except BaseException:
            os.unlink(partial.name)
            raise


if __name__ == "__main__":
    main()
