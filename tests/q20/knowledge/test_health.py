"""Pool health equals the plain definition."""

from __future__ import annotations

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank
from kaggle_utils.q20.knowledge.health import nearest_objects, pool_health
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.table import KnowledgeTable


def distances(theta: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The definition, pair by pair."""
    apart = np.stack([(np.abs(theta - row) > 0.5).sum(axis=1) for row in theta]).astype(float)
    apart[classes[:, None] == classes[None, :]] = np.inf
    return apart


@pytest.mark.parametrize("lexical", [True, False])
@pytest.mark.parametrize("questions", [12, 90])
def test_nearest_is_the_nearest_of_all(questions, lexical):
    table = synthetic_table(700, questions, seed=4, rank=5)
    theta = table.theta if lexical else table.theta[:, table.stored]
    truth = distances(theta, table.objects.match_class)
    count, partner = nearest_objects(table, lexical=lexical)
    np.testing.assert_array_equal(count, truth.min(axis=1))
    np.testing.assert_array_equal(truth[np.arange(700), partner], count)
    health = pool_health(table, lexical=lexical)
    assert health.median_nearest == np.median(truth.min(axis=1))
    assert health.share_at_most_2 == pytest.approx((truth.min(axis=1) <= 2).mean())
    assert health.minimum == truth.min() == health.worst_pairs[0][2]
    assert health.questions == theta.shape[1]
    semantic = table.theta[:, table.stored]
    assert health.mean_ambiguity == pytest.approx(np.minimum(semantic, 1 - semantic).mean(), abs=1e-5)


def test_unsure_cells_count_only_where_they_differ_by_more_than_a_half():
    bank = QuestionBank([BankQuestion(f"Is it {letter}?", "f") for letter in "abc"])
    theta = np.array([[0.1, 0.3, 0.5], [0.7, 0.7, 0.9], [0.1, 0.9, 0.05]])
    table = KnowledgeTable(Objects([Thing("cat"), Thing("dog"), Thing("emu")]), bank, encode(theta))
    assert nearest_objects(table)[0].tolist() == [1, 1, 1]
    assert pool_health(table, worst=2).worst_pairs == (("cat", "dog", 1), ("cat", "emu", 1))


def test_words_that_the_matcher_joins_are_no_pair():
    bank = QuestionBank([BankQuestion("Is it a?", "f")])
    table = KnowledgeTable(
        Objects([Thing("cat"), Thing("cats"), Thing("dog")]), bank, encode(np.array([[0.9], [0.9], [0.1]]))
    )
    health = pool_health(table)
    assert health.minimum == 1
    assert health.share_at_most_2 == 1.0
    alone = pool_health(table.subset([0, 1]))
    assert alone.worst_pairs == ()
    assert "median" in alone.to_text()
