"""Many texts as one array of code points, so that a batch costs a few numpy steps instead of a loop over characters.

It knows where every text begins and which row it is from, and nothing of what is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .characters import ODD

__all__ = ["TextBatch"]


@dataclass(frozen=True)
class TextBatch:
    """Texts of several rows, in order; all stages look at one of these."""

    texts: Sequence[str]
    """The texts, row after row."""
    rows: np.ndarray
    """Row of each text, int64 [T], rising."""
    fields: Sequence[str]
    """Field of each text, such as "answer" or "messages.1.content"."""
    table: np.ndarray = field(repr=False)
    """Flags of every code point (see :mod:`.characters`)."""

    @cached_property
    def joined(self) -> str:
        """All texts, a line feed after each."""
        return "".join([f"{text}\n" for text in self.texts])

    @cached_property
    def codes(self) -> np.ndarray:
        """Code points of :attr:`joined`, uint32 [C]."""
        return np.frombuffer(self.joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)

    @cached_property
    def kinds(self) -> np.ndarray:
        """Flags of :attr:`codes`, uint16 [C]."""
        return self.table[self.codes]

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each text begins in :attr:`joined`, and the end of all: int64 [T + 1]."""
        lengths = np.fromiter(map(len, self.texts), dtype=np.int64, count=len(self.texts))
        return np.concatenate([[0], np.cumsum(lengths + 1)])

    @cached_property
    def _odd(self) -> np.ndarray:
        """Positions with a flag that few characters have; all stages that ask for one look at these only."""
        return np.flatnonzero(self.kinds & ODD)

    def text_of(self, positions: np.ndarray) -> np.ndarray:
        """Index of the text that holds each position, int64."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def first_with(self, flag: int) -> dict[int, int]:
        """Text -> position of its first character that has ``flag`` (some of ODD); texts without one are left out."""
        positions = self._odd[(self.kinds[self._odd] & flag) > 0]
        texts, first = np.unique(self.text_of(positions), return_index=True)
        return dict(zip(texts.tolist(), positions[first].tolist(), strict=True))

    def around(self, position: int, *, margin: int = 20) -> str:
        """What stands around a position, within its text."""
        text = int(self.text_of(np.asarray(position)))
        low, high = int(self.starts[text]), int(self.starts[text + 1]) - 1
        return self.joined[max(low, position - margin) : min(high, position + margin + 1)]
