"""Fused rankings follow the formula, and equal sums go by index whatever the order of the rankings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kaggle_utils.retrieval.fusion import FusedRetriever, reciprocal_rank_fusion
from kaggle_utils.retrieval.retriever import Hit, best_hits


def ranking(*indices: int) -> list[Hit]:
    return [Hit(index, float(-rank)) for rank, index in enumerate(indices)]


def test_scores_are_sums_of_reciprocal_ranks():
    fused = reciprocal_rank_fusion([ranking(4, 2), ranking(2, 9, 4)], k=5)
    assert [hit.index for hit in fused] == [2, 4, 9]
    assert [hit.score for hit in fused] == pytest.approx([1 / 62 + 1 / 61, 1 / 61 + 1 / 63, 1 / 62])


def test_ties_do_not_depend_on_the_order_of_the_rankings():
    rankings = [ranking(8, 3, 5), ranking(3, 5, 8), ranking(5, 8, 3)]  # each once at every rank
    for order in itertools.permutations(rankings):
        assert [hit.index for hit in reciprocal_rank_fusion(order, k=3)] == [3, 5, 8]


def test_weights_and_repeated_hits():
    assert [h.index for h in reciprocal_rank_fusion([ranking(1), ranking(2)], k=2, weights=[1, 3])] == [2, 1]
    assert [h.index for h in reciprocal_rank_fusion([ranking(1), ranking(2)], k=2, weights=[1, 0])] == [1]
    assert reciprocal_rank_fusion([ranking(1, 1, 1)], k=2)[0].score == pytest.approx(1 / 61)


def test_best_hits_against_a_plain_sort():
    scores = np.random.default_rng(0).integers(0, 5, size=200).astype(np.float32)
    expected = sorted(range(200), key=lambda i: (-scores[i], i))
    for k in (1, 3, 50, 200, 900):
        assert [hit.index for hit in best_hits(scores, k=k)] == expected[:k]


class Fixed:
    """Answers the same ranking for every query, and notes how many hits it was asked for."""

    def __init__(self, *indices: int) -> None:
        self.hits, self.asked = ranking(*indices), []

    def search(self, queries, *, k):
        self.asked.append(k)
        return [self.hits[:k] for _ in queries]


def test_the_fused_retriever_looks_deeper_than_it_answers():
    first, second = Fixed(1, 2, 3), Fixed(3, 2, 1)
    found = FusedRetriever([first, second], depth=3).search(["a", "b"], k=1)
    assert [[hit.index for hit in hits] for hits in found] == [[1], [1]]  # 1/61 + 1/63 twice: by index
    assert first.asked == second.asked == [3]


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match=r"(?s)hits is 0.*constant is 0.*1 weights for 2.*weights are \[-1\]"):
        reciprocal_rank_fusion([[], []], k=0, constant=0, weights=[-1])
    with pytest.raises(ValueError, match="no retrievers"):
        FusedRetriever([])
