"""The chart shows what it should: checked on what was drawn, not on pixels."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from kaggle_utils.inference.answer_plots import plot_answers, save_answer_plot
from kaggle_utils.inference.answer_rows import AnswerRow


def test_panels_are_those_that_have_data(tmp_path):
    rows = [AnswerRow(i, "q", "x" * i, seconds=i / 10, finish="length" if i > 7 else "stop") for i in range(10)]
    rows.append(AnswerRow(10, "q", "x" * 50, grade=4, tokens=3))
    rows.append(AnswerRow(11, "q", None))
    lengths, seconds, grades = plot_answers(rows).axes
    assert lengths.get_title() == "11 answers" and lengths.get_xlabel() == "length in characters"
    assert [text.get_text() for text in lengths.get_legend().get_texts()] == [
        "stop (8)", "answers (1)", "length (2)", "median 5",
    ]  # fmt: skip
    assert sum(len(dots.get_offsets()) for dots in seconds.collections) == 10
    assert seconds.texts[0].get_text() == "task 9", "the slowest is named"
    assert grades.get_title() == "mean grade 4.00, 1 graded"
    picture = save_answer_plot(rows, tmp_path / "new" / "answers.png")
    assert picture.read_bytes().startswith(b"\x89PNG") and len(list(picture.parent.iterdir())) == 1


def test_nothing_at_all_is_still_a_picture():
    assert len(plot_answers([]).axes) == 1
    assert plot_answers([AnswerRow(1, "q", "a", tokens=2)]).axes[0].get_xlabel() == "length in tokens"
