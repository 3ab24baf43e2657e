"""The posterior over objects and answerers, and the words outside the table."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.questioner.lexicon import Lexicon, OutsideWords
from kaggle_utils.q20.questioner.pool import weighted_sample
from kaggle_utils.q20.questioner.posterior import Posterior
from kaggle_utils.q20.questioner.profiles import PROFILES, AnswererProfile, Channel
from kaggle_utils.q20.questioner.thresholds import best_threshold
from kaggle_utils.q20.questions import alphabetical_question, parse_question
from kaggle_utils.q20.vocabulary import Vocabulary

GRID = (AnswererProfile(0.05), AnswererProfile(0.3))


def test_posterior_is_bayes_rule_over_objects_and_profiles():
    theta, prior = np.array([0.9, 0.2, 0.5]), np.array([0.5, 0.3, 0.2])
    posterior = Posterior(prior, GRID, out_of_vocabulary=0.25)
    for answer in (True, True, False):
        posterior.update(theta, 0.4, lexical=False, answer=answer)
    column = np.append(theta, 0.4)
    p = Channel(GRID).p_yes(column)
    expected = 0.5 * np.append(0.75 * prior, 0.25) * p**2 * (1 - p)
    assert posterior.weights == pytest.approx(expected / expected.sum())
    assert posterior.objects.sum() + posterior.out_of_vocabulary == pytest.approx(1)


def test_profiles_are_learned_from_answers_that_disagree():
    theta = np.eye(2)[0]
    steady, erratic = (
        Posterior(np.ones(2), GRID, out_of_vocabulary=0.0),
        Posterior(np.ones(2), GRID, out_of_vocabulary=0.0),
    )
    for number in range(10):
        steady.update(theta, 0.5, lexical=False, answer=True)
        erratic.update(theta, 0.5, lexical=False, answer=number % 3 > 0)
    assert steady.profiles[0] > 0.8
    assert erratic.profiles[1] > 0.9


def test_nothing_is_deleted_but_what_is_excluded():
    posterior = Posterior(np.ones(3), PROFILES)
    for _ in range(200):
        posterior.update(np.array([1.0, 0.0, 0.0]), 0.5, lexical=False, answer=True)
    posterior.exclude(np.array([0]))
    assert posterior.objects[0] == 0
    assert posterior.objects[1:].min() > 0 or posterior.out_of_vocabulary > 0.99
    assert np.isfinite(posterior.weights).all()


def test_no_answer_changes_nothing_and_a_wrong_prior_is_refused():
    posterior = Posterior(np.ones(3), GRID)
    before = posterior.weights.copy()
    posterior.update(np.ones(3), 0.5, lexical=True, answer=None)
    posterior.confirm(None)
    assert (posterior.weights == before).all()
    for wrong in (np.zeros(3), -np.ones(3), np.ones((3, 3))):
        with pytest.raises(ValueError, match="prior"):
            Posterior(wrong, GRID)


WORDS = Vocabulary.from_weights({"ant": 1, "bee": 2, "cat": 1, "dog": 3, "eel": 1})
LEXICON = Lexicon(Objects([Thing("Cat"), Thing("cow")]), WORDS)


def test_lexicon_merges_words_and_keeps_the_weights_apart():
    assert LEXICON.words == ("ant", "bee", "cat", "cow", "dog", "eel")
    assert LEXICON.at.tolist() == [2, 3]
    assert LEXICON.outside == pytest.approx(np.array([1, 2, 0, 0, 3, 1]) / 7)
    assert LEXICON.share == pytest.approx(7 / 8, abs=1e-4)
    assert LEXICON.matching("Dogs") == [4]


@pytest.mark.parametrize("text", [alphabetical_question("cow"), "Does the keyword contain the letter 'e'?"])
def test_lexicon_answers_like_the_rule(text):
    rule = parse_question(text)
    assert LEXICON.truth(rule).tolist() == [rule.holds(word) for word in LEXICON.words]


def test_outside_words_follow_bayes_rule_for_each_profile():
    channel = Channel((AnswererProfile(0.1), AnswererProfile(0.1, lexical=0.0)))
    outside = OutsideWords(LEXICON, channel)
    likelihood = np.ones((2, 6))
    for text, answer in ((alphabetical_question("dog"), True), ("Does the keyword contain the letter 'e'?", False)):
        truth = LEXICON.truth(parse_question(text))
        outside.update(truth, answer)
        p = channel.p_yes(truth.astype(float), lexical=True)
        likelihood *= p if answer else 1 - p
    expected = LEXICON.outside * likelihood
    expected /= expected.sum(axis=1, keepdims=True)
    for k in range(2):
        assert outside.weights(np.eye(2)[k]) == pytest.approx(expected[k])
    left = outside.exclude([0])
    assert left == pytest.approx(1 - expected[:, 0])
    assert outside.weights(np.ones(2))[0] == 0


def test_thresholds_halve_what_the_next_guess_leaves():
    assert best_threshold(np.array([0.9, 0.025, 0.025, 0.025, 0.025]), base=0.0, slope=1.0)[0] in (2, 3)
    assert best_threshold(np.array([0.7, 0.3]), base=0.0, slope=1.0)[0] == 1
    assert best_threshold(np.array([1.0, 0.0]), base=0.0, slope=1.0) is None
    noisy = best_threshold(np.full(100, 0.01), base=0.1, slope=0.8)
    assert 45 <= noisy[0] <= 55
    assert best_threshold(np.full(100, 0.01), base=0.1, slope=0.8, closed={noisy[0]})[0] != noisy[0]


def test_weighted_samples_are_unbiased():
    random = np.random.default_rng(5)
    weights, values = random.dirichlet(np.full(2000, 0.3)), random.random(2000)
    sums = []
    for seed in range(200):
        chosen, shares = weighted_sample(weights, 100, np.random.default_rng(seed))
        assert len(chosen) <= 100
        sums.append(shares @ values[chosen])
    assert np.mean(sums) == pytest.approx(weights @ values, abs=0.01)
