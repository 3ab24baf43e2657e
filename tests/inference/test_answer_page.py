"""The page of a run: nothing of what tasks or models wrote ever runs, and it reads well on a phone and in the dark."""

from __future__ import annotations

import re
from pathlib import Path

import browser
import numpy as np
import pytest
from replay_games import HOSTILE, Document

from kaggle_utils.inference.answer_page import _style, render_answers, write_answer_page
from kaggle_utils.inference.answer_rows import AnswerRow, answer_rows
from kaggle_utils.inference.answer_text import fold, show
from kaggle_utils.inference.answers import Answer
from kaggle_utils.inference.grading import Grade, Grades
from kaggle_utils.inference.reference_scores import ReferenceScores

PLAIN = AnswerRow(
    7, "鉛筆は水に沈みますか？", "一般的な\n鉛筆は<沈み>ません。" * 200, examples=(("q1", "a1"), ("q2 nearest", "a2")),
    tokens=12, seconds=1.25, finish="stop", reference="沈みません", grade=4,
    judgement="採点: 4", chrf=33.3, rouge_l=50.0,
)  # fmt: skip
ROWS = [
    PLAIN,
    AnswerRow("b", "q", None, finish="deadline", judgement="?"),
    AnswerRow("c", "q", "cut here", finish="length", grade=1),
]
HOSTILE_ROWS = [
    AnswerRow(HOSTILE, HOSTILE * 9, HOSTILE * 40, ((HOSTILE, HOSTILE),), 1, 1.0, HOSTILE, HOSTILE, 1, HOSTILE, 1.0, 1.0)
]


def test_shows_everything_that_is_known_of_a_task():
    text = Document(render_answers(ROWS, title="A run")).text
    for piece in ("A run", "鉛筆は水に沈みますか？", "鉛筆は<沈み>ません。", "2 retrieved examples, the nearest last",
                  "q1", "q2 nearest", "沈みません", "採点: 4", "4 of 5", "stop", "12 tokens", "1.2 s", "chrF 33.3",
                  "ROUGE-L 50.0", "2 of 3", "(nothing)", "2.50 of 5, 1 unreadable", "deadline 1"):  # fmt: skip
        assert piece in text, piece


def test_rows_put_grades_and_scores_beside_their_answers():
    answers = [Answer(i, f"q{i}", f"a{i}", (("x", "y"),), 5, i, 0.5, "stop") for i in range(3)]
    grades = Grades((Grade(4, "採点: 4"), Grade(None, "?")))
    scores = ReferenceScores(np.array([np.nan, 10.0, np.nan]), np.array([np.nan, 20.0, np.nan]))
    rows = answer_rows(answers, references=[None, "r", None], grades=grades, scores=scores)
    assert rows[0] == AnswerRow(0, "q0", "a0", (("x", "y"),), 0, 0.5, "stop", None, 4, "採点: 4")
    assert rows[1] == AnswerRow(1, "q1", "a1", (("x", "y"),), 1, 0.5, "stop", "r", None, "?", 10.0, 20.0)
    assert rows[2].grade is rows[2].judgement is None, "only the first were graded"
    with pytest.raises(ValueError, match="1 answers do not go with 3 references and 2 grades and 3 scores"):
        answer_rows(answers[:1], references=["a"] * 3, grades=grades, scores=scores)


def test_what_deserves_a_look_is_linked_at_the_top():
    html = render_answers(ROWS)
    links = dict(re.findall(r"<p><b>([^(]+) \(1\)</b> <a href=\"#(row-\d)\">", html))
    assert links == {"No answer": "row-1", "Cut off": "row-2", "Graded 1": "row-2"}
    assert all(f'id="{row}"' in html for row in links.values())
    assert "<nav" not in render_answers([PLAIN])


def test_no_text_becomes_markup_and_nothing_comes_from_outside():
    """Every field hostile: only our own tags and attributes, properly nested, and the page encodes."""
    html = render_answers(HOSTILE_ROWS, title=HOSTILE)
    html.encode("utf-8")
    page, benign = Document(html), Document(render_answers(ROWS))
    assert set(page.tags) <= set(benign.tags) | {"span"}
    assert page.attributes <= benign.attributes
    assert page.wrong == page.open == []
    assert "alert(1)" in page.text, "the text itself must still be shown"
    for forbidden in ("http:", "https:", "src=", "@import", "url(", "<script", "<link", "<iframe", "style="):
        assert forbidden not in render_answers(ROWS), forbidden
    assert "unsafe" not in html and "default-src 'none'; style-src 'sha256-" in html


def test_text_is_whole_with_hidden_characters_by_their_code():
    assert show("a\u202e\u202eb\0") == '<bdi>a<span class="code">U+202E×2</span>b<span class="code">U+0000</span></bdi>'
    long = "一文です。" * 100
    assert Document(fold(long, limit=123)).text.replace(" 380 more characters", "") == long, "cut after a sentence"
    assert fold("短い", limit=2) == "<bdi>短い</bdi>"


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = write_answer_page(ROWS, tmp_path / "new" / "answers.html")
    before = target.read_bytes()
    assert before == render_answers(ROWS).encode()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_answer_page([], target)
    assert target.read_bytes() == before and len(list(target.parent.iterdir())) == 1


@pytest.mark.skipif(browser.find_browser() is None, reason="no browser is installed")
def test_no_horizontal_scroll_and_the_style_is_let_through_in_the_dark():
    pages = [(render_answers(rows), width) for rows in (ROWS, HOSTILE_ROWS) for width in (390, 1200)]
    found = browser.measure(
        pages,
        "[page.documentElement.scrollWidth, page.documentElement.clientWidth,"
        "page.defaultView.getComputedStyle(page.body).backgroundColor]",
        dark=True,
    )
    for (_, width), (wide, room, colour) in zip(pages, found, strict=True):
        assert 0.9 * width < room <= width and wide <= room, f"{wide} pixels wide on a screen of {width}"
        assert int(re.match(r"rgb\((\d+),", colour).group(1)) < 60


def test_every_class_of_the_page_is_known_to_the_style_sheet():
    html = render_answers(ROWS) + render_answers(HOSTILE_ROWS)
    used = {name for names in re.findall(r'<[^>]* class="([^"<>]*)"', html) for name in names.split()}
    known = set(re.findall(r"\.([a-z][\w-]*)", _style()))
    assert used - known <= {"input", "whole", "cut", "empty"}, "classes without a rule"
