"""A run's answers, task by task, as one HTML file to read before submitting.

It promises one self-contained page that loads and runs nothing, whatever tasks and models wrote: everything is escaped,
and a Content-Security-Policy stands behind that. Input, retrieved examples (folded), answer, length, seconds, finish
reason, and grade and scores where there are any; what deserves a look first is linked at the top. Readable on a phone
and in the dark. It judges nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median

from .answer_rows import AnswerRow
from .answer_text import fold, show

__all__ = ["render_answers", "write_answer_page"]

_QUESTION, _ANSWER, _EXAMPLE, _LINKS = 700, 2500, 400, 40


def render_answers(rows: Sequence[AnswerRow], *, title: str = "Answers") -> str:
    """Return the page: the same text for the same rows, always valid UTF-8. Its size grows with the texts."""
    rows = list(rows)
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    name = html.escape(title.encode("utf-8", "replace").decode())
    body = "\n".join(_row(row, number) for number, row in enumerate(rows))
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Task", "Input", "Answer", "Figures"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{name}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{name}</h1>\n{_summary(rows)}\n{_look_first(rows)}</header>\n"
        f"<main>\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</main>\n"
        "</body>\n</html>\n"
    )


def write_answer_page(rows: Sequence[AnswerRow], target: str | os.PathLike[str], *, title: str = "Answers") -> Path:
    """Write the page to ``target`` (its folder is made) and return it; a crash leaves the old file or none."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(render_answers(rows, title=title))
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    return target


@lru_cache(maxsize=1)
def _style() -> str:
    return (Path(__file__).parent / "answer_page.css").read_text(encoding="utf-8")


def _summary(rows: Sequence[AnswerRow]) -> str:
    answered = [row for row in rows if not row.is_empty]
    facts = [("answered", f"{len(answered):,} of {len(rows):,}")]
    if answered:
        facts.append(("median length", f"{median(len(row.output or '') for row in answered):,.0f} characters"))
    if tokens := [row.tokens for row in rows if row.tokens is not None]:
        facts.append(("generated", f"{sum(tokens):,} tokens"))
    if seconds := [row.seconds for row in rows if row.seconds is not None]:
        facts.append(("longest row", _seconds(max(seconds))))
    if reasons := Counter(row.finish for row in rows if row.finish is not None):
        facts.append(("ended by", ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(6))))
    facts += _quality(rows)
    items = "".join(f"<div><dt>{name}</dt><dd>{show(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{items}</dl>'


def _quality(rows: Sequence[AnswerRow]) -> Iterator[tuple[str, str]]:
    judged = [row for row in rows if row.judgement is not None or row.grade is not None]
    grades = [row.grade for row in judged if row.grade is not None]
    if judged:
        unread = f", {len(judged) - len(grades):,} unreadable" if len(grades) < len(judged) else ""
        yield "mean grade", (f"{fmean(grades):.2f} of 5" if grades else "none") + unread
    for name, values in (("chrF", [row.chrf for row in rows]), ("ROUGE-L", [row.rouge_l for row in rows])):
        known = [value for value in values if value is not None]
        if known:
            yield f"mean {name}", f"{fmean(known):.1f} of 100"


def _look_first(rows: Sequence[AnswerRow]) -> str:
    """Links to rows that are empty, cut off or graded 1: nothing where there are none."""
    lines = []
    for name, found in (
        ("No answer", [i for i, row in enumerate(rows) if row.is_empty]),
        ("Cut off", [i for i, row in enumerate(rows) if row.was_cut and not row.is_empty]),
        ("Graded 1", [i for i, row in enumerate(rows) if row.grade == 1]),
    ):
        if found:
            links = " ".join(f'<a href="#row-{i}">{show(_short(rows[i].task_id))}</a>' for i in found[:_LINKS])
            more = f" and {len(found) - _LINKS:,} more" if len(found) > _LINKS else ""
            lines.append(f"<p><b>{name} ({len(found):,})</b> {links}{more}</p>")
    return f'<nav aria-label="Look at these first">{"".join(lines)}</nav>\n' if lines else ""


def _row(row: AnswerRow, number: int) -> str:
    kind = "empty" if row.is_empty else "cut" if row.was_cut else "whole"
    question = f'<div class="text">{fold(row.question, limit=_QUESTION)}</div>'
    answer = f'<div class="text">{fold(row.output or "", limit=_ANSWER)}</div>'
    more = _folded("Reference", row.reference) + _folded("Judgement", row.judgement)
    return (
        f'<tr id="row-{number}" class="{kind}">\n<th scope="row">{show(_short(row.task_id))}</th>\n'
        f'<td class="input">{question}{_examples(row.examples)}</td>\n<td class="answer">{answer}{more}</td>\n'
        f'<td class="figures">{_figures(row)}</td>\n</tr>'
    )


def _examples(examples: Sequence[tuple[str, str]]) -> str:
    if not examples:
        return ""
    name = "1 retrieved example" if len(examples) == 1 else f"{len(examples)} retrieved examples, the nearest last"
    items = "".join(
        f"<li><p>{fold(question, limit=_EXAMPLE)}</p><p>{fold(answer, limit=_EXAMPLE)}</p></li>"
        for question, answer in examples
    )
    return f"<details><summary>{name}</summary><ol>{items}</ol></details>"


def _folded(name: str, text: str | None) -> str:
    return "" if text is None else f'<details><summary>{name}</summary><div class="text">{show(text)}</div></details>'


def _figures(row: AnswerRow) -> str:
    lines = []
    if row.grade is not None:
        lines.append(f'<span class="flag grade-{min(5, max(1, row.grade))}">{row.grade} of 5</span>')
    elif row.judgement is not None:
        lines.append('<span class="flag bad">no grade</span>')
    if row.finish is not None:
        lines.append(f'<span class="flag {"bad" if row.was_cut else "good"}">{show(row.finish)}</span>')
    lines.append(f"{len(row.output or ''):,} characters")
    if row.tokens is not None:
        lines.append(f"{row.tokens:,} tokens")
    if row.seconds is not None:
        lines.append(_seconds(row.seconds))
    for name, value in (("chrF", row.chrf), ("ROUGE-L", row.rouge_l)):
        if value is not None:
            lines.append(f"{name} {value:.1f}")
    return "".join(f"<p>{line}</p>" for line in lines)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 99.95 else f"{value:,.0f} s"


def _short(task_id: str | int) -> str:
    text = str(task_id)
    return text if len(text) <= 60 else f"{text[:59]}…"
