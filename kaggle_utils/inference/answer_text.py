"""Anybody's text as HTML that is safe to show, long text folded.

It promises that tasks, examples and answers come out as text: markup escaped, characters that reorder or hide text
shown by their code. Line breaks stay; the style sheet keeps them.
"""

from __future__ import annotations

import html
import re
import unicodedata

__all__ = ["fold", "show"]

_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks without any ink."""

_KEPT = frozenset("\n\t\u200c\u200d")
"""Line breaks, and format characters that scripts and emoji need."""


def show(text: str) -> str:
    """Return all of ``text`` as HTML inside ``<bdi>``; a run of one hidden character becomes one code.

    >>> show("<b>cat</b>")
    '<bdi>&lt;b&gt;cat&lt;/b&gt;</bdi>'
    >>> show("a" + chr(0x202E) * 3 + "b")
    '<bdi>a<span class="code">U+202E×3</span>b</bdi>'
    """
    if not text.strip():
        return f'<span class="nothing">({"blank" if text else "nothing"})</span>'
    text = text.replace("\r\n", "\n")
    return f"<bdi>{_hidden_pattern(text).sub(_code, html.escape(text, quote=False))}</bdi>"


def fold(text: str, *, limit: int) -> str:
    """Return ``text`` as HTML; what is beyond about ``limit`` characters opens on a click.

    It is cut at a line or sentence end where the last fifth before the limit has one.

    >>> fold("short", limit=80)
    '<bdi>short</bdi>'
    >>> "<bdi>one. two.</bdi>" in fold("one. two. three", limit=10)
    True
    """
    if len(text) <= limit:
        return show(text)
    at = _cut(text, limit)
    more = f'<span class="more">{len(text) - at:,} more characters</span>'
    head, rest = show(text[:at]), show(text[at:])
    return f'<details class="long"><summary>{head} {more}</summary>{rest}</details>'


def _cut(text: str, limit: int) -> int:
    ends = [m.end() for m in re.finditer(r"[\n。.!?！？]", text[:limit]) if m.end() >= limit * 4 // 5]
    return ends[-1] if ends else limit


def _hidden_pattern(text: str) -> re.Pattern[str]:
    hidden = "".join(sorted(character for character in set(text) if _is_hidden(character)))
    return re.compile(f"([{re.escape(hidden)}])\\1*" if hidden else r"(?!)")


def _is_hidden(character: str) -> bool:
    if character in _KEPT:
        return False
    if character in _BLANKS or "\U000e0000" <= character <= "\U000e0fff":  # tags and variation selectors: invisible
        return True
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _code(match: re.Match[str]) -> str:
    times = f"×{len(match[0])}" if len(match[0]) > 1 else ""
    return f'<span class="code">U+{ord(match[1]):04X}{times}</span>'
