"""A budget of tokens shared between texts of different lengths: by weight, or by length.

It promises shares that never exceed a text, and the whole budget spent wherever there is text for it.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["allocate_budget", "allocate_by_length"]


def allocate_budget(lengths: Sequence[int], budget: int, *, weights: Sequence[int] | None = None) -> list[int]:
    """Share ``budget`` so that short items keep their full length and the rest is divided by weight.

    Tokens that do not divide go one each to the first items that are cut.

    >>> allocate_budget([10, 500, 900], 600)
    [10, 295, 295]
    >>> allocate_budget([500, 500, 500], 100, weights=[1, 2, 2])
    [20, 40, 40]
    """
    weights = [1] * len(lengths) if weights is None else list(weights)
    if budget < 0 or len(weights) != len(lengths) or min(lengths, default=0) < 0 or min(weights, default=1) < 1:
        raise ValueError(
            f"lengths {list(lengths)}, budget {budget}, weights {weights}: "
            "expected none negative and one positive weight each"
        )
    shares = list(lengths)
    cut, left = list(range(len(lengths))), budget
    while cut:
        total = sum(weights[i] for i in cut)
        whole = [i for i in cut if lengths[i] * total <= left * weights[i]]
        if not whole:
            break
        left -= sum(lengths[i] for i in whole)
        cut = [i for i in cut if i not in whole]
    for i in cut:
        shares[i] = left * weights[i] // total
    for i in cut[: left - sum(shares[i] for i in cut)]:
        shares[i] += 1
    return shares


def allocate_by_length(lengths: Sequence[int], budget: int) -> list[int]:
    """Share ``budget`` so that items of up to an equal share keep their full length and the rest goes by length.

    Where all fit, all are whole. An item just over its equal share may get less than one just under it. Tokens that do
    not divide go one each to the first items that are cut.

    >>> allocate_by_length([10, 500, 900], 600)
    [10, 211, 379]
    >>> allocate_by_length([10, 500, 900], 1410)
    [10, 500, 900]
    """
    if budget < 0 or min(lengths, default=0) < 0:
        raise ValueError(f"lengths {list(lengths)}, budget {budget}: expected none negative")
    if sum(lengths) <= budget:
        return list(lengths)
    cut = [i for i, length in enumerate(lengths) if length * len(lengths) > budget]
    total = sum(lengths[i] for i in cut)
    left = budget - (sum(lengths) - total)
    shares = [length if i not in cut else length * left // total for i, length in enumerate(lengths)]
    for i in cut[: budget - sum(shares)]:
        shares[i] += 1
    return shares
