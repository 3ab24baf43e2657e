"""Answers that follow from the category which the environment tells the answerer.

The categories of the published lists are "things", "place", "country", "city" and "landmark". Only questions that ask
for a category outright are answered, and only where the category settles them.
"""

from __future__ import annotations

import re

from kaggle_utils.q20.answerer.wording import wording_key

__all__ = ["category_answer"]

_ASKED = re.compile(r"is @ (?:kind of )?(place|location|country|nation|city|town|landmark|person|animal|human)")
_YES, _NO = 0.97, 0.03
_PLACES = {"place", "country", "city", "landmark"}
_SAME = {"location": "place", "nation": "country", "town": "city", "human": "person"}


def category_answer(category: str, question: str) -> float | None:
    """Return P(yes) of "is it a place", "is it a city" ... for a category, or None where it does not say.

    >>> category_answer("country", "Is it a city?"), category_answer("city", "Is the keyword a location?")
    (0.03, 0.97)
    >>> category_answer("place", "Is it a city?") is None, category_answer("things", "Is it alive?") is None
    (True, True)
    """
    kind = category.strip().lower()
    if kind not in _PLACES and kind != "things":
        return None
    match = _ASKED.fullmatch(wording_key(question))
    if match is None:
        return None
    asked = _SAME.get(match[1], match[1])
    if kind == "things":
        return _NO if asked in ("country", "city") else None
    if asked in ("person", "animal"):
        return _NO
    if asked == "place" or asked == kind:
        return _YES
    return None if kind == "place" or asked == "landmark" else _NO
