"""One task with its answer and what is known about it: what the page and the charts of a run show.

It promises plain values that need no model and no store. It computes nothing: grades and scores are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .answers import Answer
from .grading import Grades
from .reference_scores import ReferenceScores

__all__ = ["AnswerRow", "answer_rows"]


@dataclass(frozen=True)
class AnswerRow:
    """One task. Everything but the first three may be absent, and is then not shown."""

    task_id: str | int
    """As in the task file."""
    question: str
    """The task's own text, without examples."""
    output: str | None
    """The answer; None where there is none (yet)."""
    examples: tuple[tuple[str, str], ...] = ()
    """Retrieved (question, answer) pairs, in the order of the prompt: the nearest last."""
    tokens: int | None = None
    """Tokens generated."""
    seconds: float | None = None
    """From the start of the row to its last token."""
    finish: str | None = None
    """Why it ended: "stop" by itself; "length", "time_limit", "deadline" or anything else cut it off."""
    reference: str | None = None
    """A reference answer."""
    grade: int | None = None
    """1 to 5, of a judge; None where there is none or it could not be read."""
    judgement: str | None = None
    """What the judge wrote; None where no judge was asked."""
    chrf: float | None = None
    """0 to 100, against the reference."""
    rouge_l: float | None = None
    """0 to 100, against the reference."""

    @property
    def was_cut(self) -> bool:
        """Whether it is known that the answer did not end by itself."""
        return self.finish is not None and self.finish != "stop"

    @property
    def is_empty(self) -> bool:
        """Whether nothing but white space was answered."""
        return not (self.output or "").strip()


def answer_rows(
    answers: Sequence[Answer],
    *,
    references: Sequence[str | None] | None = None,
    grades: Grades | None = None,
    scores: ReferenceScores | None = None,
) -> list[AnswerRow]:
    """Put answers and what was found out about them side by side.

    Args:
        answers: of ``answering.answer_tasks``.
        references: one an answer; None where there is none.
        grades: of the first answers, or of all.
        scores: one an answer, nan where there was no reference.

    Raises:
        ValueError: lengths that do not fit; all of them are named.
    """
    count, graded = len(answers), grades.grades if grades is not None else ()
    problems = [
        f"{found} {name}"
        for name, found, fits in (
            ("references", len(references or ()), references is None or len(references) == count),
            ("grades", len(graded), len(graded) <= count),
            ("scores", len(scores.chrf) if scores else 0, scores is None or len(scores.chrf) == count),
        )
        if not fits
    ]
    if problems:
        raise ValueError(f"{count} answers do not go with {' and '.join(problems)}; give them in the answers' order")
    return [
        AnswerRow(
            task_id=answer.task_id,
            question=answer.input,
            output=answer.output,
            examples=answer.examples,
            tokens=answer.output_tokens,
            seconds=answer.seconds,
            finish=answer.finish_reason,
            reference=references[i] if references is not None else None,
            grade=graded[i].score if i < len(graded) else None,
            judgement=graded[i].reply if i < len(graded) else None,
            chrf=_finite(scores.chrf[i]) if scores is not None else None,
            rouge_l=_finite(scores.rouge_l[i]) if scores is not None else None,
        )
        for i, answer in enumerate(answers)
    ]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
