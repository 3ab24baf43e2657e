"""Strings that a reply must not contain, however they would be tokenised.

It promises that the decoded reply holds none of them. Lists of token ids (``bad_words_ids``) ban one spelling of a
string; the same text can be written by other tokens, by longer tokens that hold it, or by single bytes of its
characters. Here a token is banned, before it is chosen, where it would complete a string in the text decoded so far:
the state of a :class:`kaggle_utils.inference.byte_automaton.ByteAutomaton` a row, and a table of banned tokens a state,
made when the state is first met (some 10 ms and, on the device, a byte a token) and then looked up. A step then costs
one masked fill, about what reading the logits costs.

Some tokenizers' decoded text is not the joined bytes of tokens (WordPiece's spaces, say). There the 64 likeliest tokens
are decoded behind the reply before one is chosen, which is the same as backing up but needs no second forward; only
those that pass stay. It costs about a millisecond a row and step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.inference.byte_automaton import ByteAutomaton, Vocabulary
from kaggle_utils.inference.token_bytes import TokenBytes

if TYPE_CHECKING:
    import torch

__all__ = ["ForbiddenStrings", "ForbiddingProcessor"]

_LOOKED_AT = 64


class ForbiddenStrings:
    """Tables for one tokenizer and one list of strings; rows keep their own state, an int that starts at 0."""

    def __init__(self, tokenizer: Any, tokens: TokenBytes, strings: Sequence[str]) -> None:
        self.tokenizer, self.tokens, self.strings = tokenizer, tokens, tuple(strings)
        self.automaton = ByteAutomaton(self.strings)
        self._vocabulary: Vocabulary | None = None
        self._rows: dict[int, int] = {}
        self._masks: Any = None
        # A token is at least one byte and a character at most four.
        self._window = 4 * max(map(len, self.strings), default=0) + 8

    def after(self, state: int, token: int) -> int:
        """Return a row's state after ``token``."""
        pieces = self.tokens.pieces
        return self.automaton.after(state, pieces[token]) if token < len(pieces) else state

    def forbid(self, logits: torch.Tensor, states: Sequence[int], replies: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return logits [rows, vocabulary] with -inf where a token would complete a string; changed in place.

        Args:
            states: of each row, after its reply.
            replies: the rows' new tokens so far, which are only read where tokens' bytes are not the text.
        """
        if not self.strings:
            return logits
        if not self.tokens.exact:
            for row, reply in zip(logits, replies, strict=True):
                self._look_ahead(row, list(reply)[-self._window :])
            return logits
        for state in sorted(set(states) - self._rows.keys()):
            self._add(state, logits)
        torch = require("torch", extra="llm")
        chosen = torch.tensor([self._rows[state] for state in states], device=logits.device)
        if self._masks.device != logits.device:
            self._masks = self._masks.to(logits.device)
        return logits.masked_fill_(self._masks[chosen], float("-inf"))

    def _add(self, state: int, logits: torch.Tensor) -> None:
        torch = require("torch", extra="llm")
        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self.tokens.pieces, size=logits.shape[-1])
        banned = self.automaton.completing(state, self._vocabulary)[: logits.shape[-1]]
        mask = torch.from_numpy(banned)[None].to(logits.device)
        self._masks = mask if self._masks is None else torch.cat([self._masks.to(logits.device), mask])
        self._rows[state] = len(self._rows)

    def _look_ahead(self, scores: torch.Tensor, tail: list[int]) -> None:
        """Leave only tokens that were tried: the likeliest 64, or more where all of those complete a string."""
        torch = require("torch", extra="llm")
        count = _LOOKED_AT
        while True:
            values, ids = scores.topk(min(count, scores.shape[-1]))
            texts = self.tokenizer.batch_decode([[*tail, i] for i in ids.tolist()], skip_special_tokens=True)
            good = torch.tensor([not any(s in text for s in self.strings) for text in texts], device=scores.device)
            if good.any() or count >= scores.shape[-1]:
                break
            count *= 8
        scores.fill_(float("-inf"))
        scores[ids[good]] = values[good]


class ForbiddingProcessor:
    """The same for ``model.generate``, as one of its logits processors; for one call."""

    def __init__(self, forbidden: ForbiddenStrings, *, prompt_width: int) -> None:
        self.forbidden, self.prompt_width = forbidden, prompt_width
        self._states: list[int] = []
        self._read = prompt_width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask scores [rows, vocabulary]; ``input_ids`` is int64 [rows, tokens so far]."""
        replies = input_ids[:, self.prompt_width :].tolist()
        self._states = self._states or [0] * len(replies)
        for column in range(self._read - self.prompt_width, input_ids.shape[1] - self.prompt_width):
            self._states = [
                self.forbidden.after(s, reply[column]) for s, reply in zip(self._states, replies, strict=True)
            ]
        self._read = input_ids.shape[1]
        return self.forbidden.forbid(scores.clone(), self._states, replies)
