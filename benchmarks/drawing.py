"""Has a picture drawn, by the environment that can."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .contestants import DRAINED
from .environments import MissingError, python_of
from .processes import ROOT
from .results import Results
from .servers import POSTGRESQL, REDIS, SQLITE

DRAW_SECONDS = 120.0


def draw(target: Path, title: str, panels: Sequence[dict[str, Any]]) -> None:
    """Write the picture as ``target`` with the suffixes .svg and .png. Raises MissingError where it cannot be drawn."""
    python = python_of("picture")
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as source:
        json.dump({"title": title, "panels": list(panels)}, source)
        source.flush()
        command = [python, "-m", "benchmarks.picture", source.name, str(target.resolve())]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DRAW_SECONDS, check=False)
    if done.returncode:
        raise MissingError(f"the picture could not be drawn: {done.stderr[-500:]}")


def drains(results: Results) -> list[dict[str, Any]]:
    """One panel for each store and number of processes; the fastest first."""
    panels = []
    for title, store, processes in (
        ("Redis, one process", REDIS, (1,)),
        ("Redis, two processes, or as many as it starts by default", REDIS, (2, None)),
        ("SQLite", SQLITE, (1,)),
        ("PostgreSQL", POSTGRESQL, (1,)),
    ):
        bars = []
        for each in DRAINED:
            found = results.spread("rate", each.key)
            if each.store == store and each.processes in processes and found is not None:
                label = f"{each.name}, {each.about}"
                spread = {"median": found.median, "lowest": found.lowest, "highest": found.highest}
                bars.append({"label": label, "is_ours": each.is_ours, **spread})
        if bars:
            bars.sort(key=lambda bar: -float(str(bar["median"])))
            panels.append({"title": title, "bars": bars})
    if panels:
        panels[-1]["x_label"] = "tasks of 1 KB a second: median and range"
    return panels
