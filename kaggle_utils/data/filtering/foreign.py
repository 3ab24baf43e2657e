"""Characters that do not belong: letters of unwanted scripts, and ideographs that the encoding cannot write."""

from __future__ import annotations

import numpy as np

from .characters import FOREIGN, UNWANTED, script_of
from .findings import Finding
from .named import names_language
from .texts import TextBatch

__all__ = ["outside_encoding", "unwanted_scripts"]


def outside_encoding(batch: TextBatch, encoding: str, *, named_languages: bool = False) -> dict[int, Finding]:
    """Text -> its first foreign character. ``named_languages``: rows that speak of a language may hold them."""
    return {
        text: Finding(character, f"U+{ord(character):04X}, not in {encoding}: {batch.around(position)}")
        for text, position in batch.first_with(FOREIGN).items()
        for character in (batch.joined[position],)
        if not (named_languages and names_language(batch, text, script_of(character)))
    }  # fmt: skip


def unwanted_scripts(batch: TextBatch, *, named_languages: bool = False) -> dict[int, Finding]:
    """Text -> its first unwanted letters: two neighbours, or one Hangul. ``named_languages``: rows that speak of
    Korean may hold Hangul, and so on."""
    if not batch.first_with(UNWANTED):
        return {}
    unwanted = batch.kinds & UNWANTED
    hangul = ((batch.codes >= 0xAC00) & (batch.codes < 0xD7A4)) | ((batch.codes >= 0x1100) & (batch.codes < 0x1200))
    pair = np.zeros(len(unwanted), dtype=bool)
    pair[:-1] = (unwanted[:-1] & unwanted[1:]) > 0
    positions = np.flatnonzero(pair | (hangul & (unwanted > 0)))
    texts, first = np.unique(batch.text_of(positions), return_index=True)
    return {
        text: Finding(script_of(batch.joined[position]), batch.around(position))
        for text, position in zip(texts.tolist(), positions[first].tolist(), strict=True)
        if not (named_languages and names_language(batch, text, script_of(batch.joined[position])))
    }
