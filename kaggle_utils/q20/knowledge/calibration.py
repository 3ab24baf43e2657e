"""Make stated probabilities true: of the cells that say .8, eight in ten should be answered with yes.

Fitted on labelled pairs, one curve per family (write "source/family" to tell sources apart); a family with few pairs
uses the curve fitted on all of them. A curve is monotone, so it changes no code of a table, only its levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kaggle_utils.q20.knowledge.levels import LEVELS
from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["Calibration", "calibrate_table", "expected_calibration_error", "fit_calibration"]

_LIMIT = 1e-6  # probabilities are kept this far from 0 and 1 before their log-odds are taken
_LOWEST = 0.004
_RIDGE = 1.0  # pull towards "already calibrated", in units of labelled pairs
_FLATTEST, _STEEPEST = 0.01, 10.0


@dataclass(frozen=True)
class Calibration:
    """Curves ``sigmoid(slope · log-odds + shift)``, one for each family and one for all others.

    >>> Calibration("temperature", (0.5, 0.0)).apply([0.9], ["any"]).round(2).tolist()
    [0.75]
    """

    method: str
    pooled: tuple[float, float]
    """Slope and shift for families without a curve of their own."""
    by_family: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    pairs: Mapping[str, int] = field(default_factory=dict)
    """How many labelled pairs each family had, also those too few for a curve."""

    def curve(self, family: str) -> tuple[float, float]:
        """Return slope and shift for a family."""
        return self.by_family.get(family, self.pooled)

    def apply(self, theta: np.ndarray | Sequence[float], families: Sequence[str] | str) -> np.ndarray:
        """Return calibrated probabilities, float32 of the shape of ``theta``.

        ``families`` is one name for all, or one for each entry of the last axis: [k] for theta [k] or [N, k].
        """
        log_odds = _log_odds(theta)
        names = [families] if isinstance(families, str) else list(families)
        if not isinstance(families, str) and log_odds.shape[-1:] != (len(names),):
            raise ValueError(f"{len(names)} families for probabilities {log_odds.shape}: expected one per last entry")
        curves = np.array([self.curve(name) for name in names], dtype=np.float64).reshape(-1, 2)
        return _sigmoid(curves[:, 0] * log_odds + curves[:, 1]).astype(np.float32)

    def to_json(self) -> dict[str, object]:
        """Return plain lists and dicts for ``json``."""
        return {
            "method": self.method,
            "pooled": list(self.pooled),
            "by_family": {name: list(curve) for name, curve in self.by_family.items()},
            "pairs": dict(self.pairs),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Calibration:
        """Read what ``to_json`` wrote."""
        try:
            curves = {name: (float(a), float(b)) for name, (a, b) in value["by_family"].items()}
            pooled = (float(value["pooled"][0]), float(value["pooled"][1]))
            return cls(str(value["method"]), pooled, curves, {k: int(v) for k, v in value["pairs"].items()})
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"no calibration, as to_json writes it: {error!r}") from error


def fit_calibration(
    theta: np.ndarray | Sequence[float],
    labels: np.ndarray | Sequence[float],
    families: Sequence[str],
    *,
    method: Literal["temperature", "platt"] = "temperature",
    min_pairs: int = 50,
) -> Calibration:
    """Fit curves on labelled pairs by maximum likelihood with a weak pull towards the identity.

    Args:
        theta: stated probabilities of yes, [k].
        labels: what was true or answered, 0 to 1, [k]; shares such as .8 are welcome.
        families: family of each pair, [k].
        method: "temperature" fits the slope, "platt" slope and shift.
        min_pairs: a family with fewer uses the pooled curve.

    Raises:
        ValueError: no pairs, unequal lengths, labels outside 0 to 1, or an unknown method.
    """
    theta, labels, families = np.asarray(theta, dtype=np.float64), np.asarray(labels, dtype=np.float64), list(families)
    problems = []
    if theta.ndim != 1 or not len(theta) == len(labels) == len(families) > 0:
        problems.append(f"theta {theta.shape}, labels {labels.shape}, {len(families)} families: expected equal lengths")
    for name, values in (("theta", theta), ("labels", labels)):
        if values.size and not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            problems.append(f"{name} goes from {np.min(values)} to {np.max(values)}, expected 0 to 1")
    if method not in ("temperature", "platt"):
        problems.append(f"method {method!r} is neither 'temperature' nor 'platt'")
    if problems:
        raise ValueError("cannot calibrate: " + "; ".join(problems))
    log_odds, shifted = _log_odds(theta), method == "platt"
    pooled = _fit(log_odds, labels, shifted=shifted)
    curves, pairs, family_of = {}, {}, np.array(families)
    for name in sorted(set(families)):
        mine = family_of == name
        pairs[name] = int(mine.sum())
        if pairs[name] >= min_pairs:
            curves[name] = _fit(log_odds[mine], labels[mine], shifted=shifted)
    return Calibration(method, pooled, curves, pairs)


def calibrate_table(table: KnowledgeTable, calibration: Calibration) -> KnowledgeTable:
    """Return the table with calibrated levels for every family; its codes are shared, not copied.

    The default levels are the starting point, so calibrating a table twice does not apply two curves.
    """
    names = {family for family, lexical in zip(table.bank.families, table.bank.lexical, strict=True) if not lexical}
    curves = {name: np.clip(calibration.apply(LEVELS, name), _LOWEST, 1 - _LOWEST) for name in sorted(names)}
    return table.with_levels(curves)


def expected_calibration_error(theta: np.ndarray, labels: np.ndarray, *, bins: int = 10) -> float:
    """Return the mean gap between stated and observed share of yes over bins of equal width, weighted by their size.

    >>> expected_calibration_error(np.array([0.8, 0.8, 0.8, 0.8]), np.array([1, 1, 1, 0])).__round__(2)
    0.05
    """
    theta, labels = np.asarray(theta, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    number = np.minimum((theta * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(number, weights=theta - labels, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(theta), 1))


def _fit(log_odds: np.ndarray, labels: np.ndarray, *, shifted: bool) -> tuple[float, float]:
    """Newton's method for (slope, shift); the loss is convex, and steps are halved until it falls."""
    design = np.stack([log_odds, np.ones_like(log_odds) if shifted else np.zeros_like(log_odds)], axis=1)
    start = point = np.array([1.0, 0.0])

    def loss(at: np.ndarray) -> float:
        scores = design @ at
        return float((np.logaddexp(0, scores) - labels * scores).sum() + _RIDGE * ((at - start) ** 2).sum() / 2)

    for _ in range(50):
        probability = _sigmoid(design @ point)
        gradient = design.T @ (probability - labels) + _RIDGE * (point - start)
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(point - step) > loss(point) and np.abs(step).max() > 1e-9:
            step = step / 2
        point = point - step
        if np.abs(step).max() < 1e-8:
            break
    return float(np.clip(point[0], _FLATTEST, _STEEPEST)), float(point[1])  # a slope below 0 would turn answers round


def _log_odds(theta: np.ndarray | Sequence[float]) -> np.ndarray:
    inside = np.clip(np.asarray(theta, dtype=np.float64), _LIMIT, 1 - _LIMIT)
    return np.log(inside / (1 - inside))


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(scores, -50, 50)))
