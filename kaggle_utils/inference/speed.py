"""How fast workers are, as measured, and how long work will take by that.

It promises estimates from measurements only: what was never measured is unknown (None). It does not know what is
scored.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SpeedBook", "safer_path"]

_NEWEST = 0.3  # weight of the newest pack, so that a first pack with its warm-up is soon forgotten
_CAUTION = 1.1


def safer_path(scorer: str) -> str:
    """Name under which the slower scorer for a scorer's difficult rows is measured; a speed of its own.

    >>> safer_path("judge")
    'judge, safer path'
    """
    return f"{scorer}, safer path"


class SpeedBook:
    """Seconds a token by worker and scorer.

    Attributes:
        slowest_pack: seconds that the slowest pack so far took, those of safer paths aside.
    """

    def __init__(self) -> None:
        self.slowest_pack = 0.0
        self._pace: dict[tuple[str, str], float] = {}
        self._load: dict[str, float] = {}

    def scored(self, worker: str, scorer: str, *, tokens: int, seconds: float, safer: bool = False) -> None:
        """Note that a pack of ``tokens`` took ``seconds``, by the scorer itself or on its safer path."""
        if safer:
            scorer = safer_path(scorer)
        else:
            self.slowest_pack = max(self.slowest_pack, seconds)
        pace = seconds / max(1, tokens)
        last = self._pace.get((worker, scorer))
        self._pace[worker, scorer] = pace if last is None else last + _NEWEST * (pace - last)

    def loaded(self, scorer: str, seconds: float) -> None:
        """Note that building a scorer took ``seconds``."""
        self._load[scorer] = max(seconds, self._load.get(scorer, 0.0))

    def measured(self, worker: str) -> bool:
        """Whether this worker has scored anything yet."""
        return any(name == worker for name, _ in self._pace)

    def load_seconds(self, scorer: str) -> float:
        """What building it took at worst; 0 when it was never built."""
        return self._load.get(scorer, 0.0)

    def seconds(self, worker: str | None, scorer: str, *, tokens: int) -> float | None:
        """Estimate, a little cautiously, how long a worker takes for ``tokens``.

        A worker that has not scored yet (or None) is taken to be as slow as the slowest that has.

        >>> book = SpeedBook()
        >>> book.seconds("cpu", "judge", tokens=100) is None
        True
        >>> book.scored("cpu", "judge", tokens=100, seconds=2.0)
        >>> round(book.seconds("cpu", "judge", tokens=200), 3)
        4.4
        """
        pace = self._pace.get((worker, scorer)) if worker is not None else None
        if pace is None:
            pace = max((p for (_, name), p in self._pace.items() if name == scorer), default=None)
        return None if pace is None else pace * tokens * _CAUTION

    def eta(self, waiting: Mapping[str, int], *, workers: int) -> float | None:
        """Estimate how long ``workers`` take together for the tokens that wait, by scorer; None while unknown."""
        total = 0.0
        for scorer, tokens in waiting.items():
            if tokens:
                seconds = self.seconds(None, scorer, tokens=tokens)
                if seconds is None:
                    return None
                total += seconds / _CAUTION
        return total / workers if workers else None
