"""chrF and ROUGE-L over characters, against the textbook table and against sacrebleu's own numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kaggle_utils.inference import reference_scores as module
from kaggle_utils.inference.reference_scores import lcs_length, reference_scores, rouge_l


def textbook(first: str, second: str) -> int:
    row = [0] * (len(second) + 1)
    for x in first:
        after = [0]
        for j, y in enumerate(second):
            after.append(row[j] + 1 if x == y else max(row[j + 1], after[-1]))
        row = after
    return row[-1]


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_longest_common_subsequence_equals_the_textbook_table(monkeypatch, block):
    """Blocks of 1 and 3 columns: the carries between blocks are what could go wrong."""
    monkeypatch.setattr(module, "_BLOCK", block)
    generator = random.Random(0)
    for _ in range(100):
        first, second = ("".join(generator.choices("猫犬鳥x", k=generator.randrange(25))) for _ in range(2))
        assert lcs_length(first, second) == textbook(first, second), (first, second)


def test_rouge_l_is_symmetric_in_f1_and_blind_to_white_space():
    assert rouge_l("猫 が\nいる", "猫がいる") == 1
    assert rouge_l("", "猫") == 0 and rouge_l("", " ") == 1
    assert rouge_l("猫がいる", "猫") == rouge_l("猫", "猫がいる") == pytest.approx(2 / 5)


def test_scores_keep_their_order_and_rows_without_reference_are_nan():
    sacrebleu = pytest.importorskip("sacrebleu")
    outputs, references = ["猫がいます。", "犬", None, "鳥です"], ["猫がいる。", None, "x", " "]
    scores = reference_scores(outputs, references)
    assert np.isnan(scores.chrf[[1, 3]]).all() and np.isnan(scores.rouge_l[[1, 3]]).all()
    assert scores.chrf[0] == pytest.approx(sacrebleu.sentence_chrf(outputs[0], [references[0]]).score)
    assert scores.chrf[2] == scores.rouge_l[2] == 0, "an answer that is absent is a bad one"
    assert 0 < scores.chrf[0] < 100 and scores.compared == 2
    assert "means of 2 of 4 answers" in scores.to_text()
    assert "no references for 1" in reference_scores(["a"], [None]).to_text()


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 answers and 1 references"):
        reference_scores(["a", "b"], ["a"])
