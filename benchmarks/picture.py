"""The picture: bars with their ranges, as SVG and PNG. Run by an environment of its own, which has matplotlib:
``python -m benchmarks.picture INPUT.json OUTPUT`` writes ``OUTPUT.svg`` and ``OUTPUT.png``.

The input has ``title`` and ``panels``: of each its ``title`` and ``bars``, whose ``label``, ``median``, ``lowest``,
``highest`` and ``is_ours`` are drawn; or its ``lines``: ``label``, ``x`` and ``y``, with ``x_label`` and ``y_label``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

OURS, THEIRS, INK = "#1f6f8b", "#c9ced6", "#30343b"
BAR_INCHES, WIDTH_INCHES, LINES_INCHES = 0.24, 8.0, 2.2


def main(source: str, target: str) -> None:
    """Draw it."""
    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "taskqueue", "font.family": "sans-serif", "font.size": 8}
    )
    from matplotlib import pyplot  # noqa: PLC0415  # after it was told what to draw for

    drawn = json.loads(Path(source).read_text("utf-8"))
    heights = [0.5 + BAR_INCHES * len(panel["bars"]) if "bars" in panel else LINES_INCHES for panel in drawn["panels"]]
    figure, axes = pyplot.subplots(
        len(heights),
        figsize=(WIDTH_INCHES, sum(heights) + 0.6),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(drawn["title"], color=INK, fontsize=9)
    for axis, panel in zip(axes[:, 0], drawn["panels"], strict=True):
        (_bars if "bars" in panel else _lines)(axis, panel)
        axis.set_title(panel["title"], loc="left", color=INK, fontsize=8, fontweight="bold")
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.savefig(f"{target}.svg", metadata={"Date": None})
    figure.savefig(f"{target}.png", dpi=120)


def _bars(axis: Any, panel: dict[str, Any]) -> None:
    bars = panel["bars"]
    medians = [bar["median"] for bar in bars]
    ranges = [[bar["median"] - bar["lowest"] for bar in bars], [bar["highest"] - bar["median"] for bar in bars]]
    colours = [OURS if bar["is_ours"] else THEIRS for bar in bars]
    axis.barh([bar["label"] for bar in bars], medians, xerr=ranges, color=colours, ecolor=INK, capsize=2, height=0.7)
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.set_xlabel(panel.get("x_label", ""))


def _lines(axis: Any, panel: dict[str, Any]) -> None:
    for line in panel["lines"]:
        axis.plot(line["x"], line["y"], label=line["label"], linewidth=1)
    axis.set_xlabel(panel.get("x_label", ""))
    axis.set_ylabel(panel.get("y_label", ""))
    if panel.get("is_logarithmic"):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=7)


if __name__ == "__main__":
    main(*sys.argv[1:])
