"""The tables that the 20 Questions benchmark plays on, all cut out of the shipped one.

In the cells with flips the table is rounded to yes and no, so that flips are the only noise and the bound applies.
"""

from __future__ import annotations

import functools
import os

import numpy as np

from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.knowledge.bank import QuestionBank, lexical_questions
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.knowledge.table_file import load_table

__all__ = ["PATH_VARIABLE", "TABLES", "keyword_indices", "limits", "load", "rounded", "whole_table"]

PATH_VARIABLE = "Q20_BENCHMARK_TABLE"
"""Names another table than the shipped one; in the environment, so that the worker processes see it."""
TABLES = ("keywords", "semantic", "semantic_half", "nouns", "compact")
NOUNS = 2000
_POOLS = {
    "keywords": (0.0, 1500),
    "semantic": (0.0, 0),
    "semantic_half": (0.0, 0),
    "nouns": (0.0, 1500),
    "compact": (0.01, 600),
}
"""Least share of the objects that a semantic question must split off, and how many lexical ones there are."""


@functools.cache
def load(name: str) -> KnowledgeTable:
    """Cut one of ``TABLES`` out of the whole one.

    "keywords": all 1,128 with semantic and lexical questions; "semantic": without the latter; "semantic_half": with
    every second of those; "compact": with about 1,200 questions, for speed; "nouns": 2,000 others. Late in a game the
    best question is one that splits the few objects left in half, so a larger pool is a better one.
    """
    whole, (least, lexical) = whole_table(), _POOLS[name]
    chosen = _noun_indices(whole) if name == "nouns" else keyword_indices(whole)
    table = _useful(whole.subset(chosen), least=least)
    if name == "semantic_half":
        table = table.subset(np.arange(len(table.objects)), table.stored[::2])
    bank = QuestionBank([*table.bank, *(lexical_questions(table.objects, count=lexical) if lexical else ())])
    return rounded(KnowledgeTable(table.objects, bank, table.by_object, family_levels=table.family_levels))


def whole_table() -> KnowledgeTable:
    """The shipped table, or the one that was asked for."""
    return load_table(os.environ.get(PATH_VARIABLE))


def keyword_indices(whole: KnowledgeTable) -> np.ndarray:
    """The keywords of both versions of the environment, each once."""
    words = {word.lower(): index for index, word in enumerate(whole.objects.words)}
    found = {row.word.lower(): words.get(row.word.lower(), whole.objects.index_of(row.word)) for row in load_keywords()}
    missing = [word for word, index in found.items() if index is None]
    if missing:
        raise ValueError(f"{len(missing)} keywords are not in the table, such as {missing[:5]}")
    return np.array(sorted(set(found.values())))


def _noun_indices(whole: KnowledgeTable) -> np.ndarray:
    """The likeliest 2,000 things that are no keywords; places do not come from WordNet."""
    things = np.flatnonzero([category == "things" for category in whole.objects.categories])
    rest = np.setdiff1d(things, keyword_indices(whole))
    return np.sort(rest[np.argsort(-whole.objects.prior[rest], kind="stable")[:NOUNS]])


def _useful(table: KnowledgeTable, *, least: float) -> KnowledgeTable:
    """Without the lexical questions, which are chosen anew for these objects, and those that split too little."""
    share = (table.columns(table.stored) >= 0.5).mean(axis=0)
    return table.subset(np.arange(len(table.objects)), table.stored[np.minimum(share, 1 - share) > least])


def rounded(table: KnowledgeTable) -> KnowledgeTable:
    """The table with every probability at an end and every question equally clear, as they are to these answerers."""
    bank = table.bank
    clear = QuestionBank.from_columns(bank.texts, bank.families, np.ones(len(bank)), bank.lexical)
    return KnowledgeTable(table.objects, clear, encode((table.theta[:, table.stored] >= 0.5).astype(np.float32)))


def limits(table: KnowledgeTable) -> np.ndarray:
    """Weights of the classes that one guess tests together, for the bounds, each object being equally likely."""
    return np.bincount(table.objects.match_class).astype(np.float64)
