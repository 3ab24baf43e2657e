"""The plain baseline for pairs: lengths and word overlaps into a logistic regression, in both orders of A and B."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import torch

from kaggle_utils.data.pairs import Pair
from kaggle_utils.data.probabilities import softmax
from kaggle_utils.inference.tta import merge_orders

_WORD = re.compile(r"\w+")
_SWAPPED_CLASS = np.array([1, 0, 2])
_RIDGE = 10.0


def hand_features(pair: Pair) -> list[float]:
    """What A has more of, how much that is, and what both have together; then prompt length and likeness of A and B."""
    asked = set(_words(pair.prompt))
    first, second = _words(pair.response_a), _words(pair.response_b)
    a, b = _measured(pair.response_a, first, asked), _measured(pair.response_b, second, asked)
    likeness = len(set(first) & set(second)) / (len(set(first) | set(second)) + 1)
    differences = [x - y for x, y in zip(a, b, strict=True)]
    sums = [x + y for x, y in zip(a, b, strict=True)]
    return [*differences, *map(abs, differences), *sums, math.log1p(sum(map(len, pair.prompt))), likeness]


def _words(turns: Sequence[str]) -> list[str]:
    return _WORD.findall("\n".join(turns).lower())


def _measured(turns: Sequence[str], words: list[str], asked: set[str]) -> list[float]:
    text, distinct = "\n".join(turns), set(words)
    return [
        math.log1p(len(text)),
        math.log1p(len(words)),
        math.log1p(text.count("\n")),
        len(distinct) / (len(words) + 1),
        len(distinct & asked) / (len(asked) + 1),
        len(distinct & asked) / (len(distinct) + 1),
    ]


class HandModel:
    """Multinomial logistic regression on :func:`hand_features` of labelled pairs, fitted to the optimum."""

    def __init__(self, pairs: Sequence[Pair], labels: np.ndarray) -> None:
        values = np.array([hand_features(p) for p in pairs] + [hand_features(p.swapped()) for p in pairs])
        self._mean, self._spread = values.mean(axis=0), values.std(axis=0) + 1e-6
        self._weights = _fit(self._inputs(values), np.concatenate([labels, _SWAPPED_CLASS[labels]]))

    def predict(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Probabilities of both orders, averaged: float64 [N, 3]."""
        orders = (pairs, [pair.swapped() for pair in pairs])
        found = [softmax(self._inputs(np.array([hand_features(p) for p in own])) @ self._weights) for own in orders]
        return merge_orders(*found)

    def _inputs(self, values: np.ndarray) -> np.ndarray:
        return np.column_stack([(values - self._mean) / self._spread, np.ones(len(values))])


def _fit(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    values, wanted = torch.from_numpy(inputs), torch.from_numpy(labels)
    weights = torch.zeros(values.shape[1], 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        fit = torch.nn.functional.cross_entropy(values @ weights, wanted, reduction="sum")
        total = (fit + 0.5 * _RIDGE * weights[:-1].square().sum()) / len(values)
        total.backward()
        return total

    optimizer.step(loss)
    return weights.detach().numpy()
