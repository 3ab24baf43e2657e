"""Damaged texts: lost characters, and bytes read with the wrong encoding (縺薙ｌ, ã“ã‚Œ, Ã©, 锟斤拷).

It knows no languages.
"""

from __future__ import annotations

import re

from .characters import BROKEN, CONTROL, GARBLED
from .findings import Finding
from .texts import TextBatch

__all__ = ["CONTROLS", "damaged"]

CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
"""What :data:`.characters.CONTROL` marks."""

_GARBLED = re.compile(
    r"(?:[縺繧繝][^\s。、ぁ-ん]{1,2}){2}"  # UTF-8 read as cp932
    r"|(?:[ãäåæçèé][\x80-\xbf\u0152-\u0178\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{1,2}){2}"  # ... as cp1252
    r"|â€[\u2122\u0153\u201c\u201d\u2018\u2019\x80-\xbf\u2013\u2014˜™¦¢]|(?:Ã[\x80-\xbf]){1}|Â[\xa0-\xbf]\S?Â"
    r"|ï¿½|ï»¿|(?:[‚ƒ„][\x80-\xff\u0152-\u0178\u2013-\u203aA-Za-z]){3}"  # cp932 read as cp1252
    r"|锟斤拷|(?:烫){3}|(?:屯){3}|譁\S?蟄|[\uff61-\uff9f][^\w\s]?[縺繧繝]"
)


def damaged(batch: TextBatch, *, controls_too: bool) -> dict[int, Finding]:
    """Text -> finding. ``controls_too``: control characters are damage (else they have been removed before)."""
    found: dict[int, Finding] = {}
    for text in batch.first_with(GARBLED):
        if match := _GARBLED.search(batch.texts[text]):
            found[text] = Finding("wrong encoding", match.group()[:20])
    for text, position in batch.first_with(BROKEN | (CONTROL if controls_too else 0)).items():
        code = ord(batch.joined[position])
        around = batch.around(position).encode("utf-8", "backslashreplace").decode()
        found[text] = Finding("surrogate" if 0xD800 <= code < 0xE000 else f"U+{code:04X}", around)
    return found
