"""Strangers' texts and numbers as HTML that is safe to show.

It promises that whatever an opponent wrote comes out as text: markup escaped, characters that would reorder, hide or
break the text shown by their code, its length in bytes bounded, its direction isolated. It knows nothing of games.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata

__all__ = ["count", "flag", "percent", "plain", "plural", "seconds", "show"]

_JOINERS = frozenset("\u200c\u200d")
"""Format characters that ordinary scripts and emoji need: they stay."""

_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks without any ink: they could hide one guess inside another."""

_RUN = re.compile(r"(.)\1*", re.DOTALL)


def show(text: object, *, limit: int = 2250) -> str:
    """Return ``text`` as HTML inside ``<bdi>``, at most about ``limit`` bytes of it, with a note of what was cut.

    >>> show("<b>cat</b>")
    '<bdi>&lt;b&gt;cat&lt;/b&gt;</bdi>'
    >>> show("a" + chr(0x202E) + "b")
    '<bdi>a<span class="code">U+202E</span>b</bdi>'
    >>> show("  ")
    '<span class="nothing">(blank)</span>'
    """
    text = text if isinstance(text, str) else str(text)
    if not text.strip():
        return '<span class="nothing">(blank)</span>' if text else '<span class="nothing">(nothing)</span>'
    pieces, room, end = [], limit, 0
    for run in _RUN.finditer(text):
        piece, taken = _fit(run.group(), room)
        pieces.append(piece)
        room -= len(piece.encode())
        end += taken
        if taken < len(run.group()):
            break
    cut = f' <span class="nothing">… {plural(len(text) - end, "more character")}</span>' if end < len(text) else ""
    return f"<bdi>{''.join(pieces)}</bdi>{cut}"


def _fit(run: str, room: int) -> tuple[str, int]:
    """Return what of a run of equal characters fits into ``room`` bytes, and how many characters that is.

    A character that cannot be seen becomes its code and how often it stands there.
    """
    character = run[0]
    if _is_hidden(character):
        times = f"×{len(run)}" if len(run) > 1 else ""
        name = "↵" if character == "\n" else f"U+{ord(character):04X}"
        piece = f'<span class="code">{name}{times}</span>'
        return (piece, len(run)) if len(piece.encode()) <= room else ("", 0)
    unit = html.escape(character, quote=False)
    taken = min(len(run), room // len(unit.encode()))
    return unit * taken, taken


def _is_hidden(character: str) -> bool:
    if character in _JOINERS or character == "\t":
        return False
    if character in _BLANKS or "\U000e0000" <= character <= "\U000e0fff":  # tags and variation selectors: invisible
        return True
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def plain(text: str, *, limit: int = 80) -> str:
    """Return ``text`` for a place that takes no markup, as a page's title: escaped, cut, hidden characters left out.

    >>> plain("<b>" + chr(0x202E) + "cat")
    '&lt;b&gt;cat'
    """
    return html.escape("".join(character for character in text[:limit] if not _is_hidden(character)))


def flag(text: str, kind: str) -> str:
    """Return a small label; ``text`` and ``kind`` (its CSS class) are ours, never a stranger's.

    >>> flag("yes", "yes")
    '<span class="flag yes">yes</span>'
    """
    return f'<span class="flag {html.escape(kind)}">{html.escape(text)}</span>'


def plural(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> plural(1, "round"), plural(12345, "candidate")
    ('1 round', '12,345 candidates')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def count(number: float) -> str:
    """Return a number short enough for an axis.

    >>> [count(n) for n in (1, 10, 1000, 100_000, 2_000_000)]
    ['1', '10', '1k', '100k', '2M']
    """
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def percent(share: float) -> str:
    """Return a probability in percent; a dash when it is none.

    >>> percent(0.5), percent(0.0312), percent(0.00001), percent(float("nan"))
    ('50%', '3.1%', '&lt;0.1%', '–')
    """
    if not math.isfinite(share):
        return "–"
    if 0 < share < 0.001:
        return "&lt;0.1%"
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{100 * share:.1f}%"


def seconds(value: float | None) -> str:
    """Return a duration; a dash when it is not known or cannot be one.

    >>> seconds(0.0123), seconds(3.21), seconds(75.6), seconds(None)
    ('12\xa0ms', '3.2\xa0s', '76\xa0s', '–')
    """
    if value is None or not 0 <= value < 1e6:
        return "–"
    if value < 0.0005:
        return "&lt;1\xa0ms"
    if value < 0.9995:
        return f"{1000 * value:.0f}\xa0ms"
    return f"{value:.1f}\xa0s" if value < 59.95 else f"{value:.0f}\xa0s"
