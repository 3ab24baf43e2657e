"""The seam to a language model: what callers may ask of one, and nothing about how it works.

It promises a protocol that a real model, a model still loading, and a fake in a test all satisfy. It knows no library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .messages import Conversation

__all__ = ["GenerationSettings", "TextGenerator"]


@dataclass(frozen=True)
class GenerationSettings:
    """How to generate. The defaults are greedy and short.

    Raises:
        ValueError: one or more values are out of range; all of them are named.

    >>> GenerationSettings(max_new_tokens=8).temperature
    0.0
    """

    max_new_tokens: int = 64
    """Most tokens to add to each prompt."""
    temperature: float = 0.0
    """0 takes the likeliest token each time; above 0 samples."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that hold this share of the probability, in (0, 1]."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that are already there less likely; 1 changes nothing."""
    stop_strings: tuple[str, ...] = ()
    """Text at which a reply ends, besides the end-of-turn tokens; it is not part of the reply."""
    forbidden_strings: tuple[str, ...] = ()
    """Text that a reply must not contain, however it would be tokenised: tokens that would complete it are banned."""
    time_limit: float | None = None
    """Wall-clock seconds for one call of ``generate`` as a whole; what is there by then is returned. None: no limit."""
    seed: int | None = None
    """Seed for sampling; None leaves the generator's state alone."""

    def __post_init__(self) -> None:
        for name in ("stop_strings", "forbidden_strings"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        problems = self._problems()
        if problems:
            raise ValueError("these generation settings cannot work:\n" + "\n".join(f"  - {p}" for p in problems))

    def _problems(self) -> list[str]:
        checks = [
            (_whole(self.max_new_tokens, least=1), "max_new_tokens", "a whole number, 1 or more"),
            (_number(self.temperature) and self.temperature >= 0, "temperature", "0 (greedy) or more"),
            (_number(self.top_p) and 0 < self.top_p <= 1, "top_p", "above 0 and at most 1"),
            (_number(self.repetition_penalty) and self.repetition_penalty > 0, "repetition_penalty", "above 0"),
            (_strings(self.stop_strings), "stop_strings", 'a tuple of non-empty strings, like ("\\n",)'),
            (_strings(self.forbidden_strings), "forbidden_strings", 'a tuple of non-empty strings, like ("###",)'),
            (
                self.time_limit is None or (_number(self.time_limit) and self.time_limit > 0),
                "time_limit",
                "seconds above 0, or None",
            ),
            (self.seed is None or _whole(self.seed, least=0), "seed", "a whole number, 0 or more, or None"),
        ]
        return [f"{name} is {getattr(self, name)!r}, expected {wanted}" for good, name, wanted in checks if not good]


def _strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) and text for text in value)


def _whole(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@runtime_checkable
class TextGenerator(Protocol):
    """Something that continues conversations. Implementations keep the order of their input."""

    def generate(self, conversations: Sequence[Conversation], settings: GenerationSettings | None = None) -> list[str]:
        """Return one reply per conversation, without control tokens; None means the default settings."""
        ...

    def yes_no(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return P(yes) in [0, 1] per conversation, with P(yes) + P(no) = 1, from one forward pass."""
        ...
