r"""How a pair is laid out for a model: literal texts around the three fields.

Styles are data. The two of the LMSYS notebooks are here by name; a new one is a ``PromptStyle`` with other texts. The
texts of a style are trusted, so control tokens written in them ("<start_of_turn>") are control tokens; what users and
models wrote never is. The module does not tokenise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

from .pairs import FIELDS, Pair

__all__ = ["PROMPT_STYLES", "Part", "PromptStyle", "prompt_style"]


@dataclass(frozen=True)
class Part:
    """A run of text in a row."""

    text: str
    field: str | None = None
    """One of ``FIELDS``, or None for a literal of the style."""
    round: int | None = None
    """Which turn of the conversation it belongs to, from 0; None for literals that stand outside all rounds."""


@dataclass(frozen=True)
class PromptStyle:
    r"""Texts around the fields: head, then prompt, A and B each behind its own text, then suffix.

    >>> PROMPT_STYLES["gemma"].render(Pair(1, ("Hi", "and?"), ("yes", "no"), ("a",)))
    '<prompt>: Hi and?\n\n<response_a>: yes no\n\n<response_b>: a'
    """

    name: str
    """For messages and fingerprints."""
    prompt: str
    """Text before the prompt."""
    response_a: str
    """Text before the first answer."""
    response_b: str
    """Text before the second answer."""
    head: str = ""
    """Text at the start of every row, never cut; tokenised on its own."""
    suffix: str = ""
    """Text at the end of every row, never cut; tokenised on its own, so that its ids are the same in every row."""
    separator: str = " "
    """Between the turns of a field; between rounds where ``by_round``."""
    by_round: bool = False
    """Lay out prompt, A and B of the first turn, then of the second, and so on; a missing turn is empty text."""

    def __post_init__(self) -> None:
        wrong = [name for name, value in vars(self).items() if name != "by_round" and not isinstance(value, str)]
        if wrong:
            raise ValueError(f"prompt style {self.name!r}: {', '.join(wrong)} must be text")

    def parts(self, pair: Pair) -> list[Part]:
        """Return the row without head and suffix as parts in reading order; a turn carries the separator before it."""
        fields = {field: getattr(pair, field) for field in FIELDS}
        if self.by_round:
            return self._rounds(fields)
        parts = []
        for field, turns in fields.items():
            parts.append(Part(getattr(self, field)))
            parts += [Part(self._before(i) + turn, field, i) for i, turn in enumerate(turns)]
        return parts

    def render(self, pair: Pair) -> str:
        """Return the row as text, uncut; for people to look at, never to be tokenised."""
        return self.head + "".join(part.text for part in self.parts(pair)) + self.suffix

    def _before(self, number: int) -> str:
        return self.separator if number else ""

    def _rounds(self, fields: Mapping[str, tuple[str, ...]]) -> list[Part]:
        parts = []
        for number, turns in enumerate(zip_longest(*fields.values(), fillvalue="")):
            for position, (field, turn) in enumerate(zip(fields, turns, strict=True)):
                before = "" if position else self._before(number)
                parts += [Part(before + getattr(self, field), None, number), Part(turn, field, number)]
        return parts


PROMPT_STYLES: Mapping[str, PromptStyle] = MappingProxyType(
    {
        style.name: style
        for style in (
            PromptStyle("gemma", "<prompt>: ", "\n\n<response_a>: ", "\n\n<response_b>: "),
            PromptStyle("llama", "User prompt: ", "\n\nModel A :\n", "\n\n--------\n\nModel B:\n"),
        )
    }
)
"""The styles of the two-model LMSYS notebook; its turns are joined by one space."""


def prompt_style(style: str | PromptStyle | Mapping[str, Any]) -> PromptStyle:
    """Return a style by name, as it is, or from a mapping of its fields (as read from JSON).

    >>> prompt_style({"prompt": "Q: ", "response_a": " A: ", "response_b": " B: "}).name
    'custom'

    Raises:
        ValueError: no style has that name, or the mapping has wrong fields.
    """
    if isinstance(style, PromptStyle):
        return style
    if isinstance(style, Mapping):
        try:
            return PromptStyle(**{"name": "custom", **style})
        except TypeError as error:
            fields = ", ".join(PromptStyle.__annotations__)
            raise ValueError(f"not a prompt style ({error}); its fields are {fields}") from None
    if style not in PROMPT_STYLES:
        raise ValueError(
            f"no prompt style {style!r}; there are {', '.join(PROMPT_STYLES)}, or give a PromptStyle of your own"
        )
    return PROMPT_STYLES[style]
