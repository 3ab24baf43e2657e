"""Tables of answer pairs and a tokenizer that needs no vocabulary, for tests of scoring."""

from __future__ import annotations

import numpy as np

from kaggle_utils.data.pairs import read_pairs
from kaggle_utils.data.tokenization import TokenRows

__all__ = ["ByteTokenizer", "make_table"]


class ByteTokenizer:
    """Text as bytes, answers behind a 1."""

    def encode(self, pairs, *, swapped=False):
        rows = []
        for pair in pairs:
            pair = pair.swapped() if swapped else pair
            parts = [list(" ".join(turns).encode()) for turns in (pair.prompt, pair.response_a, pair.response_b)]
            rows.append([*parts[0], 1, *parts[1], 1, *parts[2]])
        return TokenRows.of(rows)


def make_table(count=40, **changes):
    rng = np.random.default_rng(0)
    cells = {
        "id": [f"row{i}" for i in range(count)],
        "prompt": [f'["question {i}"]' for i in range(count)],
        "response_a": [f'["{"a" * n}"]' for n in rng.integers(1, 30, count)],
        "response_b": [f'["{"b" * n}"]' for n in rng.integers(1, 30, count)],
    }
    for name, at in changes.items():
        for row, cell in at.items():
            cells[name][row] = cell
    return read_pairs(cells, unreadable="report", text="json")
