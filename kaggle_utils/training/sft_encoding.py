"""One conversation as token ids, and which of them are learnt.

It promises that a prompt has the ids that generation will give it, that a response is encoded as it continues that
prompt, and that it ends with the token that ends a turn (EOS where the template has none), which is learnt too. The
first token of a row (BOS, where the family has one) is never a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kaggle_utils.chat.messages import Conversation
from kaggle_utils.chat.token_ids import Segment, encode_segments
from kaggle_utils.training.sft_packing import IGNORED

__all__ = ["cut_prompt", "encode_conversation"]

_Chunk = tuple[list[Segment], bool]
"""Pieces of a prompt (False) or of a response (True)."""


def encode_conversation(
    conversation: Conversation, template: Any, tokenizer: Any, *, response_only: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and labels, int32 [length] each, of a conversation whose last turn is the assistant's.

    All assistant turns are learnt where the template writes a longer conversation as a continuation of a shorter one;
    where it does not (it drops or changes earlier turns), the last one is.

    Raises:
        ValueError: turns that the template refuses, or control tokens that the tokenizer lacks.
    """
    chunks = _chunks(conversation, template, tokenizer)
    control = {piece.text for pieces, _ in chunks for piece in pieces if piece.control} | set(template.end_of_turn)
    ids: list[int] = []
    labels: list[int] = []
    for pieces, learnt in chunks:
        found = encode_segments(pieces, tokenizer, name=template.name, control=control)
        ids += found
        labels += found if learnt or not response_only else [IGNORED] * len(found)
    labels[0] = IGNORED
    return np.array(ids, dtype=np.int32), np.array(labels, dtype=np.int32)


def cut_prompt(
    ids: np.ndarray, labels: np.ndarray, learnt: np.ndarray, *, size: int, control: Sequence[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Shorten a row to ``size`` tokens in the middle of the longest text of its prompts; None where that is too short.

    Args:
        ids: int32 [length].
        labels: int32 [length].
        learnt: bool [length]: tokens of responses, which stay.
        size: tokens to keep.
        control: ids that stay: they are the frame of the turns.

    >>> row, mask = np.arange(10), np.arange(10) > 6
    >>> cut_prompt(row, row, mask, size=8, control=[0, 6])[0].tolist()
    [0, 1, 4, 5, 6, 7, 8, 9]
    """
    excess = len(ids) - size
    free = ~learnt & ~np.isin(ids, np.asarray(list(control), dtype=np.int64))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    if not len(edges):
        return None
    start, stop = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
    if stop - start <= excess:
        return None
    first = start + (stop - start - excess) // 2
    kept = np.r_[0:first, first + excess : len(ids)]
    return ids[kept], labels[kept]


def _chunks(conversation: Conversation, template: Any, tokenizer: Any) -> list[_Chunk]:
    turns = [number for number, turn in enumerate(conversation) if turn.role == "assistant"]
    if len(turns) > 1 and (all_turns := _all_turns(conversation, turns, template)):
        return all_turns
    before, response, _, _ = _turn(conversation, turns[-1], template)
    if not response[-1].control:
        response = [*response, Segment(tokenizer.eos_token or template.end_of_turn[0], control=True)]
    return [(before, False), (response, True)]


def _all_turns(conversation: Conversation, turns: Sequence[int], template: Any) -> list[_Chunk] | None:
    """Prompt and response of every turn; None where one does not continue the other."""
    chunks: list[_Chunk] = []
    so_far: list[Segment] = []
    for number in turns:
        before, response, so_far_then, continues = _turn(conversation, number, template)
        new = _after(before, so_far)
        if new is None or not continues or not response[-1].control:
            return None
        chunks += [(new, False), (response, True)]
        so_far = so_far_then
    return chunks


def _turn(
    conversation: Conversation, number: int, template: Any
) -> tuple[list[Segment], list[Segment], list[Segment], bool]:
    """The prompt of a turn, its response, both as the template writes them, and whether they belong together."""
    content = conversation[number].content
    before = template.segments(conversation[:number], add_generation_prompt=True)
    written = template.segments(conversation[: number + 1], add_generation_prompt=False)
    rest = _after(written, before) or []
    text = rest[0].text if rest and not rest[0].control else ""
    spelled = next((form for form in (content, content.strip()) if text.startswith(form)), None)
    ends = [Segment(template.end_of_turn[0], control=True)] if template.end_of_turn else []
    if spelled is None:  # the template changed the response or the frame: write it as generation would
        return before, [Segment(content.strip(), control=False), *ends], [], False
    gap, following = text[len(spelled) :], rest[1:] if text else rest
    if following and not gap.strip() and following[0].control and following[0].text in template.end_of_turn:
        response = [Segment(spelled + gap, control=False), following[0]]
        return before, response, written[: len(written) - len(following) + 1], True
    return before, [Segment(spelled, control=False)], [], False  # no token ends the turn here: EOS will


def _after(whole: Sequence[Segment], start: Sequence[Segment]) -> list[Segment] | None:
    """What stands in ``whole`` behind ``start``; None where it does not begin so.

    >>> _after([Segment("ab", False), Segment("<eos>", True)], [Segment("a", False)])
    [Segment(text='b', control=False), Segment(text='<eos>', control=True)]
    """
    for number, piece in enumerate(start):
        if number >= len(whole):
            return None
        found = whole[number]
        if found == piece:
            continue
        if number < len(start) - 1 or piece.control or found.control or not found.text.startswith(piece.text):
            return None
        return [Segment(found.text[len(piece.text) :], control=False), *whole[number + 1 :]]
    return list(whole[len(start) :])
