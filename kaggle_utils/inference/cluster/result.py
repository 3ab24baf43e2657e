"""What came of a run over many machines: figures, blocks that are left and why, and the errors that carry them.

It promises that the number of rows is counted from the part files themselves, not from what workers said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaggle_utils.inference.cluster.manifest import Manifest
from kaggle_utils.inference.cluster.parts import check_parts
from kaggle_utils.inference.cluster.storage import Folder
from kaggle_utils.inference.cluster.worker import BlockReport

__all__ = ["ActorsError", "DatasetError", "DatasetResult", "summed_up"]

_SHOWN = 10


class ActorsError(RuntimeError):
    """Nothing can compute blocks (any more)."""


@dataclass(frozen=True)
class DatasetResult:
    """What a call did, and what the output holds after it."""

    output: str
    """The folder."""
    rows: int
    """Of the input."""
    rows_done: int
    """Of the parts that are whole: equal to ``rows`` when the run is finished."""
    computed: int
    """Rows computed in this call; the others were there."""
    problems: int
    """Rows without a result, in all parts; column ``problem`` has the reasons."""
    blocks: tuple[BlockReport, ...]
    """Of this call, in order."""
    missing: tuple[str, ...]
    """Blocks without a whole part."""
    seconds: float
    """Of this call."""

    @property
    def left(self) -> tuple[str, ...]:
        """Blocks that the deadline left, those too that no actor was asked for any more."""
        if not any(report.status == "left" for report in self.blocks):
            return ()
        failed = {report.name for report in self.blocks if report.status == "failed"}
        return tuple(name for name in self.missing if name not in failed)

    @property
    def finished(self) -> bool:
        """Whether every row of the input is in the output."""
        return not self.missing

    def to_text(self) -> str:
        """A few lines for a log."""
        done = [report for report in self.blocks if report.status == "done"]
        lines = [
            f"{self.rows_done:,} of {self.rows:,} rows in {self.output}, {self.computed:,} computed now in "
            f"{self.seconds:,.1f} s, {self.problems:,} without a result"
        ]
        actors: dict[str, list[BlockReport]] = {}
        for report in done:
            actors.setdefault(f"{report.host} {report.node[:8]} pid {report.pid}", []).append(report)
        for actor, own in actors.items():
            rows, busy = sum(report.rows for report in own), sum(report.compute_seconds for report in own)
            lines.append(f"  {actor}: {len(own)} blocks, {rows:,} rows, {busy:.1f} s")
        lines += [f"  {report.name}: {report.notes}" for report in done if report.notes]
        lines += [f"  {report.name} failed: {report.error}" for report in self.blocks if report.status == "failed"]
        if self.left:
            lines.append(f"  {len(self.left)} blocks were left by the deadline; the same call again computes them")
        return "\n".join(lines)


class DatasetError(RuntimeError):
    """A run that could not be finished; what was done stays, and the same call again goes on.

    Attributes:
        result: what was done.
        failures: the reason by block; blocks whose workers were lost without a word have none of their own.
    """

    def __init__(self, result: DatasetResult, cause: Exception | None = None) -> None:
        self.result = result
        self.failures = {report.name: report.error for report in result.blocks if report.status == "failed"}
        silent = "no worker has come back with it"
        reasons = [f"  - {name}: {self.failures.get(name, silent)}" for name in result.missing[:_SHOWN]]
        if len(result.missing) > _SHOWN:
            reasons.append(f"  - and {len(result.missing) - _SHOWN} more, in .failures of this error")
        head = f"{cause}\n" if cause is not None else ""
        super().__init__(
            f"{head}{result.rows_done:,} of {result.rows:,} rows are done and stay in {result.output}; the same call "
            f"again computes only the {len(result.missing)} blocks that are missing:\n" + "\n".join(reasons)
        )


def summed_up(folder: Folder, plan: Manifest, reports: Sequence[BlockReport], *, seconds: float) -> DatasetResult:
    """Count what the parts in ``folder`` hold after a run."""
    blocks = plan.blocks()
    states = check_parts(folder, blocks, run=plan.digest)
    whole = [block for block in blocks if block.name in states and states[block.name].whole]
    names = {block.name for block in whole}
    return DatasetResult(
        output=folder.path(),
        rows=plan.rows,
        rows_done=sum(block.rows for block in whole),
        computed=sum(report.rows for report in reports if report.status == "done"),
        problems=sum(states[block.name].problems for block in whole),
        blocks=tuple(sorted(reports, key=lambda report: report.number)),
        missing=tuple(block.name for block in blocks if block.name not in names),
        seconds=seconds,
    )
