"""How long a turn may take.

The environment allows ``actTimeout`` seconds a turn and a bank of 300 s for the whole game (``remainingOverageTime``);
who overdraws it loses at once. A turn stays within ``actTimeout``, with one exception: an answerer whose model is still
loading may take from the bank, because a wrong answer misleads the partner for the rest of the game.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MODEL_NEEDS_OVERAGE", "OVERAGE_RESERVE", "TurnTime", "act_timeout_of", "turn_time"]

MODEL_NEEDS_OVERAGE = 60.0
"""Seconds in the bank below which the model is not asked at all."""

OVERAGE_RESERVE = 150.0
"""Seconds of the bank that waiting for a model never touches."""

_AFTER_MODEL = 6.0  # seconds: a belief over a third of a million words takes up to two, on a slow machine more


@dataclass(frozen=True)
class TurnTime:
    """Seconds after the start of the turn."""

    model: float
    """Until when a language model may be asked; 0.0: not at all."""
    rules: float
    """Until when everything else may be asked; a last resort that costs nothing follows."""


def turn_time(overage: float, *, act_timeout: float, margin: float | None = None, waiting: bool = False) -> TurnTime:
    """Share out a turn.

    Args:
        overage: seconds left in the bank.
        act_timeout: seconds that the environment allows for a turn.
        margin: seconds kept for the way there and back; by default a tenth of the turn.
        waiting: the model is still loading and this turn is worth waiting for it.

    >>> turn_time(300, act_timeout=60)
    TurnTime(model=48.0, rules=54.0)
    >>> turn_time(300, act_timeout=60, waiting=True)
    TurnTime(model=198.0, rules=204.0)
    >>> turn_time(59, act_timeout=60)
    TurnTime(model=0.0, rules=54.0)
    """
    rules = act_timeout - (0.1 * act_timeout if margin is None else min(margin, 0.9 * act_timeout))
    model = rules - min(_AFTER_MODEL, 0.25 * rules)
    if not overage >= MODEL_NEEDS_OVERAGE:  # NaN counts as nothing left
        return TurnTime(0.0, rules)
    extra = max(0.0, overage - OVERAGE_RESERVE) if waiting else 0.0
    return TurnTime(model + extra, rules + extra)


def act_timeout_of(cfg: Any, default: float) -> float:
    """Return the seconds a turn: the configuration's ``actTimeout`` or ``default``, whichever is shorter.

    >>> act_timeout_of({"actTimeout": 20}, 60.0), act_timeout_of(None, 60.0), act_timeout_of({"actTimeout": "x"}, 60.0)
    (20.0, 60.0, 60.0)
    """
    try:
        value = cfg.get("actTimeout") if isinstance(cfg, Mapping) else getattr(cfg, "actTimeout", None)
    except Exception:  # a configuration of a stranger's making; the default is always safe
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        return default
    return min(float(value), default)
