"""Which texts of a list a growing reply is about to complete, byte by byte.

The automaton of Aho and Corasick (1975) over the texts' UTF-8: its state is the longest end of the reply that begins
one of them, so what comes next needs no look back, however the reply was split into tokens (one token, several, or
single bytes of a character). UTF-8 finds a text's bytes only where the text itself stands. It knows no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["ByteAutomaton", "Vocabulary"]


class Vocabulary:
    """The bytes of all tokens, laid out column by column: longest token first."""

    def __init__(self, pieces: Sequence[bytes], *, size: int | None = None) -> None:
        """``pieces`` are bytes by id; ids up to ``size`` (a model's padded vocabulary) without any add nothing."""
        self.size = max(len(pieces), size or 0)
        self.pieces = [*pieces, *[b""] * (self.size - len(pieces))]
        lengths = np.array([len(piece) for piece in self.pieces])
        self.order = np.argsort(-lengths, kind="stable")
        counts = (np.sort(lengths)[::-1][None] > np.arange(lengths.max(initial=0))[:, None]).sum(axis=1)
        self.columns = [
            np.fromiter((self.pieces[i][j] for i in self.order[:count]), np.uint8, count)
            for j, count in enumerate(counts)
        ]


class ByteAutomaton:
    """Follows a reply and says whether it holds one of ``texts``.

    >>> automaton = ByteAutomaton(["##", "ab"])
    >>> state = automaton.after(automaton.start, b"x#")
    >>> automaton.holds(state), automaton.holds(automaton.after(state, b"#"))
    (False, True)
    """

    start = 0

    def __init__(self, texts: Sequence[str]) -> None:
        """Build the table, int32 [states, 256]; states are at most one more than all bytes of ``texts``."""
        children, ends = _trie([text.encode() for text in texts])
        fallback = [0] * len(children)
        self.table = np.zeros((len(children), 256), np.int32)
        queue = [0]
        for state in queue:
            self.table[state] = self.table[fallback[state]] if state else 0
            for byte, child in children[state].items():
                if state:
                    fallback[child] = int(self.table[fallback[state], byte])
                    ends[child] |= ends[fallback[child]]
                self.table[state, byte] = child
                queue.append(child)
        self.ends = np.array(ends)
        self.table[self.ends] = np.flatnonzero(self.ends)[:, None]  # once found, found

    def after(self, state: int, piece: bytes) -> int:
        """Return the state after ``piece``."""
        for byte in piece:
            state = int(self.table[state, byte])
        return state

    def holds(self, state: int) -> bool:
        """Whether one of the texts was seen."""
        return bool(self.ends[state])

    def completing(self, state: int, vocabulary: Vocabulary) -> np.ndarray:
        """Return which tokens would complete a text from ``state``: bool [vocabulary].

        One table look-up for each byte of the vocabulary: some 10 ms for 256,000 tokens, so keep the result.
        """
        states = np.full(vocabulary.size, state, np.int32)
        for column in vocabulary.columns:
            states[: len(column)] = self.table[states[: len(column)], column]
        completing = np.zeros(vocabulary.size, bool)
        completing[vocabulary.order] = self.ends[states]
        return completing


def _trie(texts: Sequence[bytes]) -> tuple[list[dict[int, int]], list[bool]]:
    children: list[dict[int, int]] = [{}]
    ends = [False]
    for text in texts:
        state = 0
        for byte in text:
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
                ends.append(False)
            state = children[state][byte]
        ends[state] = True
    return children, ends
