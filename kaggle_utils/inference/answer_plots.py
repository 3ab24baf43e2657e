"""One picture of a run's answers: how long they are, how long they took, and how they were graded.

It draws what it is given and judges nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require

from .answer_rows import AnswerRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_answers", "save_answer_plot"]

_COLOURS = {"stop": "C0", "length": "C3", "deadline": "C1", "time_limit": "C2"}
_SPARE = ("C4", "C5", "C6", "C7", "C8", "C9")


def plot_answers(rows: Sequence[AnswerRow]) -> Figure:
    """Draw lengths by finish reason, seconds against length and, where there are any, grades: one panel each.

    Lengths are tokens where every answer's are known, else characters. Panels without data are left out, except for
    the lengths.
    """
    figure_class = require("matplotlib.figure", extra="plots").Figure
    rows = [row for row in rows if row.output is not None]
    timed = [row for row in rows if row.seconds is not None]
    graded = [row for row in rows if row.grade is not None]
    panels: list[tuple[Any, list[AnswerRow]]] = [(_draw_lengths, rows)]
    panels += [(draw, found) for draw, found in ((_draw_seconds, timed), (_draw_grades, graded)) if found]
    figure = figure_class(figsize=(5 * len(panels), 4), layout="constrained")
    unit = "tokens" if rows and all(row.tokens is not None for row in rows) else "characters"
    for axes, (draw, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, found, unit)
    return figure


def save_answer_plot(rows: Sequence[AnswerRow], target: str | os.PathLike[str]) -> Path:
    """Write the picture as a PNG to ``target``, whole or not at all, and return it."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    plot_answers(rows).savefig(temporary, format="png", dpi=120)
    temporary.replace(target)
    return target


def _length(row: AnswerRow, unit: str) -> int:
    return int(row.tokens or 0) if unit == "tokens" else len(row.output or "")


def _by_finish(rows: Sequence[AnswerRow]) -> list[tuple[str, str, list[AnswerRow]]]:
    """Return (reason, colour, rows), those that ended by themselves first; the same reason, the same colour."""
    reasons = sorted({row.finish or "" for row in rows}, key=lambda reason: (reason != "stop", reason))
    others = iter(_SPARE * (1 + len(reasons) // len(_SPARE)))
    return [
        (reason or "answers", _COLOURS.get(reason) or next(others), [r for r in rows if (r.finish or "") == reason])
        for reason in reasons
    ]


def _draw_lengths(axes: Any, rows: Sequence[AnswerRow], unit: str) -> None:
    groups = _by_finish(rows)
    lengths = [[_length(row, unit) for row in found] for _, _, found in groups]
    axes.set(xlabel=f"length in {unit}", ylabel="answers", title=f"{len(rows):,} answers")
    if not rows:
        return
    axes.hist(
        lengths,
        bins=_whole_bins(np.concatenate(lengths)),
        stacked=True,
        color=[colour for _, colour, _ in groups],
        label=[f"{name} ({len(found):,})" for name, _, found in groups],
    )
    middle = float(np.median(np.concatenate(lengths)))
    axes.axvline(middle, linestyle=":", color="grey", label=f"median {middle:,.0f}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize="small")


def _whole_bins(lengths: np.ndarray) -> np.ndarray:
    """Edges of at most 41 bins of equal whole width; each length is in the middle of its own, where they are few."""
    first, last = int(lengths.min()), int(lengths.max())
    width = -(-(last - first + 1) // 40)
    return np.arange(first, last + width + 1, width) - 0.5


def _draw_seconds(axes: Any, rows: Sequence[AnswerRow], unit: str) -> None:
    for name, colour, found in _by_finish(rows):
        lengths, seconds = [_length(row, unit) for row in found], [row.seconds for row in found]
        axes.scatter(lengths, seconds, s=18, alpha=0.7, color=colour, label=name)
    slowest = max(rows, key=lambda row: row.seconds or 0)
    axes.annotate(
        f"task {str(slowest.task_id)[:20]}".replace("$", r"\$"),
        (_length(slowest, unit), slowest.seconds),
        xytext=(-4, 4),
        textcoords="offset points",
        fontsize="small",
        ha="right",
    )
    top = 1.15 * max(row.seconds or 0 for row in rows) or 1
    axes.set(xlabel=f"length in {unit}", ylabel="seconds", ylim=(0, top), title="seconds of each answer")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize="small")


def _draw_grades(axes: Any, rows: Sequence[AnswerRow], unit: str) -> None:
    del unit  # grades have none
    grades = [row.grade or 0 for row in rows]
    bars = axes.bar(range(1, 6), [grades.count(score) for score in range(1, 6)], color="C2")
    axes.bar_label(bars)
    axes.set(xlabel="grade", ylabel="answers", title=f"mean grade {np.mean(grades):.2f}, {len(rows):,} graded")
