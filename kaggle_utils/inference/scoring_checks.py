"""What ``score_pairs`` is asked to do, checked before anything is scored.

It promises that whatever would fail after hours (weights, shares, rules or a prior that cannot be used with these
judges) is found at once, all of it together. It starts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["ON_LOST_JUDGE", "SWAPS", "scoring_problems"]

SWAPS = ("none", "all", "uncertain", "time")
"""Which rows are scored in both orders: none, all, the least certain share, or as many of the least certain as the
deadline leaves time for."""
ON_LOST_JUDGE = ("error", "continue")
"""What becomes of a judge that no worker can go on with: an error once the others are done, or the others stand in."""

_SUM_TOLERANCE = 0.02


def scoring_problems(
    table: Any,
    judges: Sequence[Any],
    *,
    swap: str,
    swap_share: float,
    on_lost_judge: str,
    prior: Any,
    rules: Any,
    has_deadline: bool,
) -> list[str]:
    """Return everything that is wrong with the arguments of ``score_pairs``; nothing where all is well."""
    labels = sorted({judge.spec.num_labels for judge in judges})
    problems = _of_judges(judges, labels, table)
    if swap not in SWAPS:
        problems.append(f"swap is {swap!r}, expected one of {SWAPS}")
    if swap == "time" and not has_deadline:
        problems.append("swap='time' needs a deadline")
    if not (_is_number(swap_share) and 0.0 <= swap_share <= 1.0):
        problems.append(f"swap_share is {swap_share!r}, expected a number from 0 to 1")
    if on_lost_judge not in ON_LOST_JUDGE:
        problems.append(f"on_lost_judge is {on_lost_judge!r}, expected one of {ON_LOST_JUDGE}")
    turned = [judge.name for judge in judges if judge.swapped]
    if (swap != "none" or turned) and any(count not in (2, 3) for count in labels):
        why = f"swap={swap!r}" if swap != "none" else f"swapped=True of {turned}"
        problems.append(f"{why} exchanges the columns of A and B, and judges have {labels} labels; expected 2 or 3")
    unreadable = len(table.pairs) - int(np.sum(table.readable))
    if unreadable and prior is None:
        problems.append(
            f"{unreadable} rows could not be read (table.unreadable names them); "
            "give prior=class_prior(...) to answer them"
        )
    for count in labels[:1]:
        problems += _of_prior(prior, count) + _of_rules(rules, count)
    return problems


def _of_judges(judges: Sequence[Any], labels: list[int], table: Any) -> list[str]:
    problems = [] if judges else ["there is no judge"]
    if len(labels) > 1:
        problems.append(f"judges have {labels} labels; they must agree")
    if getattr(table, "num_labels", None) and labels and labels != [table.num_labels]:
        problems.append(f"judges have {labels} labels, the table has {table.num_labels}")
    names = [judge.name for judge in judges]
    if len(set(names)) < len(names):
        problems.append(f"judges are called {names}; give each scorer its own name")
    mute = [judge.name for judge in judges if not hasattr(judge.tokenizer, "encode")]
    if mute:
        problems.append(f"the tokenizers of {mute} have no encode(); give a data.tokenization.PairTokenizer")
    weights = [judge.weight for judge in judges]
    if judges and not (all(_is_number(w) and w >= 0 for w in weights) and sum(weights) > 0):
        problems.append(f"weights are {weights}; expected numbers of at least 0, not all 0")
    temperatures = [judge.temperature for judge in judges]
    if not all(_is_number(value) and value > 0 for value in temperatures):
        problems.append(f"temperatures are {temperatures}; expected finite numbers above 0")
    return problems


def _of_prior(prior: Any, count: int) -> list[str]:
    if prior is None:
        return []
    if np.shape(prior) != (count,):
        return [f"prior has shape {np.shape(prior)}, expected {(count,)}"]
    values = np.asarray(prior, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or abs(values.sum() - 1) > _SUM_TOLERANCE:
        return [f"prior is {values.tolist()}; expected {count} numbers of at least 0 whose sum is 1"]
    return []


def _of_rules(rules: Any, count: int) -> list[str]:
    known: Mapping[str, Any] = getattr(rules, "probabilities", {})
    odd = sorted({np.size(values) for values in known.values()} - {count})
    return [f"rules are for {odd} labels, judges have {count}; fit_rules(..., num_labels={count})"] if odd else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
