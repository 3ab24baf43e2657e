"""Fit the curves that make the table's probabilities true, and say what they are worth on cells held back.

Usage:  python scripts/table_calibration.py [--table FILE] [--labels FILE ...]

Reads ``table_data/labelled_cells.csv`` (cells that a person judged, drawn from all levels of probability) and
writes ``table_data/calibration.json``, which ``compile_table.py`` applies. Only slopes are fitted: no answer changes
its side, a stated probability just comes nearer to or farther from a half. Further files of labelled pairs (columns
word, question, answer; in anybody's wording) may be given, which need not ship: the curves do.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from refine_table import LABELS, labelled_cells

from kaggle_utils.q20.answerer.lookup import TableLookup
from kaggle_utils.q20.knowledge.calibration import Calibration, expected_calibration_error, fit_calibration
from kaggle_utils.q20.knowledge.levels import LEVELS

__all__ = ["CURVES", "LEAST", "cross_validated", "fitted", "load_curves", "main", "stated"]

CURVES = Path(__file__).resolve().parent / "table_data" / "calibration.json"
LEAST = 30
"""Labelled cells that a family needs for a curve of its own."""
_FOLDS = 5


def load_curves() -> Calibration | None:
    """The curves that were fitted, None before the first fit."""
    return Calibration.from_json(json.loads(CURVES.read_text(encoding="utf-8"))) if CURVES.is_file() else None


def stated(table, labels) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Uncalibrated P(yes) float64 [k], answers float64 [k], families and words of the labelled cells in the table."""
    theta, answers, families, words, lookup = [], [], [], [], TableLookup(table)
    for word, question, answer in labels:
        thing, (number, share) = table.objects.index_of(word), lookup.question_of(question) or (0, 0.0)
        if thing is not None and share == 1 and not table.bank.lexical[number]:
            theta.append(float(LEVELS[table.by_object[thing, table.place[number]]]))
            answers.append(float(answer))
            families.append(table.bank.families[number])
            words.append(table.objects.words[thing])
    return np.array(theta), np.array(answers), families, words


def fitted(theta: np.ndarray, answers: np.ndarray, families: list[str]) -> Calibration:
    """A curve for each family with ``LEAST`` cells; the others stay as stated, since nothing speaks against them."""
    curves = fit_calibration(theta, answers, families, min_pairs=LEAST)
    return Calibration(curves.method, (1.0, 0.0), curves.by_family, curves.pairs)


def cross_validated(theta: np.ndarray, answers: np.ndarray, families: list[str], words: list[str]) -> dict[str, float]:
    """Log loss and calibration error before, and after with curves fitted on the cells of other words (five folds)."""
    order = np.random.default_rng(0).permutation(sorted(set(words)))
    fold = {word: index % _FOLDS for index, word in enumerate(order.tolist())}
    folds, names = np.array([fold[word] for word in words]), np.array(families)
    tuned = np.empty_like(theta)
    for part in range(_FOLDS):
        rest, own = folds != part, folds == part
        curve = fitted(theta[rest], answers[rest], names[rest].tolist())
        tuned[own] = curve.apply(theta[own], names[own].tolist())
    found = {"cells": float(len(theta)), "accuracy": float(((theta >= 0.5) == (answers == 1)).mean())}
    for name, p in (("stated", theta), ("calibrated", tuned)):
        found[f"{name}_log_loss"] = float(-np.log(np.where(answers == 1, p, 1 - p)).mean())
        found[f"{name}_error"] = expected_calibration_error(p, answers)
    return found


def main() -> None:
    """Fit, compare, save."""
    from kaggle_utils.q20.knowledge.table_file import load_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="table (default: the shipped one)")
    parser.add_argument("--labels", type=Path, nargs="+", default=[LABELS])
    options = parser.parse_args()
    theta, answers, families, words = stated(
        load_table(options.table), [label for path in options.labels for label in labelled_cells(path)]
    )
    found = cross_validated(theta, answers, families, words)
    curves = fitted(theta, answers, families)
    text = json.dumps({**curves.to_json(), "cross_validated": found}, indent=1)
    CURVES.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
