"""How healthy the shipped table is: how many questions tell objects apart, and how many cells a person found wrong."""

from __future__ import annotations

import csv

import _q20_tables
from _report import ROOT

from kaggle_utils.q20.knowledge.health import pool_health
from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["judged", "pools"]

_JUDGED = ROOT / "benchmarks" / "data" / "judged_cells.csv"

Found = tuple[dict[str, float], list[str]]


def pools(*, everything: bool) -> Found:
    """Distances in questions from each object to its nearest neighbour: all questions, and those about meaning alone.

    For the keywords, and with ``everything`` for all objects, which takes minutes.
    """
    whole = _q20_tables.whole_table()
    tables: dict[str, KnowledgeTable] = {"keywords": whole.subset(_q20_tables.keyword_indices(whole))}
    if everything:
        tables["all"] = whole
    figures: dict[str, float] = {}
    lines = []
    for name, table in tables.items():
        for kind, lexical in (("", True), ("_semantic", False)):
            found = pool_health(table, lexical=lexical, worst=5)
            figures |= {
                f"pool_median_nearest_{name}{kind}": found.median_nearest,
                f"pool_share_at_most_2_{name}{kind}": found.share_at_most_2,
                f"pool_minimum_{name}{kind}": found.minimum,
                f"pool_ambiguity_{name}": found.mean_ambiguity,
            }
            lines += [f"{name}{kind}: {line}" for line in found.to_text().splitlines()]
    figures["pool_objects"], figures["pool_questions"] = len(whole.objects), len(whole.bank)
    figures["pool_questions_semantic"] = len(whole.stored)
    return figures, lines


def judged() -> Found:
    """Share of the cells drawn at random whose answer, as the table has it now, a person called wrong."""
    table = _q20_tables.whole_table()
    with _JUDGED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong: dict[str, list[bool]] = {}
    gone = []
    for row in rows:
        index, question = table.objects.index_of(row["word"]), table.bank.index_of(row["question"])
        if index is None or question is None:
            gone.append(f"{row['word']}: {row['question']}")
            continue
        yes = bool(table.columns([question])[index, 0] > 0.5)
        wrong.setdefault(row["list"], []).append(yes != (row["judged"] == "yes"))
    every = [one for part in wrong.values() for one in part]
    figures = {"judged_cells": len(every), "judged_error": sum(every) / len(every), "judged_gone": len(gone)}
    figures |= {f"judged_error_{name}": sum(part) / len(part) for name, part in wrong.items()}
    lines = [f"{name}: {sum(part)} of {len(part)} cells wrong" for name, part in wrong.items()]
    return figures, [*lines, *(f"no longer in the table: {cell}" for cell in gone)]
