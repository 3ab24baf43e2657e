"""Calls with a time limit, in threads that can be left behind.

Python cannot end a thread, so a call that takes too long is abandoned: its thread runs on as a daemon, its result is
dropped, and whatever it was using counts as hung until the thread comes back. A call that holds the interpreter lock
without a break (a catastrophic regular expression, say) cannot be cut off; nothing in this package does that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Guard", "TimeLimitError", "time_left"]

_T = TypeVar("_T")
_current = threading.local()


class TimeLimitError(Exception):
    """A call took longer than it was given, and was left behind."""


def time_left() -> float:
    """Return how many seconds the guarded call that we are in still has; infinity outside of one.

    >>> time_left()
    inf
    """
    until = getattr(_current, "until", None)
    return float("inf") if until is None else max(0.0, until - time.monotonic())


class Guard:
    """Runs calls in threads and remembers which resources hang."""

    def __init__(self) -> None:
        self._abandoned: dict[int, threading.Thread] = {}

    def hangs(self, resource: object) -> bool:
        """Say whether an abandoned call is still using ``resource``."""
        thread = self._abandoned.get(id(resource))
        return thread is not None and thread.is_alive()

    def call(self, function: Callable[[], _T], *, seconds: float, resource: object = None) -> _T:
        """Return what ``function`` returns, or raise what it raises, within ``seconds``.

        Raises:
            TimeLimitError: it did not return in time; ``resource`` hangs until its thread ends.
            RuntimeError: the call raised SystemExit, KeyboardInterrupt or the like itself.
            Exception: any other exception of the call, unchanged.

        >>> Guard().call(lambda: 6 * 7, seconds=1)
        42
        """
        outcome: list[tuple[bool, object]] = []

        def work() -> None:
            _current.until = until
            try:
                outcome.append((True, function()))
            except BaseException as error:  # carried over to the caller
                outcome.append((False, error))

        until = time.monotonic() + seconds
        thread = threading.Thread(target=work, name="q20-turn", daemon=True)
        thread.start()
        thread.join(max(0.0, seconds))
        if not outcome:
            self._abandoned[id(resource)] = thread
            raise TimeLimitError(f"no result after {seconds:.1f} s; the call goes on without us")
        return _unpack(outcome)


def _unpack(outcome: list[tuple[bool, Any]]) -> Any:
    """Return or raise what a call left, keeping no reference to it: its traceback may hold a whole model's tensors."""
    succeeded, value = outcome.pop()
    if succeeded:
        return value
    try:
        if isinstance(value, Exception):
            raise value
        raise RuntimeError(f"the call tried to end the process with {type(value).__name__}: {value}") from value
    finally:
        del value
