"""Language models without weights: one that replays, and three that misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["FakeGenerator", "HangingGenerator", "RaisingGenerator", "SlowGenerator"]


class FakeGenerator:
    """Replays replies (the last one for ever) and remembers what it was asked.

    ``p_yes`` is a number or a function of the text of the last turn.
    """

    def __init__(self, *replies: str, p_yes: float | Callable[[str], float] = 0.5) -> None:
        self.replies, self.p_yes = list(replies) or [""], p_yes
        self.conversations: list = []
        self.settings: list = []

    def generate(self, conversations, settings=None) -> list[str]:
        self.conversations += conversations
        self.settings.append(settings)
        return [self.replies.pop(0) if len(self.replies) > 1 else self.replies[0] for _ in conversations]

    def yes_no(self, conversations) -> list[float]:
        self.conversations += conversations
        if callable(self.p_yes):
            return [self.p_yes(conversation[-1].content) for conversation in conversations]
        return [self.p_yes for _ in conversations]


class HangingGenerator:
    """Does not come back until it is released; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.released = threading.Event()

    def generate(self, conversations, settings=None) -> list[str]:
        self._hang()
        return ["Is it larger than a house?\nzebra" for _ in conversations]

    def yes_no(self, conversations) -> list[float]:
        self._hang()
        return [1.0 for _ in conversations]

    def _hang(self) -> None:
        self.calls += 1
        self.released.wait(300)


class RaisingGenerator:
    """Raises ``error`` whenever it is asked."""

    def __init__(self, error: BaseException) -> None:
        self.error_to_raise, self.calls = error, 0

    def generate(self, conversations, settings=None) -> list[str]:
        self.calls += 1
        raise self.error_to_raise

    def yes_no(self, conversations) -> list[float]:
        self.calls += 1
        raise self.error_to_raise


class SlowGenerator(FakeGenerator):
    """A FakeGenerator that takes ``seconds`` for every call."""

    def __init__(self, *replies: str, seconds: float, p_yes: float | Callable[[str], float] = 0.5) -> None:
        super().__init__(*replies, p_yes=p_yes)
        self.seconds = seconds

    def generate(self, conversations, settings=None) -> list[str]:
        time.sleep(self.seconds)
        return super().generate(conversations, settings)

    def yes_no(self, conversations) -> list[float]:
        time.sleep(self.seconds)
        return super().yes_no(conversations)
