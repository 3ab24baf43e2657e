"""What the engine is asked to do: scorers that workers can build for themselves, and jobs that use them.

It promises nothing but shapes and names. A scorer is anything with ``score``; whether a model, a mock or two cards in a
row stand behind it is not known here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

import numpy as np

__all__ = ["Job", "Scorer", "ScorerSpec", "check_jobs", "check_sendable"]


class Scorer(Protocol):
    """Scores one pack of rows at a time. What it may have besides:

    - ``launch(rows) -> handle`` and ``collect(handle) -> logits``: it gets its next pack before the last one is
      collected, so that its device never waits for the host;
    - ``self_check(rows)``: compares a few short rows with the plain forward and raises where it is wrong;
    - ``tune(rows, remaining_tokens=..., seconds_left=...) -> str`` and ``adopt(choice)``: chooses how it computes by
      measuring on a full pack. One choice holds for a run and kind of device; ``adopt("")`` means the safest;
    - ``flops_per_token``: for the MFU; ``notes``: a growing list of texts for the report.
    """

    padded: bool
    """Rows are padded to the longest of their pack, so a pack costs rows x longest tokens, not their sum."""
    max_tokens: int
    """Largest pack that it wants; one longer row still comes, as a pack of its own."""

    def score(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Integer arrays [length of row] -> float32 logits [rows, labels]."""
        ...


@dataclass(frozen=True)
class ScorerSpec:
    """How a worker builds a scorer, and what the engine has to know before it is built."""

    name: str
    """Appears in results, reports and errors."""
    factory: Callable[..., Any]
    """Called in the worker as ``factory(device=device, **kwargs)``. Worker processes find it by module and name, so it
    must be importable: a function of a module, not a lambda and not a notebook's own."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Passed to ``factory`` and ``safe``."""
    fingerprint: str = ""
    """See :func:`~kaggle_utils.inference.fingerprint.run_fingerprint`; needed when results are stored."""
    num_labels: int = 3
    """Columns of the logits."""
    safe: Callable[..., Any] | None = None
    """Makes a slower scorer for rows whose logits are not finite: ``safe(scorer, device=device, **kwargs)``, where
    ``scorer`` is the one that failed. None: such rows are only reported."""
    fits_beside: bool = False
    """It may be built on a device that still holds another scorer; otherwise that one is dropped first."""
    padded: bool | None = None
    """How to count packs. None: as the first scorer says that is built; state it where devices differ."""
    flops_per_token: float | None = None
    """Floating-point operations of one token, for the MFU. None: as the scorer says."""

    def __post_init__(self) -> None:
        problems = []
        if not self.name:
            problems.append("name is empty")
        if not callable(self.factory):
            problems.append(f"factory is {self.factory!r}, expected a callable")
        if self.safe is not None and not callable(self.safe):
            problems.append(f"safe is {self.safe!r}, expected a callable or None")
        if self.num_labels < 1:
            problems.append(f"num_labels is {self.num_labels}, expected at least 1")
        if problems:
            raise ValueError(f"scorer {self.name!r}: " + "; ".join(problems))


@dataclass(frozen=True)
class Job:
    """Rows for one scorer. Two jobs may share a scorer: plain and swapped order, say."""

    name: str
    """Key of its logits in the result."""
    scorer: ScorerSpec
    """Who scores it."""
    rows: Sequence[np.ndarray]
    """Token ids, integer arrays [length of row]."""


def check_jobs(jobs: Sequence[Job]) -> dict[str, ScorerSpec]:
    """Return the scorers by name, or report everything that is wrong with the jobs.

    Raises:
        ValueError: job names twice, one scorer name for two specs, rows without tokens.
    """
    problems = []
    specs: dict[str, ScorerSpec] = {}
    names: set[str] = set()
    for job in jobs:
        if job.name in names:
            problems.append(f"two jobs are called {job.name!r}")
        names.add(job.name)
        if specs.setdefault(job.scorer.name, job.scorer) != job.scorer:
            problems.append(f"two different scorers are called {job.scorer.name!r}")
        empty = [i for i, row in enumerate(job.rows) if not len(row)]
        if empty:
            more = f" and {len(empty) - 10} more" if len(empty) > 10 else ""
            problems.append(f"job {job.name!r}: rows {empty[:10]}{more} have no tokens; every row needs at least one")
    if not jobs:
        problems.append("there is no job")
    if problems:
        raise ValueError("nothing was scored:\n" + "\n".join(f"  - {p}" for p in problems))
    return specs


def check_sendable(specs: Sequence[ScorerSpec]) -> None:
    """Raise, before any process is started, where one could not build a scorer for itself.

    Raises:
        ValueError: a factory or an argument that cannot be sent to a new process.
    """
    problems = []
    interactive = not hasattr(sys.modules["__main__"], "__file__")
    for spec in specs:
        try:
            ForkingPickler.dumps(spec)
        except Exception as error:
            problems.append(f"scorer {spec.name!r}: {type(error).__name__}: {error}")
            continue
        functions = [f for f in (spec.factory, spec.safe) if f is not None]
        if interactive and any(getattr(f, "__module__", "") == "__main__" for f in functions):
            problems.append(f"scorer {spec.name!r}: its factory is defined in the notebook itself")
    if problems:
        raise ValueError(
            "worker processes could not build these scorers:\n"
            + "\n".join(f"  - {p}" for p in problems)
            + "\nput the factory into a module (in a notebook: a cell with %%writefile), or use workers='threads'"
        )
