"""One thing that is wrong with a submission: where, how bad, what, and what to do about it.

Shared by the unpacker, the linter, the probes and the games, so that a report is one list. It knows nothing about how
a problem was found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Problem", "errors_in", "sort_problems"]


@dataclass(frozen=True)
class Problem:
    """A finding, with the remedy beside it.

    >>> print(Problem("main.py", "error", "uses __file__, which does not exist", "use the code object", line=3))
    error: main.py:3: uses __file__, which does not exist -> use the code object
    """

    where: str
    """File, seat or game it is about."""
    severity: str
    """"error" (the submission fails or would lose by it) or "warning"."""
    message: str
    """What is wrong, with its value."""
    fix: str = ""
    """What to do next."""
    line: int | None = None
    """Line in ``where``, from 1, where that makes sense."""

    def __post_init__(self) -> None:
        if self.severity not in ("error", "warning"):
            raise ValueError(f"severity is {self.severity!r}; expected 'error' or 'warning'")

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        return f"{self.severity}: {place}: {self.message}" + (f" -> {self.fix}" if self.fix else "")


def errors_in(problems: Iterable[Problem]) -> list[Problem]:
    """Those that make a submission unfit.

    >>> errors_in([Problem("main.py", "warning", "slow")])
    []
    """
    return [problem for problem in problems if problem.severity == "error"]


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Without repeats, errors first, otherwise in the order given.

    >>> [p.message for p in sort_problems([Problem("a", "warning", "w"), Problem("a", "error", "e")])]
    ['e', 'w']
    """
    return sorted(dict.fromkeys(problems), key=lambda problem: problem.severity != "error")
