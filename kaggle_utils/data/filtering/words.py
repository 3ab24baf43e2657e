"""Thousands of strings looked for, or replaced, in one pass over a batch.

The first two characters of every string are marked in a table; only where a text has such a pair is anything compared.
Cost grows with the text, hardly with the number of strings. It knows no rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .texts import TextBatch

__all__ = ["Replacer", "WordFinder"]

_PAIRS = 1 << 20


def _pair_keys(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first * np.uint32(1009) + second) & np.uint32(_PAIRS - 1)  # wraps around, which is meant


class WordFinder:
    """Finds any of ``words``. A word is reported where it first stands in a text."""

    def __init__(self, words: Sequence[str]) -> None:
        self._by_head: dict[str, list[str]] = {}
        for word in sorted(set(words), key=lambda word: (-len(word), word)):
            self._by_head.setdefault(word[:2], []).append(word)
        singles = _codes("".join(head for head in self._by_head if len(head) == 1))
        self._single = np.zeros(0x110000 if len(singles) else 0, dtype=bool)
        self._single[singles] = True
        heads = [head for head in self._by_head if len(head) == 2]
        pairs = _codes("".join(heads)).reshape(-1, 2)
        self._pairs = np.zeros(_PAIRS, dtype=bool)
        self._pairs[_pair_keys(pairs[:, 0], pairs[:, 1])] = True

    def positions(self, batch: TextBatch) -> Iterator[tuple[int, str]]:
        """Every place in ``batch.joined`` where a word stands, with the longest word there, in order."""
        codes, joined = batch.codes, batch.joined
        candidates = np.flatnonzero(self._pairs[_pair_keys(codes[:-1], codes[1:])]) if len(codes) > 1 else codes[:0]
        if len(self._single):
            candidates = np.union1d(candidates, np.flatnonzero(self._single[codes]))
        for position in candidates.tolist():
            head = joined[position : position + 2]
            for word in (*self._by_head.get(head, ()), *self._by_head.get(head[:1], ())):
                if joined.startswith(word, position):
                    yield position, word
                    break

    def first_in_texts(self, batch: TextBatch) -> dict[int, tuple[str, int]]:
        """Text -> the first word in it and its position. Words never reach over the end of a text."""
        found: dict[int, tuple[str, int]] = {}
        hits = list(self.positions(batch))
        texts = batch.text_of(np.array([position for position, _ in hits], dtype=np.int64)).tolist()
        for text, (position, word) in zip(texts, hits, strict=True):
            if text not in found and position + len(word) < int(batch.starts[text + 1]):
                found[text] = (word, position)
        return found


class Replacer:
    """Replaces all keys of a mapping in one pass, the longest first; what was put in is not replaced again."""

    def __init__(self, replacements: Mapping[str, str]) -> None:
        self._to = dict(replacements)
        longest_first = sorted(self._to, key=lambda word: (-len(word), word))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        """
        >>> Replacer({"松下": "三菱", "松下電器": "パナソニック", "三菱": "X"})("松下電器と松下")
        'パナソニックと三菱'
        """
        return self._pattern.sub(lambda match: self._to[match.group()], text) if self._to else text


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
