"""Grades from a language model that judges answers on ELYZA-tasks-100's scale of 1 to 5.

Any ``chat.generator.TextGenerator`` can be the judge. It promises grades in the order of the answers, every reply kept
so that a grade can be checked, and replies that hold no score counted, never guessed. A second run with the same file
asks only what is missing, and no answer ever gets the grade of another judge, setting, question or wording. It does
not know how good a judge is: compare its grades with your own on some twenty answers first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.chat.messages import Conversation

from .grade_prompt import GradeItem, grade_prompt, read_grade

__all__ = ["Grade", "Grades", "grade_answers"]

_BLANK = "(a blank answer: 1 by the scale, the judge was not asked)"
_NEW_TOKENS = {False: 16, True: 320}


@dataclass(frozen=True)
class Grade:
    """What a judge thought of one answer."""

    score: int | None
    """1 to 5; None where the reply holds no readable score."""
    reply: str
    """All that the judge wrote."""


@dataclass(frozen=True)
class Grades:
    """Grades of N answers, in their order."""

    grades: tuple[Grade, ...]
    """One an answer."""

    @property
    def scores(self) -> list[int | None]:
        """The scores alone."""
        return [grade.score for grade in self.grades]

    @property
    def unreadable(self) -> int:
        """Number of replies without a readable score."""
        return self.scores.count(None)

    @property
    def mean(self) -> float | None:
        """Mean of the readable scores; None where there is none."""
        known = [score for score in self.scores if score is not None]
        return sum(known) / len(known) if known else None

    def to_text(self) -> str:
        """Return mean, how often each score was given, and what could not be read, in one line."""
        counts = ", ".join(f"{score}: {self.scores.count(score):,}" for score in range(1, 6))
        mean = "no mean" if self.mean is None else f"mean {self.mean:.2f} of 5"
        return f"{mean} over {len(self.grades) - self.unreadable:,} answers ({counts}); {self.unreadable:,} unreadable"


def grade_answers(
    items: Sequence[GradeItem],
    judge: TextGenerator,
    *,
    judge_name: str = "",
    store: str | os.PathLike[str] | None = None,
    reason: bool = False,
    settings: GenerationSettings | None = None,
    batch_size: int = 32,
) -> Grades:
    """Ask the judge about every answer; blank answers get 1 without asking.

    Args:
        items: what to grade.
        judge: any TextGenerator; it cuts its own batches, ``batch_size`` is how many answers a kill may cost.
        judge_name: what tells this judge from others in ``store``: the model's name, and its quantisation.
        store: a JSONL file that keeps the replies (made, appended to, one process at a time); None keeps nothing.
        reason: let the judge give a reason before the score: better grades from good judges, 20 times the tokens.
        settings: of the judge; None: greedy, enough new tokens for what is asked.
        batch_size: conversations a call of ``judge.generate``.

    Raises:
        ValueError: ``store`` without ``judge_name``, a batch size below 1, or a judge that loses replies.
    """
    problems = []
    if store is not None and not judge_name:
        problems.append("a store needs judge_name, so that grades of two judges are never mixed")
    if batch_size < 1:
        problems.append(f"batch_size is {batch_size}, expected 1 or more")
    if problems:
        raise ValueError("the answers cannot be graded:\n" + "\n".join(f"  - {problem}" for problem in problems))
    settings = settings or GenerationSettings(max_new_tokens=_NEW_TOKENS[reason])
    prompts = [grade_prompt(item, reason=reason) for item in items]
    keys = [_key(judge_name, settings, prompt) for prompt in prompts]
    replies = _read(Path(store)) if store is not None else {}
    replies.update({key: _BLANK for key, item in zip(keys, items, strict=True) if not item.answer.strip()})
    todo = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in replies}
    for batch in _ask(todo, judge, settings, batch_size):
        if store is not None:
            _append(Path(store), batch)
        replies.update(batch)
    return Grades(tuple(_grade(replies[key]) for key in keys))


def _grade(reply: str) -> Grade:
    return Grade(1 if reply is _BLANK else read_grade(reply), reply)


def _key(judge_name: str, settings: GenerationSettings, prompt: Conversation) -> str:
    parts = [judge_name, sorted(dataclasses.asdict(settings).items()), [[m.role, m.content] for m in prompt]]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, default=list).encode()).hexdigest()[:32]


def _ask(
    todo: dict[str, Conversation], judge: TextGenerator, settings: GenerationSettings, batch_size: int
) -> Iterator[dict[str, str]]:
    keys = list(todo)
    with tqdm(total=len(keys), desc="graded", unit="answer", disable=not keys) as bar:
        for start in range(0, len(keys), batch_size):
            batch = keys[start : start + batch_size]
            replies = judge.generate([todo[key] for key in batch], settings)
            if len(replies) != len(batch):
                raise ValueError(f"the judge gave {len(replies)} replies to {len(batch)} conversations")
            yield dict(zip(batch, replies, strict=True))
            bar.update(len(batch))


def _read(store: Path) -> dict[str, str]:
    """Return the replies by key; a line that a kill tore is cut off, other bad lines are left alone and unread."""
    if not store.exists():
        return {}
    content = store.read_bytes()
    if content and not content.endswith(b"\n"):
        content = content[: content.rfind(b"\n") + 1]
        with store.open("r+b") as file:
            file.truncate(len(content))
    replies = {}
    for line in content.splitlines():
        try:
            row = json.loads(line)
            replies[str(row["key"])] = str(row["reply"])
        except (ValueError, TypeError, KeyError):  # noqa: PERF203 - one bad line must not cost the others
            continue
    return replies


def _append(store: Path, replies: dict[str, str]) -> None:
    store.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"key": key, "reply": reply, "score": read_grade(reply)}) for key, reply in replies.items()]
    with store.open("ab") as file:
        file.write("".join(f"{line}\n" for line in lines).encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
