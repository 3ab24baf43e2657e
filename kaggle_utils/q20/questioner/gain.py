"""Expected information gain of questions, by matrix products.

The gain of a question is how many bits its answer is expected to tell about the object: H(answer) - H(answer | object).
Both terms follow from two sums over objects, of theta and of its entropy h(theta), so one product with each matrix
gives the gains of all questions at once. The entropy behind a noisy channel is interpolated between its values at
theta = 0, 1/2 and 1, which is exact for a table of certain entries and within 0.03 bit elsewhere.
"""

from __future__ import annotations

import numpy as np

__all__ = ["binary_entropy", "entropy", "gain_of_sums", "information_gain"]

_SMALLEST = 1e-6  # float32 holds 1 - 1e-6; 1 - 1e-9 would be 1.0, and its entropy NaN
_DOUBT_PER_BIT = 0.35  # how much theta exceeds theta|2theta-1|, about, for each bit of h(theta)


def binary_entropy(p: np.ndarray) -> np.ndarray:
    """Return h(p) in bits, in p's floating type; never NaN, for p a hair outside [0, 1] too.

    >>> binary_entropy(np.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.0, 1.0, 0.0]
    """
    p = np.clip(p, _SMALLEST, 1 - _SMALLEST)
    q = 1 - p
    result = p * np.log2(p)
    result += np.multiply(q, np.log2(q), out=q)
    return np.negative(result, out=result)


def entropy(masses: np.ndarray) -> float:
    """Return the entropy in bits of a distribution; ``masses`` [N] need not sum to 1.

    >>> entropy(np.array([2.0, 1.0, 1.0, 0.0]))
    1.5
    """
    masses = masses[masses > 0]
    total = masses.sum()
    return float(np.log2(total) - (masses * np.log2(masses)).sum() / total) if len(masses) else 0.0


def gain_of_sums(
    sums: np.ndarray, entropies: np.ndarray | None, base: np.ndarray, slope: np.ndarray, doubt: np.ndarray | None = None
) -> np.ndarray:
    """Return gains in bits, [..., Q].

    Args:
        sums: [..., Q] sum of w * theta over objects, for weights w that sum to 1.
        entropies: [..., Q] sum of w * h(theta); None where every entry is certain.
        base: [..., 1] mean P(yes) of the channel at theta = 0.
        slope: [..., 1] mean slope of P(yes) in theta.
        doubt: [..., 1] mean slope in theta|2 theta - 1|; None for 0.
    """
    top = base + slope if doubt is None else base + slope + doubt
    p = base + (top - base) * sums
    if doubt is not None and entropies is not None:
        p -= doubt * np.float32(_DOUBT_PER_BIT) * entropies
    at_zero, at_one = binary_entropy(base), binary_entropy(top)
    result = binary_entropy(p)
    result -= at_zero
    result -= (at_one - at_zero) * sums
    if entropies is not None:
        result -= (binary_entropy((base + top) / 2) - (at_zero + at_one) / 2) * entropies
    return result


def information_gain(
    weights: np.ndarray, theta: np.ndarray, *, base: float = 0.0, slope: float = 1.0, entropy: np.ndarray | None = None
) -> np.ndarray:
    """Return the gain of every question in bits, [Q] or [G, Q].

    Args:
        weights: [N] or [G, N], each row summing to 1.
        theta: [N, Q] P(yes).
        base: P(yes) of the channel where theta is 0.
        slope: of P(yes) in theta; a flip rate f is base f and slope 1 - 2 f.
        entropy: [N, Q] h(theta), computed here if None.

    >>> information_gain(np.array([0.5, 0.5]), np.array([[0.0, 0.5], [1.0, 0.5]])).round(3).tolist()
    [1.0, 0.0]
    """
    entropy = binary_entropy(theta) if entropy is None else entropy
    kind = np.result_type(weights, theta)
    ends = np.asarray([base], dtype=kind), np.asarray([slope], dtype=kind)
    return gain_of_sums(weights @ theta, weights @ entropy, *ends)
