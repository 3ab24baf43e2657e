"""The table: both access orders agree, lexical answers are exact, what is derived stays consistent."""

from __future__ import annotations

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank
from kaggle_utils.q20.knowledge.levels import LEVELS, encode
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.questions import parse_question


@pytest.fixture(scope="module")
def table() -> KnowledgeTable:
    return synthetic_table(60, 40)


def interleaved() -> KnowledgeTable:
    """Lexical questions between semantic ones, and two families with levels of their own."""
    random = np.random.default_rng(3)
    bank = QuestionBank(
        [
            BankQuestion("Is it a?", "x"),
            BankQuestion("Does the keyword contain the letter 'e'?", "letters", lexical=True),
            BankQuestion("Is it b?", "y"),
            BankQuestion("Is it c?", "x"),
            BankQuestion("Does the keyword start with the letter 'c'?", "letters", lexical=True),
        ]
    )
    objects = Objects([Thing(word) for word in ("cat", "emu", "dog", "cow", "bee")])
    codes = random.integers(0, 256, (5, 3), dtype=np.uint8)
    return KnowledgeTable(objects, bank, codes, family_levels={"y": np.linspace(0.3, 0.7, 256)})


def test_levels_rise_and_are_never_certain():
    assert LEVELS.dtype == np.float32
    assert LEVELS[[0, 128, 255]].tolist() == pytest.approx([0.004, 0.5, 0.996], abs=1e-6)
    assert (np.diff(LEVELS) > 0).all()
    assert encode(LEVELS).tolist() == list(range(256))
    with pytest.raises(ValueError, match="0 to 1"):
        encode(np.array([0.5, 1.5]))
    with pytest.raises(ValueError, match="0 to 1"):
        encode(np.array([np.nan]))


@pytest.mark.parametrize("make", [lambda: synthetic_table(60, 40), interleaved])
def test_columns_rows_and_theta_agree(make):
    table = make()
    theta = table.theta
    assert theta.dtype == np.float32
    assert theta.shape == table.shape
    assert table.size == theta.size
    order = np.random.default_rng(0).permutation(len(table.bank))[:5]
    np.testing.assert_array_equal(table.columns(order), theta[:, order])
    np.testing.assert_array_equal(table.rows([3, 0, 3]), theta[[3, 0, 3]])
    np.testing.assert_array_equal(table.by_object, table.by_question.T)


def test_lexical_answers_are_the_rules_and_semantic_ones_the_levels():
    table = interleaved()
    for index in np.flatnonzero(table.bank.lexical):
        rule = parse_question(table.bank.texts[index])
        assert table.theta[:, index].tolist() == [float(rule.holds(word)) for word in table.objects.words]
    np.testing.assert_array_equal(table.theta[:, 0], LEVELS[table.by_object[:, 0]])
    np.testing.assert_allclose(table.theta[:, 2], np.linspace(0.3, 0.7, 256)[table.by_object[:, 1]], rtol=1e-6)


def test_by_question_alone_is_enough(table):
    other = KnowledgeTable(table.objects, table.bank, None, by_question=table.by_question)
    np.testing.assert_array_equal(other.theta, table.theta)


def test_unknown_is_the_drawn_in_mean(table):
    mean = table.objects.prior @ table.theta.astype(np.float64)
    np.testing.assert_allclose(table.unknown, 0.5 + 0.9 * (mean - 0.5), atol=1e-5)


@pytest.mark.parametrize("questions", [None, [4, 0, 2], [1, 4], [0]])
def test_subset_is_the_part_of_theta(questions):
    table = interleaved()
    part = table.subset([4, 1], questions)
    theta = table.theta[[4, 1]] if questions is None else table.theta[np.ix_([4, 1], questions)]
    np.testing.assert_array_equal(part.theta, theta)
    np.testing.assert_array_equal(part.unknown, table.unknown if questions is None else table.unknown[questions])


@pytest.mark.parametrize("warm", [False, True])
def test_words_join_with_their_rows_and_prior(warm):
    table = interleaved()
    if warm:
        table.lexical  # what was computed before must grow too
    theta = np.array([[0.9, 0.0, 0.6, 0.1, 0.0], [0.2, 0.5, 0.4, 0.5, 0.5]])
    things = [Thing("chicken", prior=0.25), Thing("ant", ("ants",), prior=0.0)]
    grown = table.with_objects(things, theta)
    assert grown.objects.words[-2:] == ("chicken", "ant")
    assert grown.objects.prior[5:].tolist() == pytest.approx([0.2, 0.0])
    np.testing.assert_array_equal(grown.theta[:5], table.theta)
    np.testing.assert_allclose(grown.theta[5:, [0, 2, 3]], theta[:, [0, 2, 3]], atol=0.011)
    assert grown.theta[5:, [1, 4]].tolist() == [[1.0, 1.0], [0.0, 0.0]], "the spelling decides, not what was given"
    again = table.with_objects(things, grown.by_object[5:])
    np.testing.assert_array_equal(again.theta, grown.theta)
    np.testing.assert_array_equal(table.with_objects(things, theta[:, [0, 2, 3]]).theta, grown.theta)
    with pytest.raises(ValueError, match="2 new objects"):
        table.with_objects(things, theta[:1])


def test_wrong_input_is_told(table):
    with pytest.raises(ValueError, match=r"codes is uint8 \(60, 39\), expected uint8 \(60, 40\)"):
        KnowledgeTable(table.objects, table.bank, table.by_object[:, 1:])
    with pytest.raises(ValueError, match="neither codes nor by_question"):
        KnowledgeTable(table.objects, table.bank, None)
    with pytest.raises(ValueError, match="256 rising probabilities"):
        KnowledgeTable(table.objects, table.bank, table.by_object, levels=np.linspace(0, 1, 256))
    with pytest.raises(IndexError, match="object indices go from 3 to 60"):
        table.rows([3, 60])
    with pytest.raises(IndexError, match="from -1"):
        table.columns([-1])
    with pytest.raises(TypeError, match="flatnonzero"):
        table.columns(table.bank.lexical)


def test_a_thousand_lexical_questions_take_a_moment():
    """The first question of a packed agent waits for this."""
    import time

    from kaggle_utils.q20.knowledge.bank import lexical_questions

    table = synthetic_table(2000, 1, lexical=False)
    bank = QuestionBank([*table.bank, *lexical_questions(Objects(table.objects[:200]), count=300)])
    start = time.process_time()
    KnowledgeTable(table.objects, bank, table.by_object).lexical
    assert time.process_time() - start < 0.5  # 0.03 s; the rules themselves would take 1.5 s


def test_synthetic_table_is_balanced_and_soft():
    theta = synthetic_table(300, 50, lexical=False).theta
    assert abs((theta > 0.5).mean() - 0.5) < 0.02
    assert 0.05 < np.minimum(theta, 1 - theta).mean() < 0.3
    assert synthetic_table(1300, 2, lexical=False).shape == (1300, 2), "more objects than keywords"
