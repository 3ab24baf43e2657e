"""Pairs to token rows: ``[bos] + head + prompt + A + B + suffix + [eos]``, within ``max_length``.

It promises that BOS, head, suffix and EOS are in every row exactly once and never cut, that no row is empty or too
long, and that the token to pool is the last one, wherever pad or EOS ids may stand in the text. It knows nothing of
models or devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from .pairs import Pair
from .prompt_style import PromptStyle, prompt_style
from .text_pieces import PieceEncoder
from .truncation import Piece, TruncationPolicy, truncation_policy

__all__ = ["PairTokenizer", "TokenRows"]

_ROWS_A_CALL = 512
_NEEDS_FIELD_LAYOUT = ("middle", "thirds", "proportional")


@dataclass(frozen=True, eq=False)
class TokenRows:
    """N rows of token ids, none of them empty."""

    ids: list[np.ndarray]
    """int32, one array a row."""
    lengths: np.ndarray
    """int64 [N]. The token to pool is at ``lengths - 1``."""
    full_lengths: np.ndarray | None = None
    """int64 [N]: the lengths that uncut rows would have; None where unknown."""

    @classmethod
    def of(cls, ids: Iterable[Sequence[int] | np.ndarray]) -> TokenRows:
        """Build rows from any sequences of ids.

        >>> TokenRows.of([[5, 6], [7]]).lengths.tolist()
        [2, 1]
        """
        arrays = [np.asarray(row, dtype=np.int32) for row in ids]
        return cls(arrays, np.array([len(row) for row in arrays], dtype=np.int64))

    @classmethod
    def join(cls, parts: Iterable[TokenRows]) -> TokenRows:
        """Put the parts of ``PairTokenizer.iter_encode`` behind each other."""
        parts = list(parts)
        known = [part.full_lengths for part in parts if part.full_lengths is not None]
        empty = np.empty(0, dtype=np.int64)
        return cls(
            [row for part in parts for row in part.ids],
            np.concatenate([empty, *(part.lengths for part in parts)]),
            np.concatenate([empty, *known]) if len(known) == len(parts) else None,
        )

    def __len__(self) -> int:
        return len(self.ids)


class PairTokenizer:
    """Lays pairs out in a prompt style and turns them into token rows.

    Args:
        tokenizer: a fast tokenizer of transformers. Its own BOS, EOS, truncation and padding settings are not used.
        style: a name of ``PROMPT_STYLES``, a ``PromptStyle``, or a mapping of its fields.
        max_length: tokens a row may have, BOS and EOS included.
        truncation: a name of ``TRUNCATION`` or a policy of your own.
        bos: True for the tokenizer's BOS (else its CLS), False for none, or a token id.
        eos: the same with EOS (else SEP).
        marker: the text put where "middle" and "rounds" take text out; "" for none.

    Raises:
        ValueError: contradicting settings, all of them.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        style: str | PromptStyle | Mapping[str, Any],
        max_length: int,
        truncation: str | TruncationPolicy = "right",
        bos: bool | int = True,
        eos: bool | int = True,
        marker: str = "......",
    ) -> None:
        self.style = prompt_style(style)
        self.max_length = max_length
        self._policy = truncation_policy(truncation)
        named = isinstance(truncation, str)
        self.truncation = truncation if named else getattr(truncation, "__qualname__", repr(truncation))
        self._encoder = PieceEncoder(tokenizer)
        self.bos_id = _end_id(bos, tokenizer, "bos", "cls")
        self.eos_id = _end_id(eos, tokenizer, "eos", "sep")
        self.marker = marker
        self._marker = self._encoder.plain(marker) if marker else np.empty(0, dtype=np.int32)
        self._start = np.concatenate([_one(self.bos_id), self._encoder.literal(self.style.head)])
        self._end = np.concatenate([self._encoder.literal(self.style.suffix), _one(self.eos_id)])
        self._check()

    def settings(self) -> dict[str, Any]:
        """Return what decides the ids besides the tokenizer and the texts, fit for JSON and fingerprints."""
        names = ("max_length", "truncation", "bos_id", "eos_id", "marker")
        return {"style": dict(vars(self.style)), **{name: getattr(self, name) for name in names}}

    def encode(self, pairs: Sequence[Pair], *, swapped: bool = False, progress: bool = True) -> TokenRows:
        """Return the rows of ``pairs`` in order; with ``swapped`` the answers change places.

        Rows go to the tokenizer a few hundred at a time, and it works on all cores. A bar shows after 2 s.
        """
        parts = []
        with tqdm(total=len(pairs), desc="tokenize", unit="row", delay=2, disable=not progress) as bar:
            for part in self.iter_encode(pairs, chunk=_ROWS_A_CALL, swapped=swapped):
                parts.append(part)
                bar.update(len(part))
        return TokenRows.join(parts)

    def iter_encode(
        self, pairs: Iterable[Pair], *, chunk: int = _ROWS_A_CALL, swapped: bool = False
    ) -> Iterator[TokenRows]:
        """Yield the rows of ``pairs``, ``chunk`` at a time, in order; the next chunk is made in a thread meanwhile.

        The tokenizer does not hold Python's lock, so a caller that feeds a GPU waits for the first chunk only.
        """
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}; expected at least 1 row")
        return self._iter(iter(pairs), chunk, swapped)

    def _iter(self, pairs: Iterator[Pair], chunk: int, swapped: bool) -> Iterator[TokenRows]:
        with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as pool:
            ahead = None
            while group := list(islice(pairs, chunk)):
                current, ahead = ahead, pool.submit(self._encode, group, swapped)
                if current is not None:
                    yield current.result()
            if ahead is not None:
                yield ahead.result()

    def _encode(self, pairs: Sequence[Pair], swapped: bool) -> TokenRows:
        laid_out = [self.style.parts(pair.swapped() if swapped else pair) for pair in pairs]
        rows = self._encoder.encode(laid_out)
        frame = len(self._start) + len(self._end)
        full = [frame + sum(len(piece.ids) for piece in row) for row in rows]
        ids = [self._assemble(row) for row in rows]
        return TokenRows(ids, np.array([len(row) for row in ids], dtype=np.int64), np.array(full, dtype=np.int64))

    def _assemble(self, pieces: Sequence[Piece]) -> np.ndarray:
        budget = self.max_length - len(self._start) - len(self._end)
        row = np.concatenate([self._start, *self._policy(pieces, budget, self._marker), self._end])
        if not 0 < len(row) <= self.max_length:
            raise ValueError(f"truncation {self.truncation!r} left {len(row)} tokens, expected 1 to {self.max_length}")
        return row

    def _check(self) -> None:
        problems = []
        frame = len(self._start) + len(self._end)
        if self.style.by_round and self.truncation in _NEEDS_FIELD_LAYOUT:
            problems.append(f'a style by rounds cannot be cut by {self.truncation!r}; use "rounds", "right" or "left"')
        literals = [] if self.style.by_round else self._encoder.encode([self.style.parts(Pair(0, (), (), ()))])[0]
        fixed = sum(len(piece.ids) for piece in literals)
        if not frame + fixed:
            problems.append("a row of empty texts would have no token to pool; add BOS, EOS or a text to the style")
        kept = frame if self.truncation in ("right", "left") else frame + fixed
        if self.max_length <= kept:
            problems.append(
                f"max_length is {self.max_length}, and BOS, EOS and the texts of style {self.style.name!r} alone "
                f"take {kept} tokens"
            )
        if problems:
            raise ValueError("; ".join(problems))


def _one(token: int | None) -> np.ndarray:
    return np.array([] if token is None else [token], dtype=np.int32)


def _end_id(wanted: bool | int, tokenizer: Any, name: str, other: str) -> int | None:
    if wanted is False:
        return None
    if wanted is not True:
        return int(wanted)
    for kind in (name, other):
        found = getattr(tokenizer, f"{kind}_token_id", None)
        if found is not None:
            return int(found)
    raise ValueError(f"the tokenizer has no {name.upper()} token; give its id as {name}=<id>, or {name}=False for none")
