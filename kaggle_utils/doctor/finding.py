"""One thing that was looked at: what it is, what was there, what was expected, what to do.

It promises that a check cannot break the others: whatever it raises becomes a finding. It does not know any check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

__all__ = ["LEVELS", "Finding", "isolated"]

LEVELS = ("ok", "note", "lack")
"""``ok``: as it should be; ``note``: good to know, may be meant so; ``lack``: a notebook cannot run like this."""


@dataclass(frozen=True)
class Finding:
    """What a check saw."""

    check: str
    """The part of the page: ``versions``, ``GPUs``, ``memory and disk``, ``inputs``, or a notebook's name."""
    what: str
    """What was looked at: ``torch``."""
    value: str
    """What is there: ``2.10.0``, ``missing``."""
    expected: str = ""
    """What should be there: ``>=2.6``; empty where anything will do."""
    remedy: str = ""
    """What to do about it; empty where nothing has to be done."""
    level: str = "ok"
    """One of :data:`LEVELS`."""

    def __post_init__(self) -> None:
        """Refuse a level that no page shows, and a lack without a remedy."""
        if self.level not in LEVELS:
            raise ValueError(f"level {self.level!r} is none of {', '.join(LEVELS)}")
        if self.level == "lack" and not self.remedy:
            raise ValueError(f"{self.check}: {self.what} lacks, but no remedy is given; say what to do")

    def to_json(self) -> dict[str, str]:
        """Return the fields as a dictionary of strings."""
        return asdict(self)


def isolated(
    check: str, look: Callable[[], Iterable[Finding]], *, level: str = "note", what: str = "this check"
) -> list[Finding]:
    """Return the findings of ``look()``; if it raises, those until then and one of ``level`` that says what it raised.

    >>> [found] = isolated("inputs", lambda: 1 / 0)
    >>> found.value
    'failed: ZeroDivisionError: division by zero'
    """
    found: list[Finding] = []
    try:
        found.extend(look())
    except Exception as error:
        text = " ".join(str(error).split())
        value = f"failed: {type(error).__name__}: {text[:300]}"
        found.append(
            Finding(check, what, value, remedy="read the error; the other checks are not touched", level=level)
        )
    return found
