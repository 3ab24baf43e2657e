"""Objects: names, classes, priors."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.protocol import keywords_match


@pytest.fixture(scope="module")
def keywords() -> Objects:
    return Objects(
        [Thing(row.word, row.alts, row.category, 1 + index % 3) for index, row in enumerate(load_keywords())]
    )


def test_classes_are_exactly_what_the_matcher_joins(keywords):
    words, aliases, classes = keywords.words, keywords.aliases, keywords.match_class
    for a in range(0, len(keywords), 20):
        for b in range(len(keywords)):
            if keywords_match(words[a], words[b], aliases[b]):
                assert classes[a] == classes[b], (words[a], words[b])
    shared = [np.flatnonzero(classes == number) for number in np.flatnonzero(np.bincount(classes) > 1)]
    assert 3 <= len(shared) <= 10
    for members in shared:
        assert any(keywords_match(words[a], words[b], aliases[b]) for a in members for b in members if a != b)


def test_a_shared_other_name_alone_joins_nothing():
    """A guess of one word does not win for the other, so excluding both would lose the keyword."""
    objects = Objects([Thing("georgia country", ("georgia",)), Thing("georgia usa", ("georgia",))])
    assert objects.match_class.tolist() == [0, 1]
    assert objects.matching("Georgia") == [0, 1]


def test_guess_text_wins_for_most_of_the_class(keywords):
    for index in range(len(keywords)):
        text = keywords.guess_text(index)
        assert index in keywords.matching(text)
    pair = Objects([Thing("la county", ("la",), prior=1), Thing("Lathe", prior=5)])
    assert pair.guess_text(0) == "la"


def test_index_of_follows_the_matcher_and_prefers_the_probable():
    objects = Objects([Thing("Turkey", prior=1), Thing("turkey", category="place", prior=2), Thing("box", ("crate",))])
    assert objects.index_of("the turkeys") == 1
    assert objects.index_of("Boxes!") == objects.index_of("CRATE") == 2
    assert objects.index_of("bo") is None
    assert objects.index_of("") is None


def test_prior_sums_to_one_and_things_carry_it():
    objects = Objects([Thing("a", prior=3), Thing("b", prior=1)])
    assert objects.prior.tolist() == [0.75, 0.25] == [thing.prior for thing in objects]
    assert objects[-1].word == "b"
    assert [thing.word for thing in objects[0:2]] == ["a", "b"]
    with pytest.raises(ValueError):
        objects.prior[0] = 1


def test_subset_keeps_order_and_classes(keywords):
    chosen = [5, 900, 0, 17]
    part = keywords.subset(chosen)
    assert part.words == tuple(keywords.words[index] for index in chosen)
    assert part.prior.sum() == pytest.approx(1)
    np.testing.assert_allclose(part.prior, keywords.prior[chosen] / keywords.prior[chosen].sum())
    whole = keywords.match_class
    part = keywords.subset(np.flatnonzero(whole == np.bincount(whole).argmax()))
    assert len(set(part.match_class.tolist())) == 1


def test_all_problems_are_told_at_once():
    with pytest.raises(ValueError, match=r"1 words are empty.*at 1.*priors must be finite"):
        Objects([Thing("cat"), Thing(" ", prior=-1)])
    with pytest.raises(ValueError, match="no object"):
        Objects([])
    with pytest.raises(ValueError, match=r"2 words, 1 lists"):
        Objects.from_columns(["a", "b"], [()], ["things"], np.ones(2))
