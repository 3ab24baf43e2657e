"""Conversations that are too long, made to fit.

It promises that the frame of a prompt survives (roles, turn ends, the generation prompt): text goes only from the
middle of contents, the longest first, and then whole old turns. It knows token counts only through the function given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from kaggle_utils.chat.messages import Conversation, Message

__all__ = ["cut_middle", "fit_conversation"]

_GAP = " ... "
_MAX_CHARACTERS_PER_TOKEN = 16
_LEAST_CHARACTERS = 64


def fit_conversation(
    conversation: Conversation, encode: Callable[[Conversation], Sequence[int]], *, max_tokens: int
) -> list[int]:
    """Return ``encode(conversation)``, or that of the longest shortened conversation within ``max_tokens``.

    Contents longer than a common cap lose their middle; short contents stay whole. Where a cap of 64 characters would
    still be too much, the oldest turns go first, system turns and the last turn staying. Contents over 16 characters
    per allowed token are cut before they are ever tokenised, so that a huge text costs no time.

    Raises:
        ValueError: not even the last turn's frame fits into ``max_tokens``.
    """
    turns = _capped(conversation, _MAX_CHARACTERS_PER_TOKEN * max_tokens)
    ids = list(encode(turns))
    if len(ids) <= max_tokens:
        return ids
    floor = _LEAST_CHARACTERS
    while len(shortest := list(encode(_capped(turns, floor)))) > max_tokens:
        if (shorter := _without_oldest(turns)) is not None:
            turns = shorter
        elif floor:
            floor = 0
        else:
            raise ValueError(
                f"max_prompt_tokens={max_tokens} is too small: a prompt without any content takes "
                f"{len(shortest)} tokens"
            )
    return _longest_fit(turns, encode, max_tokens, floor, shortest)


def _longest_fit(
    turns: Conversation,
    encode: Callable[[Conversation], Sequence[int]],
    max_tokens: int,
    floor: int,
    shortest: list[int],
) -> list[int]:
    """Search the largest cap on the characters of a content by halving; about a dozen encodings."""
    best, low, high = shortest, floor, max(len(turn.content) for turn in turns)
    while low < high:
        middle = (low + high + 1) // 2
        ids = list(encode(_capped(turns, middle)))
        if len(ids) <= max_tokens:
            best, low = ids, middle
        else:
            high = middle - 1
    return best


def cut_middle(text: str, limit: int) -> str:
    """Return at most ``limit`` characters of ``text``: its two ends, with a gap marked between them.

    >>> cut_middle("What is the keyword?", 13), cut_middle("short", 13), cut_middle("abcdef", 4)
    ('What ... ord?', 'short', 'cdef')
    """
    if len(text) <= limit:
        return text
    if limit <= 2 * len(_GAP):
        return text[len(text) - limit :]
    kept = limit - len(_GAP)
    return text[: kept // 2] + _GAP + text[len(text) - (kept - kept // 2) :]


def _capped(conversation: Conversation, limit: int) -> tuple[Message, ...]:
    return tuple(dataclasses.replace(turn, content=cut_middle(turn.content, limit)) for turn in conversation)


def _without_oldest(turns: Conversation) -> tuple[Message, ...] | None:
    """Drop the oldest turn with its reply, so that the roles still take turns; None when only the last is left."""
    first = next((i for i, turn in enumerate(turns[:-1]) if turn.role != "system"), None)
    if first is None:
        return None
    stop = first + 1
    while stop < len(turns) - 1 and turns[stop].role == "assistant":
        stop += 1
    return (*turns[:first], *turns[stop:])
