"""The file of paraphrases: every line can be found, none means two things."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaggle_utils.q20 import answerer
from kaggle_utils.q20.answerer.lookup import TableLookup
from kaggle_utils.q20.answerer.paraphrases import load_paraphrases, paraphrase
from kaggle_utils.q20.answerer.wording import wording_key

LINES = [
    line
    for line in (Path(answerer.__file__).parents[1] / "data" / "paraphrases.txt").read_text("utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]


def pairs():
    """(what is asked, what is meant), for every line."""
    meant = ""
    for line in LINES:
        if line.startswith(" "):
            yield line.strip(), meant
        else:
            meant = line


def test_every_paraphrase_leads_to_its_question():
    wrong = [asked for asked, meant in pairs()
             if wording_key(asked) != wording_key(meant) != paraphrase(wording_key(asked))]  # fmt: skip
    assert wrong == [], "a wording that stands in the file twice, for two questions"
    assert len(load_paraphrases()) > 200


def test_no_question_is_a_paraphrase_of_another():
    meant = {wording_key(text) for _, text in pairs()}
    assert [key for key in load_paraphrases() if key in meant] == []


def test_a_paraphrase_is_no_negation():
    negations = (" not ", " no ", "n't ", " never ", " without ")
    assert [asked for asked, meant in pairs() if any(word in asked and word not in meant for word in negations)] == []


def test_nearly_all_of_them_are_questions_of_the_shipped_table():
    from kaggle_utils.q20.knowledge.table_file import SHIPPED, load_table

    if not SHIPPED.is_file():
        pytest.skip("no table is shipped")
    lookup = TableLookup(load_table())
    meant = sorted({text for _, text in pairs()})
    missing = [text for text in meant if (lookup.question_of(text) or (0, 0.0))[1] < 1]
    assert len(missing) < 0.1 * len(meant), missing
    assert lookup.probability("dog", "Is it alive?") > 0.8
    assert lookup.probability("hammer", "Is it edible?") < 0.2
