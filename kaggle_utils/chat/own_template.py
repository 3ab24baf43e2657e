"""The chat template that a tokenizer brings along, made safe for hostile text.

It promises the text and ids of ``apply_chat_template`` for harmless conversations. Control spellings inside contents
are hidden behind random placeholders while the template runs, so that neither the template nor the tokenizer can take
them for control. It does not know which model family it serves.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kaggle_utils._optional import require

from .control_text import KNOWN_CONTROL, control_pattern, defuse
from .messages import Conversation, Message, as_conversation, assistant, fold_system, user
from .token_ids import Segment, control_id, control_strings, encode_segments, merge_plain

__all__ = ["TokenizerTemplate"]


@dataclass(frozen=True, eq=False)
class TokenizerTemplate:
    """A tokenizer's own template behind the methods of ``ChatTemplate``; take it from ``tokenizer_template``."""

    tokenizer: Any
    """A transformers tokenizer with a chat template."""
    name: str = "tokenizer"
    """What ``template_for`` knows it by."""

    def segments(self, conversation: str | Conversation, *, add_generation_prompt: bool = True) -> list[Segment]:
        """Return the prompt in pieces, control tokens apart from text, neighbouring text joined.

        Raises:
            ValueError: the template refuses the conversation, even with the system turn folded.
        """
        written, hidden = self._written(as_conversation(conversation), add_generation_prompt)
        pieces: list[Segment] = []
        for number, text in enumerate(hidden.split(written)):
            if number % 2:  # what a placeholder stood for
                found = hidden.texts[int(text)]
                pieces.append(Segment(defuse(found, [found]) if found in self._text_marks else found, control=False))
            else:
                pieces.extend(self._pieces(text))
        return merge_plain(pieces)

    def render(self, conversation: str | Conversation, *, add_generation_prompt: bool = True) -> str:
        """Return the prompt as text; control strings inside contents are broken by a space."""
        written, hidden = self._written(as_conversation(conversation), add_generation_prompt)
        parts = hidden.split(written)
        parts[1::2] = [defuse(hidden.texts[int(number)], self._tokens) for number in parts[1::2]]
        return "".join(parts)

    def encode(
        self, conversation: str | Conversation, tokenizer: Any = None, *, add_generation_prompt: bool = True
    ) -> list[int]:
        """Return the prompt's token ids, complete; ``tokenizer`` defaults to the template's own."""
        pieces = self.segments(conversation, add_generation_prompt=add_generation_prompt)
        used = self.tokenizer if tokenizer is None else tokenizer
        return encode_segments(pieces, used, name=self.name, control=self._tokens)

    @cached_property
    def end_of_turn(self) -> tuple[str, ...]:
        """Control strings that end a model's turn: what the template writes after one, then the EOS token."""
        mark = f"reply{secrets.token_hex(8)}"
        found: list[str] = []
        try:
            pieces = self.segments([user("a"), assistant(mark), user("b")], add_generation_prompt=False)
        except ValueError:  # a template for single turns
            pieces = []
        for number, piece in enumerate(pieces):
            if mark in piece.text:
                found += [following.text for following in pieces[number + 1 :] if following.control][:1]
        eos = self.tokenizer.eos_token
        return tuple(dict.fromkeys([*found, *([eos] if eos else [])]))

    @cached_property
    def _source(self) -> str:
        source = self.tokenizer.chat_template
        return source if isinstance(source, str) else "\n".join(map(str, source.values()))

    @cached_property
    def _tokens(self) -> frozenset[str]:
        """Spellings that are control here: special tokens, and added tokens that the template writes."""
        added = [token.content for token in self.tokenizer.added_tokens_decoder.values()]
        written = {text for text in added if len(text.strip()) > 2 and text in self._source}
        return control_strings(self.tokenizer, written)

    @cached_property
    def _text_marks(self) -> frozenset[str]:
        """Control spellings in the template that are ordinary text to the tokenizer ("[INST]" of older models)."""
        marks = set(KNOWN_CONTROL.findall(self._source)) - self._tokens
        return frozenset(mark for mark in marks if control_id(mark, self.tokenizer) is None)

    def _pieces(self, text: str) -> list[Segment]:
        """Split what the template itself wrote into control tokens and text."""
        pieces, end = [], 0
        for match in control_pattern(self._tokens).finditer(text):
            if match[0] in self._tokens and control_id(match[0], self.tokenizer) is not None:
                pieces += [Segment(text[end : match.start()], control=False), Segment(match[0], control=True)]
                end = match.end()
        return [*pieces, Segment(text[end:], control=False)]

    def _written(self, turns: tuple[Message, ...], add_generation_prompt: bool) -> tuple[str, _Hidden]:
        """Run the template; where it refuses a system turn, or drops its text, fold that turn and run it again."""
        hidden = _Hidden(control_pattern(self._tokens))
        masked = [Message(turn.role, hidden.hide(turn.content)) for turn in turns]
        rules = [turn.content.strip() for turn in masked if turn.role == "system"]
        complaint = ""
        for attempt in (masked, fold_system(masked)) if rules else (masked,):
            try:
                text = self._apply(attempt, add_generation_prompt)
            except require("jinja2", extra="llm").exceptions.TemplateError as error:
                complaint = complaint or str(error)
                continue
            if attempt is not masked or all(rule in text for rule in rules):
                return text, hidden
        raise ValueError(
            f"the tokenizer's own chat template refuses the roles {', '.join(turn.role for turn in turns)}"
            f"{f' ({complaint})' if complaint else ''}; most want user and assistant in turns, beginning with user "
            "(system turns are folded where they must be)"
        )

    def _apply(self, turns: Sequence[Message], add_generation_prompt: bool) -> str:
        plain = [{"role": turn.role, "content": turn.content} for turn in turns]
        return self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=add_generation_prompt)


class _Hidden:
    """Control spellings taken out of contents, and the placeholders that stand for them."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.texts: list[str] = []
        self._pattern = pattern
        self._nonce = secrets.token_hex(8)  # nobody can write it in advance

    def hide(self, text: str) -> str:
        return self._pattern.sub(self._placeholder, text)

    def split(self, text: str) -> list[str]:
        """Split at the placeholders: text, number, text, number, ..., text."""
        return re.split(f"\ue000{self._nonce}:([0-9]+)\ue001", text)

    def _placeholder(self, match: re.Match[str]) -> str:
        self.texts.append(match[0])
        return f"\ue000{self._nonce}:{len(self.texts) - 1}\ue001"
