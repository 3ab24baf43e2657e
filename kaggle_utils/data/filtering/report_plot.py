"""The report as a picture. It knows matplotlib's own fonts only: names of stages are English, reasons are not drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_utils._optional import require

if TYPE_CHECKING:
    from .report import FilterReport

__all__ = ["draw"]


def draw(report: FilterReport, path: Path) -> Path:
    """Write a PNG with a bar for each stage; returns the path."""
    figure = require("matplotlib.figure", extra="plots").Figure(
        figsize=(9, 0.45 * len(report.stages) + 1.6), layout="constrained"
    )
    axes = figure.add_subplot()
    names = [stage.name for stage in report.stages]
    left = [stage.seen - stage.dropped for stage in report.stages]
    gone = [stage.dropped for stage in report.stages]
    axes.barh(names, left, color="#4c78a8", label="kept so far")
    axes.barh(names, gone, left=left, color="#e45756", label="dropped")
    for number, stage in enumerate(report.stages):
        text = "did not run" if stage.skipped else f"{stage.dropped:,} ({stage.dropped / max(1, stage.seen):.1%})"
        axes.text(stage.seen, number, f" {text}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1, report.rows) * 1.18)
    axes.set_xlabel("rows")
    axes.set_title(f"{report.kept:,} of {report.rows:,} rows kept ({report.kept / max(1, report.rows):.1%})")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower right", ncols=2, fontsize=8)
    figure.savefig(path, dpi=120, format="png")
    return path
