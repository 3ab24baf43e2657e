"""One prompt on its way to a reply, and what is told of it in the end.

Plain values; it knows no model and no cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DecodingRow", "Generated"]


@dataclass(frozen=True)
class Generated:
    """A reply and how it came about."""

    text: str
    """Without control tokens and without its stop string."""
    prompt_tokens: int
    """Tokens of the prompt."""
    output_tokens: int
    """Tokens generated, the one that ended the turn included."""
    seconds: float
    """From the start of the row to its last token; it shared the device with others."""
    finish_reason: str
    """Why it ended: "stop" (by itself or at a stop string), "length", "time_limit" (its own) or "deadline"."""


@dataclass
class DecodingRow:
    """A prompt and what was generated for it so far; it can leave its place and start again without loss."""

    index: int
    """Place in the caller's order."""
    prompt: Sequence[int]
    """Token ids."""
    limit: int
    """Most new tokens."""
    key: bytes = b""
    """What its random numbers are drawn from, together with the seed."""
    seconds_allowed: float = math.inf
    """Its own time limit, from its start."""
    new: list[int] = field(default_factory=list)
    """Generated tokens."""
    pages: list[int] = field(default_factory=list)
    """Pages that it holds at the moment."""
    started: float | None = None
    """``time.monotonic()`` when it was first begun."""
    seconds: float = 0.0
    """From then to its end."""
    finish: str = ""
    """Why it ended; empty while it goes on."""
    forbidden_state: int = 0
    """Of the automaton of forbidden strings."""
    stop_state: int = 0
    """Of the automaton of stop strings."""
    random: Any = None
    """Its own random numbers, once it has drawn one."""

    @property
    def length(self) -> int:
        """Tokens so far, prompt and reply."""
        return len(self.prompt) + len(self.new)

    @property
    def most(self) -> int:
        """Tokens that it may come to."""
        return len(self.prompt) + self.limit
