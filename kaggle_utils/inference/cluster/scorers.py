"""What adapters for scorers over many machines share: an actor's own pool of workers, checks, and reasons by row.

It promises that a scorer which cannot be built is known when the actor starts, and not with its first block. It does
not know what is scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kaggle_utils.inference.cluster.tasks import Place
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.report import LEFT_BY_DEADLINE, RunReport
from kaggle_utils.inference.specs import ScorerSpec, check_sendable

__all__ = ["ScorerEngine", "about_scorer", "cut_short", "listed", "scorer_problems"]


class ScorerEngine:
    """The scorers of an actor, built once and kept between blocks."""

    def __init__(self, specs: Sequence[ScorerSpec], place: Place) -> None:
        self.pool = WorkerPool(specs, devices=place.devices, workers=place.workers, threads=place.threads)
        if reasons := self.pool.build():
            self.pool.close()
            told = "; ".join(f"{label}: {reason}" for label, reason in reasons.items())
            raise RuntimeError(f"{', '.join(spec.name for spec in specs)} cannot be built: {told}")

    def close(self) -> None:
        """End the workers."""
        self.pool.close()


def listed(problems: Mapping[int, str], count: int) -> list[str | None]:
    """Return the reason for each of ``count`` rows, None where there is no problem."""
    return [problems.get(row) for row in range(count)]


def cut_short(reports: Sequence[RunReport]) -> bool:
    """Tell whether the deadline left rows."""
    return any(problem.reason == LEFT_BY_DEADLINE for report in reports for problem in report.problems)


def about_scorer(spec: ScorerSpec) -> dict[str, Any]:
    """What names a scorer; its arguments are in its fingerprint."""
    return {"name": spec.name, "fingerprint": spec.fingerprint, "num_labels": spec.num_labels}


def scorer_problems(specs: Sequence[ScorerSpec], workers: str) -> list[str]:
    """Return what is wrong with scorers, before anything is started."""
    nameless = [spec.name for spec in specs if not spec.fingerprint]
    found = []
    if nameless:
        found.append(f"scorers {nameless} have no fingerprint, so their results cannot be stored (run_fingerprint)")
    if workers == "processes":
        try:
            check_sendable(specs)
        except ValueError as error:
            found.append(str(error))
        factories = [f for spec in specs for f in (spec.factory, spec.safe) if f is not None]
        if inside := [f.__qualname__ for f in factories if getattr(f, "__module__", "") == "__main__"]:
            found.append(
                f"{', '.join(inside)} is defined in the script or notebook itself, where no process on another machine "
                "finds it; put it into a module, or use workers='threads'"
            )
    return found
