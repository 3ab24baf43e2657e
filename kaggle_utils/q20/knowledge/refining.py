"""What language models said about a table's cells, added to what the table says.

It promises that cells that nobody was asked about stay as they are. Who is asked, and about what, is ``compiler``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_utils.q20.knowledge.cell_journal import CellJournal
from kaggle_utils.q20.knowledge.compiler import CellSource
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["refined_table"]

_BLOCK = 512  # objects whose values are in memory at a time


def refined_table(
    table: KnowledgeTable, sources: Sequence[CellSource], journal: CellJournal, *, table_weight: float = 1.0
) -> KnowledgeTable:
    """Return ``table`` with what the sources said added to it.

    The log-odds of a cell become ``table_weight`` times the table's plus the weighted mean of the sources that were
    asked about it; cells that nobody was asked about stay as they are. Objects are read in blocks, so memory beyond the
    codes is small.

    Raises:
        ValueError: no sources, two of one name, or weights that are not positive.
    """
    keys = [source.key for source in sources]
    if not sources or len(set(keys)) < len(keys) or not all(source.weight > 0 for source in sources):
        raise ValueError(f"expected sources of different names with weights above 0, got {keys or 'none'}")
    texts = [table.bank.texts[number] for number in table.stored.tolist()]
    families = [table.bank.families[number] for number in table.stored.tolist()]
    codes = np.array(table.by_object, copy=True)
    for start in range(0, len(codes), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(codes)))
        words = [table.objects.words[row] for row in rows.tolist()]
        total, weight = np.zeros((len(rows), len(texts))), np.zeros((len(rows), len(texts)))
        for source in sources:
            p = journal.read(source.key, words, texts)
            there = ~np.isnan(p)
            total[there] += source.weight * _log_odds(_calibrated(source, p, there, families))
            weight[there] += source.weight
        said = weight > 0
        mean = total[said] / weight[said] + table_weight * _log_odds(table.rows(rows)[:, table.stored][said])
        _write(codes, rows, said, 1 / (1 + np.exp(-mean)), table, families)
    return KnowledgeTable(table.objects, table.bank, codes, levels=table.levels, family_levels=table.family_levels)


def _calibrated(source: CellSource, p: np.ndarray, there: np.ndarray, families: Sequence[str]) -> np.ndarray:
    values = p[there].astype(np.float64)
    if source.calibrate is None:
        return values
    return np.asarray(source.calibrate(values, [families[place] for place in np.nonzero(there)[1].tolist()]))


def _write(
    codes: np.ndarray, rows: np.ndarray, said: np.ndarray, theta: np.ndarray, table: KnowledgeTable,
    families: Sequence[str],
) -> None:  # fmt: skip
    """Write probabilities into codes, each on the scale of its question's family."""
    which, places = np.nonzero(said)
    names = np.array(families, dtype=object)[places]
    done = np.zeros(len(places), dtype=bool)
    for name, levels in table.family_levels.items():
        own = names == name
        codes[rows[which[own]], places[own]] = encode(theta[own], levels)
        done |= own
    codes[rows[which[~done]], places[~done]] = encode(theta[~done], table.levels)


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped))
