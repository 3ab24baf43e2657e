"""Many conversations that share a frame, to token ids at once.

It promises exactly the ids of ``template.encode``, only sooner: what the template writes around the last turn is worked
out once, and the texts go through the tokenizer together. Whatever is unusual (control spellings in a content, a
template that changes it) takes the template's own way.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaggle_utils.chat.control_text import control_pattern
from kaggle_utils.chat.messages import Conversation, Message, as_conversation
from kaggle_utils.chat.token_ids import control_id, control_strings

__all__ = ["BatchEncoder"]

_FRAMES_KEPT = 1024


@dataclass(frozen=True)
class _Frame:
    """What stands before and after the content of the last turn, and the control ids in both."""

    before: str
    after: str
    control: tuple[int, ...]


class BatchEncoder:
    """Encode conversations in batches; the last turn's content is what differs between them."""

    def __init__(self, template: Any, tokenizer: Any) -> None:
        """Take a chat template (``segments`` and ``encode``) and its tokenizer."""
        self._template, self._tokenizer = template, tokenizer
        texts = control_strings(tokenizer, getattr(template, "end_of_turn", ()))
        self._pattern = control_pattern(texts)
        self._ids = frozenset(number for text in texts if (number := control_id(text, tokenizer)) is not None)
        self._frames: dict[tuple[Any, ...], _Frame | None] = {}

    def encode(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        """Return the ids of each conversation, in order; costs one call of the tokenizer and O(characters).

        Raises:
            ValueError: a conversation that the template cannot write.
        """
        turns = [as_conversation(conversation) for conversation in conversations]
        frames = [self._frame(conversation) for conversation in turns]
        texts = [
            frame.before + conversation[-1].content + frame.after
            for conversation, frame in zip(turns, frames, strict=True)
            if frame is not None
        ]
        batch = iter(self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
        rows = [None if frame is None else list(next(batch)) for frame in frames]
        return [
            row
            if row is not None and frame is not None and self._as_written(row, frame)
            else self._slowly(conversation)
            for row, frame, conversation in zip(rows, frames, turns, strict=True)
        ]

    def _as_written(self, row: list[int], frame: _Frame) -> bool:
        """Whether the control tokens are the frame's: a tokenizer may make one out of a content."""
        return tuple(number for number in row if number in self._ids) == frame.control

    def _slowly(self, conversation: Conversation) -> list[int]:
        return list(self._template.encode(conversation, self._tokenizer))

    def _frame(self, conversation: tuple[Message, ...]) -> _Frame | None:
        """The frame of a conversation; None where only the template itself can be trusted with it."""
        content = conversation[-1].content if conversation else ""
        if not content or content != content.strip() or self._pattern.search(content):
            return None
        key = (*((turn.role, turn.content) for turn in conversation[:-1]), conversation[-1].role)
        if key not in self._frames:
            if len(self._frames) >= _FRAMES_KEPT:
                self._frames.clear()
            self._frames[key] = self._learned(conversation)
        return self._frames[key]

    def _learned(self, conversation: tuple[Message, ...]) -> _Frame | None:
        """Write the conversation with a mark for its last content, and see whether the mark can be replaced."""
        last, mark = conversation[-1], f"mark{secrets.token_hex(8)}"
        pieces = self._template.segments([*conversation[:-1], Message(last.role, mark)])
        before, found, after = "".join(piece.text for piece in pieces).partition(mark)
        plain = [piece.text for piece in pieces if not piece.control]
        numbers = [control_id(piece.text, self._tokenizer) for piece in pieces if piece.control]
        if not found or mark in after or None in numbers or any(map(self._pattern.search, plain)):
            return None
        frame = _Frame(before, after, tuple(number for number in numbers if number in self._ids))
        whole = self._tokenizer(before + last.content + after, add_special_tokens=False)["input_ids"]
        return frame if list(whole) == self._slowly(conversation) else None
