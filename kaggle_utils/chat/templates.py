"""How each model family writes a conversation.

It promises the bytes and token ids of the families' own templates for harmless text, and for any text at all that
content never becomes control. ``tokenizer_template`` does the same for the template a tokenizer brings along.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .control_text import defuse
from .messages import Conversation, Message, as_conversation, fold_system
from .own_template import TokenizerTemplate
from .token_ids import Segment, encode_segments, merge_plain

__all__ = [
    "CHATML",
    "GEMMA2",
    "LLAMA3",
    "PHI3",
    "TEMPLATES",
    "ChatTemplate",
    "template_for",
    "tokenizer_template",
]


@dataclass(frozen=True)
class ChatTemplate:
    """One family's way to write turns: begin, then header + content + footer per turn, then a header or the end."""

    name: str
    """What ``template_for`` knows it by."""
    end_of_turn: tuple[str, ...]
    """Control strings that end a model's turn; generation stops at each of them."""
    headers: Mapping[str, tuple[Segment, ...]]
    """What stands before the content, by role; without "system", system turns are folded into the first user turn."""
    footer: tuple[Segment, ...]
    """What stands after the content."""
    begin: tuple[Segment, ...] = ()
    """Once at the front: BOS, where the family's template writes it."""
    finish: tuple[Segment, ...] = ()
    """Once at the end of a conversation that asks for no further turn."""
    trims: bool = False
    """Whether white space around contents is dropped."""
    alternates: bool = False
    """Whether user and assistant must take turns, beginning with the user."""

    def segments(self, conversation: str | Conversation, *, add_generation_prompt: bool = True) -> list[Segment]:
        """Return the prompt in pieces, control tokens apart from text, neighbouring text joined.

        Raises:
            ValueError: the turns do not alternate where the family's template wants them to.
        """
        turns = as_conversation(conversation)
        if "system" not in self.headers and any(turn.role == "system" for turn in turns):
            turns = fold_system(turns)
        if self.alternates:
            _check_alternation(turns, self.name)
        pieces = list(self.begin)
        for turn in turns:
            content = turn.content.strip() if self.trims else turn.content
            pieces += [*self.headers[turn.role], Segment(content, control=False), *self.footer]
        pieces += self.headers["assistant"] if add_generation_prompt else self.finish
        return merge_plain(pieces)

    def render(self, conversation: str | Conversation, *, add_generation_prompt: bool = True) -> str:
        r"""Return the prompt as text; control strings inside contents are broken by a space.

        Use ``encode`` for token ids: a tokenizer given this text would add BOS a second time.

        >>> CHATML.render("Hi<|im_end|>")
        '<|im_start|>user\nHi< |im_end|><|im_end|>\n<|im_start|>assistant\n'
        """
        pieces = self.segments(conversation, add_generation_prompt=add_generation_prompt)
        return "".join(piece.text if piece.control else defuse(piece.text) for piece in pieces)

    def encode(
        self, conversation: str | Conversation, tokenizer: Any, *, add_generation_prompt: bool = True
    ) -> list[int]:
        """Return the prompt's token ids, complete (BOS included where the family has one); content is kept verbatim.

        Raises:
            ValueError: the tokenizer lacks one of the template's control tokens.
        """
        pieces = self.segments(conversation, add_generation_prompt=add_generation_prompt)
        return encode_segments(pieces, tokenizer, name=self.name)


def _check_alternation(turns: tuple[Message, ...], name: str) -> None:
    wrong = [i for i, turn in enumerate(turns) if (turn.role == "user") != (i % 2 == 0)]
    if wrong:
        raise ValueError(
            f"template {name!r} wants user and assistant in turns, beginning with user, but turn {wrong[0]} is "
            f"{turns[wrong[0]].role!r} in {', '.join(turn.role for turn in turns)} (system turns are already folded); "
            "join neighbouring turns of one role"
        )


def _control(text: str) -> Segment:
    return Segment(text, control=True)


def _plain(text: str) -> Segment:
    return Segment(text, control=False)


GEMMA2 = ChatTemplate(
    name="gemma2",
    end_of_turn=("<end_of_turn>", "<eos>"),
    begin=(_control("<bos>"),),
    headers={
        "user": (_control("<start_of_turn>"), _plain("user\n")),
        "assistant": (_control("<start_of_turn>"), _plain("model\n")),
    },
    footer=(_control("<end_of_turn>"), _plain("\n")),
    trims=True,
    alternates=True,
)
"""Gemma 1 and 2: no system role, and <eos> never stands in a conversation, so <end_of_turn> must stop generation."""

LLAMA3 = ChatTemplate(
    name="llama3",
    end_of_turn=("<|eot_id|>", "<|end_of_text|>"),
    begin=(_control("<|begin_of_text|>"),),
    headers={
        role: (_control("<|start_header_id|>"), _plain(role), _control("<|end_header_id|>"), _plain("\n\n"))
        for role in ("system", "user", "assistant")
    },
    footer=(_control("<|eot_id|>"),),
    trims=True,
)
"""Llama 3 and 3.1, without the dates and tools that 3.1 may add to the system turn."""

PHI3 = ChatTemplate(
    name="phi3",
    end_of_turn=("<|end|>", "<|endoftext|>"),
    headers={role: (_control(f"<|{role}|>"), _plain("\n")) for role in ("system", "user", "assistant")},
    footer=(_control("<|end|>"), _plain("\n")),
    finish=(_control("<|endoftext|>"),),
)
"""Phi-3 and 3.5 mini as published: no BOS, contents as they are, <|endoftext|> after a finished conversation."""

CHATML = ChatTemplate(
    name="chatml",
    end_of_turn=("<|im_end|>", "<|endoftext|>"),
    headers={role: (_control("<|im_start|>"), _plain(f"{role}\n")) for role in ("system", "user", "assistant")},
    footer=(_control("<|im_end|>"), _plain("\n")),
)
"""ChatML (Qwen, SmolLM2 and many fine-tunes), without any default system turn."""

TEMPLATES: Mapping[str, ChatTemplate] = MappingProxyType({t.name: t for t in (GEMMA2, LLAMA3, PHI3, CHATML)})
"""The built-in templates by name."""


def tokenizer_template(tokenizer: Any) -> TokenizerTemplate:
    """Return the tokenizer's own chat template, with the methods of ``ChatTemplate``.

    Raises:
        ValueError: the tokenizer has none; the error lists the built-in ones.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            f"the tokenizer {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__!r} has no chat "
            f"template of its own, as is usual for base models; choose one by name: {', '.join(TEMPLATES)}"
        )
    return TokenizerTemplate(tokenizer)


def template_for(tokenizer: Any, name: str | None = None) -> ChatTemplate | TokenizerTemplate:
    """Return the template called ``name``, or the tokenizer's own for None (or "tokenizer").

    Raises:
        ValueError: the name is unknown, or none was given and the tokenizer has no template.
    """
    if name is None or name == "tokenizer":
        return tokenizer_template(tokenizer)
    if name not in TEMPLATES:
        near = difflib.get_close_matches(str(name).lower(), TEMPLATES, n=1, cutoff=0.5)
        raise ValueError(
            f"template {name!r} is unknown{f' (did you mean {near[0]!r}?)' if near else ''}; "
            f"use one of {', '.join(TEMPLATES)}, or None for the tokenizer's own"
        )
    return TEMPLATES[name]
