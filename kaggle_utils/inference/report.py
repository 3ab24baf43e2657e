"""What a run did and what it left, in figures and in words.

It promises that every row without a result is named with its reason. It does not know how the run was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kaggle_utils.inference.progress import DeviceTally

__all__ = ["LEFT_BY_DEADLINE", "LEFT_BY_END", "RowProblem", "RunReport", "ScoreResult"]

LEFT_BY_DEADLINE = "left at the deadline"
"""Reason of rows that a later call will compute."""
LEFT_BY_END = "left when the run ended"
"""Reason of rows that no worker was left for."""


@dataclass(frozen=True)
class RowProblem:
    """A row without a usable result."""

    job: str
    """Name of the job."""
    row: int
    """Its place in the job's rows."""
    reason: str
    """Why."""


@dataclass
class RunReport:
    """What a run did."""

    seconds: float = 0.0
    """Wall-clock time of the call."""
    devices: dict[str, DeviceTally] = field(default_factory=dict)
    """By worker."""
    from_store: int = 0
    """Distinct rows whose results were already in the store."""
    computed: int = 0
    """Distinct rows computed now."""
    duplicates: int = 0
    """Rows that were equal to another one and cost nothing."""
    safer: dict[str, list[int]] = field(default_factory=dict)
    """By job: rows whose logits came from the safer scorer in this call."""
    problems: list[RowProblem] = field(default_factory=list)
    """Rows without a usable result."""
    notes: list[str] = field(default_factory=list)
    """What happened: memory that ran out, workers that died, scorers that could not be built."""

    @property
    def tokens_per_second(self) -> float | None:
        """Sum over the devices, each while it had work."""
        rates = [tally.tokens_per_second for tally in self.devices.values() if tally.tokens_per_second]
        return sum(rates) if rates else None

    @property
    def left(self) -> dict[str, int]:
        """Rows by job that the deadline left for a later call."""
        return dict(Counter(problem.job for problem in self.problems if problem.reason == LEFT_BY_DEADLINE))

    def to_text(self) -> str:
        """Return a few lines for a log or a notebook."""
        lines = [
            f"{self.computed:,} rows computed, {self.from_store:,} from the store, {self.duplicates:,} duplicates, "
            f"{self.seconds:,.1f} s"
        ]
        for label, tally in self.devices.items():
            rate = f", {tally.tokens_per_second:,.0f} tokens/s" if tally.tokens_per_second else ""
            mfu = f", MFU {tally.mfu:.2f}" if tally.mfu is not None else ""
            loaded = f", loaded in {tally.load_seconds:.1f} s"
            lines.append(f"  {label}: {tally.rows:,} rows in {tally.packs:,} packs{rate}{mfu}{loaded}")
        lines += [f"  {len(rows):,} rows of {job} through the safer scorer" for job, rows in self.safer.items() if rows]
        lines += [f"  {note}" for note in self.notes]
        for (job, reason), rows in self._grouped().items():
            shown = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10:,} more" if len(rows) > 10 else "")
            lines.append(f"  {job}: {len(rows):,} rows {reason}: {shown}")
        return "\n".join(lines)

    def _grouped(self) -> Mapping[tuple[str, str], list[int]]:
        grouped: dict[tuple[str, str], list[int]] = {}
        for problem in self.problems:
            grouped.setdefault((problem.job, problem.reason), []).append(problem.row)
        return grouped


@dataclass(frozen=True)
class ScoreResult:
    """Logits in the order of the rows that went in."""

    logits: dict[str, np.ndarray]
    """By job: float32 [N, labels]; rows without a finite result are all nan."""
    report: RunReport
    """What happened."""

    @property
    def missing(self) -> list[int]:
        """Rows that some job has no result for, ascending."""
        return sorted({problem.row for problem in self.report.problems})
