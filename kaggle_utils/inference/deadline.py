"""A moment at which work has to stop, shared by the calls that have to respect it.

It promises a clock that never jumps (``time.monotonic``). It does not stop anything itself.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

__all__ = ["Deadline"]


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock; ``Deadline.never()`` does not come."""

    at: float
    """``time.monotonic()`` at that moment, in seconds."""

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the moment ``seconds`` from now."""
        if math.isnan(seconds):
            raise ValueError("a deadline of nan seconds; expected a number")
        return cls(time.monotonic() + seconds)

    @classmethod
    def never(cls) -> Deadline:
        """Return a moment that does not come.

        >>> Deadline.never().left()
        inf
        """
        return cls(math.inf)

    @classmethod
    def of(cls, value: float | Deadline | None) -> Deadline:
        """Return ``value`` itself, the moment that many seconds from now, or never for None."""
        if isinstance(value, Deadline):
            return value
        return cls.never() if value is None else cls.after(value)

    @property
    def set(self) -> bool:
        """Whether it comes at all."""
        return self.at != math.inf

    def left(self) -> float:
        """Seconds from now; negative once it is over."""
        return self.at - time.monotonic()
