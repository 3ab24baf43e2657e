"""Questions on size, weight and price: thresholds on rough scales, soft near the threshold."""

from __future__ import annotations

import math

__all__ = ["PRICES", "SIZES", "above", "animal_price", "scale_answers"]

SIZES = (
    ("Is it smaller than a coin?", 1.2, -1),
    ("Would it fit in a pocket?", 2.35, -1),
    ("Can you hold it in one hand?", 3.25, -1),
    ("Would it fit in a shoebox?", 3.55, -1),
    ("Is it bigger than a loaf of bread?", 3.45, 1),
    ("Would it fit in a backpack?", 4.1, -1),
    ("Is it bigger than a microwave oven?", 4.35, 1),
    ("Could one person carry it alone?", 4.95, -1),
    ("Does it weigh more than a kilogram?", 3.3, 1),
    ("Does it weigh more than an adult person?", 5.55, 1),
    ("Is it bigger than an adult person?", 5.45, 1),
    ("Would it fit through a normal door?", 5.75, -1),
    ("Is it bigger than a car?", 6.25, 1),
    ("Is it bigger than a house?", 7.35, 1),
    ("Is it bigger than a football stadium?", 8.1, 1),
)
"""Text, threshold, direction; 0 dot, 1 coin, 2 pocket, 3 book, 4 backpack, 5 chair, 6 car, 7 house, 8 hill, 9 land."""
PRICES = (
    ("Does one usually cost less than two dollars?", 1.6, -1),
    ("Does one usually cost more than ten dollars?", 2.9, 1),
    ("Does one usually cost more than fifty dollars?", 3.9, 1),
    ("Does one usually cost more than two hundred dollars?", 4.7, 1),
    ("Does one usually cost more than a thousand dollars?", 5.6, 1),
    ("Does one usually cost more than ten thousand dollars?", 6.5, 1),
)
"""Text, threshold, direction; 0 free, 1 a dollar, 2 five, 3 fifteen, 4 sixty, 5 three hundred, 6 two thousand."""


def above(value: float, threshold: float, *, width: float, most: float = 0.96) -> float:
    """P(value > threshold), between ``1 - most`` and ``most``.

    >>> round(above(3.0, 3.0, width=0.3), 2), above(9.0, 3.0, width=0.3)
    (0.5, 0.96)
    """
    share = 1 / (1 + math.exp(-max(-30.0, min(30.0, (value - threshold) / width))))
    return 1 - most + (2 * most - 1) * share


def animal_price(size: float) -> float:
    """What an animal of a size is worth: a hamster fifteen dollars, a dog three hundred, a cow two thousand."""
    return size + 0.4


def scale_answers(
    size: float | None, price: float | None, *, physical: bool, price_width: float = 0.35
) -> dict[str, float]:
    """P(yes) of all questions on both scales for one thing; what is no thing has no size and no price."""
    answers = {}
    for scale, value, width in ((SIZES, size, 0.22), (PRICES, price, price_width)):
        for text, threshold, direction in scale:
            if value is None:
                answers[text] = 0.3 if physical else 0.08
            else:
                share = above(value, threshold, width=width)
                answers[text] = share if direction > 0 else 1 - share
    return answers
