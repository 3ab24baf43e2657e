"""Knowledge tables for tests: real keywords, made-up knowledge."""

from __future__ import annotations

import numpy as np

from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank, lexical_questions
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.vocabulary import load_vocabulary

LEXICAL = 60
"""Lexical questions that ``synthetic_table`` adds to the semantic ones, at most."""


def synthetic_things(count: int, *, seed: int = 0) -> list[Thing]:
    """``count`` different real keywords in random order; then the vocabulary's most probable words."""
    keywords = {row.word.lower(): Thing(row.word, row.alts, row.category) for row in load_keywords()}
    order = np.random.default_rng(seed).permutation(len(keywords))
    things = [list(keywords.values())[index] for index in order][:count]
    if len(things) < count:
        vocabulary = load_vocabulary()
        for index in np.argsort(-vocabulary.probabilities, kind="stable").tolist():
            word = vocabulary.words[index]
            if word not in keywords:
                things.append(Thing(word))
            if len(things) == count:
                break
    return things


def synthetic_table(
    objects: int = 300, questions: int = 200, *, seed: int = 0, lexical: bool = True, rank: int = 24
) -> KnowledgeTable:
    """A soft table of low rank: ``questions`` balanced semantic ones, and ``LEXICAL`` on the spelling behind them."""
    random = np.random.default_rng(seed)
    things = Objects(synthetic_things(objects, seed=seed))
    scores = random.normal(size=(objects, rank)) @ random.normal(size=(rank, questions)) / np.sqrt(rank)
    scores = 4.0 * (scores - np.median(scores, axis=0))
    asked = [BankQuestion(f"Is it something of kind {index}?", f"made up {index % 3}") for index in range(questions)]
    if lexical:
        asked += lexical_questions(things, count=LEXICAL)
    return KnowledgeTable(things, QuestionBank(asked), encode(1 / (1 + np.exp(-scores))))
