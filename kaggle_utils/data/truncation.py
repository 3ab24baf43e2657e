"""Rows that are too long, cut on token lists by a named policy; nothing is ever decoded and tokenised again.

A policy gets the pieces of one row in reading order (literals, and the turns of prompt, A and B), a budget and the
marker to put where text was taken out, and returns the runs of tokens to keep; rows that fit go through it too. It
promises never to exceed the budget. It knows nothing of BOS, head, suffix and EOS: the caller has taken their room off
the budget.

==============  ======================================================================================================
name            what is kept of a row that is too long
==============  ======================================================================================================
right           the start of the row, as a plain tokenizer call with ``truncation=True`` keeps (the notebooks)
left            the end of the row
middle          literals; short fields whole, the others lose their middle (marked), equal shares
thirds          literals; the start of each field, a third of the room each, also where others leave room
                (``spread_max_length`` of the notebooks: a field over its third is cut even if the row would fit)
proportional    literals; fields of up to a third of the room whole, the start of the others, shares in proportion to
                their lengths (``distribute_lengths`` of the winner of WSDM)
rounds          the first rounds whole; the round that overflows is cut 20/40/40 between prompt, A and B (marked), or
                dropped where less than 80 tokens are left for it (the first round never is)
==============  ======================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .pairs import FIELDS
from .shares import allocate_budget, allocate_by_length

__all__ = ["TRUNCATION", "Piece", "Runs", "TruncationPolicy", "truncation_policy"]

_LEAST_ROUND = 80
_ROUND_WEIGHTS = (1, 2, 2)  # 20 % prompt, 40 % each answer

Runs = list[np.ndarray]
"""Token ids to keep, int32, in reading order."""


@dataclass(frozen=True, eq=False)
class Piece:
    """The tokens of one part of a row."""

    ids: np.ndarray
    """int32 token ids."""
    field: str | None = None
    """One of ``FIELDS``, or None for a literal."""
    round: int | None = None
    """The turn that it belongs to; None for literals outside all rounds."""


TruncationPolicy = Callable[[Sequence[Piece], int, np.ndarray], Runs]
"""(pieces, budget in tokens, marker ids int32) -> runs of together at most ``budget`` tokens."""


def truncation_policy(policy: str | TruncationPolicy) -> TruncationPolicy:
    """Return a policy by name, or ``policy`` itself when it is a function of your own.

    Raises:
        ValueError: no policy has that name.
    """
    if callable(policy):
        return policy
    if policy not in TRUNCATION:
        raise ValueError(f"no truncation policy {policy!r}; there are {', '.join(TRUNCATION)}")
    return TRUNCATION[policy]


def _right(pieces: Sequence[Piece], budget: int, marker: np.ndarray) -> Runs:
    runs, left = [], budget
    for piece in pieces:
        runs.append(piece.ids[:left])
        left -= len(runs[-1])
        if not left:
            break
    return runs


def _left(pieces: Sequence[Piece], budget: int, marker: np.ndarray) -> Runs:
    runs, left = [], budget
    for piece in reversed(pieces):
        runs.append(piece.ids[max(0, len(piece.ids) - left) :])
        left -= len(runs[-1])
        if not left:
            break
    return runs[::-1]


def _middle(pieces: Sequence[Piece], budget: int, marker: np.ndarray) -> Runs:
    return _by_field(pieces, budget, allocate_budget, lambda ids, keep: _cut_middle(ids, keep, marker))


def _proportional(pieces: Sequence[Piece], budget: int, marker: np.ndarray) -> Runs:
    return _by_field(pieces, budget, allocate_by_length, _cut_end)


def _thirds(pieces: Sequence[Piece], budget: int, marker: np.ndarray) -> Runs:
    return _by_field(pieces, budget, _equal_shares, _cut_end)


def _equal_shares(lengths: Sequence[int], budget: int) -> list[int]:
    each, over = divmod(budget, len(lengths))
    return [min(length, each + (i < over)) for i, length in enumerate(lengths)]


def _by_field(
    pieces: Sequence[Piece],
    budget: int,
    share: Callable[[Sequence[int], int], list[int]],
    cut: Callable[[np.ndarray, int], Runs],
) -> Runs:
    """Keep all literals and cut each field, its turns taken together, to its share of what is left."""
    room = budget - sum(len(piece.ids) for piece in pieces if piece.field is None)
    if room < 0:
        return _right(pieces, budget, pieces[0].ids[:0])
    fields = {field: _joined([piece for piece in pieces if piece.field == field]) for field in FIELDS}
    shares = dict(zip(FIELDS, share([len(ids) for ids in fields.values()], room), strict=True))
    runs: Runs = []
    for piece in pieces:
        if piece.field is None:
            runs.append(piece.ids)
        elif piece.field in fields:  # at the field's first turn; the others are part of it
            runs += cut(fields.pop(piece.field), shares[piece.field])
    return runs


def _rounds(pieces: Sequence[Piece], budget: int, marker: np.ndarray) -> Runs:
    room = budget - sum(len(piece.ids) for piece in pieces if piece.round is None)
    sizes: dict[int, int] = {}
    for piece in pieces:
        if piece.round is not None:
            sizes[piece.round] = sizes.get(piece.round, 0) + len(piece.ids)
    whole, over = set(), None
    for number in sorted(sizes):
        if sizes[number] > room:
            over = number
            break
        room -= sizes[number]
        whole.add(number)
    if over is not None and whole and room < _LEAST_ROUND:
        over = None
    cut = _cut_round([piece for piece in pieces if piece.round == over], room, marker) if over is not None else {}
    if room < 0 or cut is None:  # the literals alone are too much
        return _right(pieces, budget, marker)
    runs: Runs = []
    for piece in pieces:
        if piece.round is None or piece.round in whole or (piece.round == over and piece.field is None):
            runs.append(piece.ids)
        elif piece.round == over:
            runs += cut[piece.field]
    return runs


def _cut_round(pieces: Sequence[Piece], room: int, marker: np.ndarray) -> dict[str | None, Runs] | None:
    """Field -> what is kept of its turn in this round; None when the round's literals alone do not fit."""
    room -= sum(len(piece.ids) for piece in pieces if piece.field is None)
    if room < 0:
        return None
    turns = {field: _joined([piece for piece in pieces if piece.field == field]) for field in FIELDS}
    shares = allocate_budget([len(ids) for ids in turns.values()], room, weights=_ROUND_WEIGHTS)
    return {field: _cut_marked(ids, keep, marker) for (field, ids), keep in zip(turns.items(), shares, strict=True)}


def _joined(pieces: Sequence[Piece]) -> np.ndarray:
    return np.concatenate([piece.ids for piece in pieces]) if pieces else np.empty(0, dtype=np.int32)


def _cut_end(ids: np.ndarray, keep: int) -> Runs:
    return [ids[:keep]]


def _cut_marked(ids: np.ndarray, keep: int, marker: np.ndarray) -> Runs:
    if len(ids) <= keep or keep <= len(marker):
        return [ids[:keep]]
    return [ids[: keep - len(marker)], marker]


def _cut_middle(ids: np.ndarray, keep: int, marker: np.ndarray) -> Runs:
    if len(ids) <= keep or keep <= len(marker) + 1:
        return [ids[:keep]]
    text = keep - len(marker)
    return [ids[: text - text // 2], marker, ids[len(ids) - text // 2 :]]


TRUNCATION: Mapping[str, TruncationPolicy] = MappingProxyType(
    {
        "right": _right,
        "left": _left,
        "middle": _middle,
        "thirds": _thirds,
        "proportional": _proportional,
        "rounds": _rounds,
    }
)
"""The policies by name; see the table above."""
