"""When two texts count as the same question.

It promises the same answer for texts that differ in width, case and white space only. It does not know meanings: a
question put in other words is another question here.
"""

from __future__ import annotations

import unicodedata
from collections import Counter

__all__ = ["near_equality", "plain_text"]


def plain_text(text: str) -> str:
    """Return ``text`` after NFKC and case folding, without white space.

    >>> plain_text("Ｈ２Ｏ とは？")
    'h2oとは?'
    """
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def near_equality(first: str, second: str) -> float:
    """Return the share of character bigrams that two texts have in common (Dice), 1 for equal texts.

    Both are compared as :func:`plain_text`. Costs O(characters).

    >>> near_equality("伊勢神宮は何県？", " 伊勢神宮は 何県?")
    1.0
    >>> near_equality("伊勢神宮は何県？", "鉛筆は水に沈みますか")
    0.0
    """
    left, right = plain_text(first), plain_text(second)
    if left == right:
        return 1.0
    pairs = [Counter(text[i : i + 2] for i in range(len(text) - 1)) for text in (left, right)]
    total = sum(pairs[0].values()) + sum(pairs[1].values())
    return 2 * sum((pairs[0] & pairs[1]).values()) / total if total else 0.0
