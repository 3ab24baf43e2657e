"""What is said when nobody else says anything: valid replies that cannot fail."""

from __future__ import annotations

from collections.abc import Sequence

from kaggle_utils.q20.protocol import Observation

__all__ = ["COMMON_WORDS", "AnswerNo", "last_resort"]

COMMON_WORDS: tuple[str, ...] = (
    "table", "water", "tree", "bottle", "dog", "car", "house", "book", "phone", "chair", "bread", "stone", "paper",
    "knife", "lamp", "shoe", "flower", "bird", "glass", "clock", "bag", "computer", "rope", "milk", "window",
)  # fmt: skip
"""Guesses for a game in which not even the vocabulary can be read."""


class AnswerNo:
    """Answer "no": right more often than not, and always valid.

    >>> AnswerNo().reply(Observation("answer"))
    'no'
    """

    def reply(self, obs: Observation) -> str | None:
        """Return "no"."""
        return "no"


def last_resort(turn_type: str, *, guesses: Sequence[str] = (), questions: Sequence[str] = ()) -> str:
    """Return a valid reply for any turn without asking anybody; "no" for a turn that does not exist.

    >>> last_resort("ask"), last_resort("guess", guesses=["table"]), last_resort("dance")
    ('Does the keyword start with the letter "a"?', 'water', 'no')
    """
    if turn_type == "guess":
        return next((word for word in COMMON_WORDS if word not in guesses), COMMON_WORDS[0])
    if turn_type == "ask":
        letters = "abcdefghijklmnopqrstuvwxyz"
        texts = [f'Does the keyword start with the letter "{letter}"?' for letter in letters]
        return next((text for text in texts if text not in questions), texts[0])
    return "no"
