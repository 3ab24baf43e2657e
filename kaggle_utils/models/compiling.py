"""Whether compiling the decoder layers pays: measured on one real pack, not assumed.

It promises a choice with its reason, and that a compiler that is missing, too old or wrong costs a note, never a run.
It does not know how a pack is scored.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["COMPILED", "PLAIN", "Compilable", "choose_by_measuring", "is_compiler_error", "plain_layers"]

COMPILED, PLAIN = "compiled", "plain"

_WORTH_TRYING = 120.0
"""Seconds of work below which the compiler is not even tried: on an H100 it took 11 s for a pack size and saved a third
of the rest, so that about 100 s of work pay for the three or four sizes of a run."""


class Compilable(Protocol):
    """What can score one pack in two ways."""

    compiled: bool
    """Which way it is now."""

    def use(self, choice: str) -> None:
        """Change to :data:`COMPILED` or :data:`PLAIN`."""
        ...

    def score(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Logits of one pack; falls back to the plain way by itself where the compiler fails."""
        ...


def choose_by_measuring(
    scorer: Compilable,
    rows: Sequence[np.ndarray],
    *,
    remaining_tokens: int,
    seconds_left: float,
    tolerance: Callable[[np.ndarray], float],
    worth_trying: float = _WORTH_TRYING,
) -> tuple[str, str]:
    """Score one full pack both ways; return the choice and the reason in words.

    Args:
        scorer: left in the way that was measured last.
        rows: a full pack.
        remaining_tokens: work that this scorer has before it.
        seconds_left: until its deadline.
        tolerance: how far logits of this size may move; compiled ones that are further off are wrong.
        worth_trying: seconds of work below which only the plain way is measured.
    """
    tokens = sum(map(len, rows))
    scorer.use(PLAIN)
    expected, _ = _timed(scorer, rows)
    _, plain = _timed(scorer, rows)
    work = min(plain * remaining_tokens / tokens, seconds_left)
    if work < worth_trying:
        return PLAIN, f"about {work:.0f} s of work are left; below {worth_trying:.0f} s compiling does not pay"
    scorer.use(COMPILED)
    found, warm = _timed(scorer, rows)
    if not scorer.compiled:
        return PLAIN, "the layers could not be compiled"
    _, fast = _timed(scorer, rows)
    both = np.isfinite(found) & np.isfinite(expected)
    if lost := int((np.isfinite(expected) & ~np.isfinite(found)).sum()):
        return (
            PLAIN,
            f"{lost} of {expected.size} logits were not finite compiled and finite plain",
        )
    off = float(np.abs(found - expected, where=both, out=np.zeros_like(found)).max(initial=0.0))
    figures = f"a pack of {tokens:,} tokens took {fast:.3g} s compiled and {plain:.3g} s plain"
    figures += f", after {warm:.0f} s of compiling; about {work:.0f} s of work were left"
    if off > tolerance(expected):
        return PLAIN, f"compiled logits were off by {off:.3g}, allowed are {tolerance(expected):.3g}; {figures}"
    # The first pack is paid for; the last ones are smaller, and each size is compiled anew.
    if fast / plain * work + warm < work:
        return COMPILED, figures
    return PLAIN, f"{figures}: too little to gain"


def is_compiler_error(error: BaseException) -> bool:
    """Tell whether the compiler failed, not what it compiled; memory that ran out is no such error.

    >>> is_compiler_error(ValueError("a row without tokens"))
    False
    """
    seen: BaseException | None = error
    while seen is not None:
        if "out of memory" in str(seen).lower():
            return False
        if type(seen).__module__.startswith(("torch._dynamo", "torch._inductor", "torch._functorch", "triton")):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextlib.contextmanager
def plain_layers(layers: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Run ``layers`` uncompiled for a while; what was compiled is kept."""
    kept: list[Any] = [layer._compiled_call_impl for layer in layers]
    try:
        for layer in layers:
            layer._compiled_call_impl = None
        yield
    finally:
        for layer, call in zip(layers, kept, strict=True):
            layer._compiled_call_impl = call


def _timed(scorer: Compilable, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    logits = scorer.score(rows)
    return logits, time.perf_counter() - started
