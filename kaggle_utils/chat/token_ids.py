"""From segments to token ids, without content ever becoming control.

It promises, for every text: the control ids in the result are exactly those of the control segments, in their order.
For text without control spellings the ids are what the tokenizer gives for the whole text. It knows no template.

Tokenizers that put a space in front of every text (Llama 2, Phi-3) may show it once more at the start of a segment,
in hostile conversations only. A fast tokenizer is not safe to use from two threads at once, here as elsewhere.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .control_text import KNOWN_CONTROL, control_pattern

__all__ = ["Segment", "control_id", "control_strings", "encode_segments", "merge_plain"]

_MARKUP = ("<s>", "</s>")  # BOS and EOS where they are special; where they are not (Gemma), HTML


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt: either one control token, or plain text that must never act as one."""

    text: str
    control: bool


def merge_plain(segments: Iterable[Segment]) -> list[Segment]:
    """Join neighbouring plain segments and drop empty ones, since tokens cross the seams between them.

    >>> merge_plain([Segment("<eos>", True), Segment("user", False), Segment("\\n", False)])
    [Segment(text='<eos>', control=True), Segment(text='user\\n', control=False)]
    """
    merged: list[Segment] = []
    for segment in segments:
        if not segment.text:
            continue
        if merged and not segment.control and not merged[-1].control:
            merged[-1] = Segment(merged[-1].text + segment.text, control=False)
        else:
            merged.append(segment)
    return merged


def control_id(text: str, tokenizer: Any) -> int | None:
    """Return the id of the one token spelled ``text``, or None where the tokenizer has no such token."""
    found = tokenizer.convert_tokens_to_ids(text)
    if found is None or tokenizer.convert_ids_to_tokens(found) != text:  # unknown tokens map to the unk id
        return None
    return int(found)


def control_strings(tokenizer: Any, extra: Collection[str] = ()) -> frozenset[str]:
    """Return the spellings that must not act as control when they stand in content.

    These are all special tokens, the added tokens that are control by their spelling although nobody marked them
    special, and ``extra`` (what a template uses).
    """
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    spelled = {text for text in added if KNOWN_CONTROL.fullmatch(text) and text not in _MARKUP}
    return frozenset(_special(tokenizer) | spelled | set(extra))


def _special(tokenizer: Any) -> set[str]:
    marked = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return marked | set(tokenizer.all_special_tokens)


def encode_segments(
    segments: Sequence[Segment], tokenizer: Any, *, name: str = "template", control: Collection[str] = ()
) -> list[int]:
    """Return the token ids of a prompt made of ``segments``; nothing (no BOS) is added to them.

    ``control`` adds spellings that content must not turn into tokens, besides the tokenizer's and the segments' own.

    Raises:
        ValueError: a control segment is not one token of this tokenizer (all such segments are named).
    """
    pieces = merge_plain(segments)
    ids_of = _control_ids(pieces, tokenizer, name)
    guard = _Guard.of(tokenizer, {*ids_of, *control})
    if not any(guard.pattern.search(piece.text) for piece in pieces if not piece.control):
        whole = tokenizer("".join(piece.text for piece in pieces), add_special_tokens=False)["input_ids"]
        wanted = [ids_of[piece.text] for piece in pieces if piece.control]
        if [i for i in whole if i in guard.ids] == wanted:  # not so where a normalizer makes control out of content
            return list(whole)
    return _assembled(pieces, tokenizer, ids_of, guard)


@dataclass(frozen=True)
class _Guard:
    pattern: re.Pattern[str]
    ids: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Any, used: Collection[str]) -> _Guard:
        texts = control_strings(tokenizer, used)
        ids = {found for text in texts if (found := control_id(text, tokenizer)) is not None}
        unknown = tokenizer.unk_token
        if unknown is not None and unknown not in used and unknown not in _ends(tokenizer):
            ids.discard(tokenizer.unk_token_id)  # honest text may hold characters that the vocabulary lacks
        return cls(control_pattern(texts), frozenset(ids))


def _ends(tokenizer: Any) -> tuple[str | None, ...]:
    return (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)


def _control_ids(pieces: Sequence[Segment], tokenizer: Any, name: str) -> dict[str, int]:
    texts = dict.fromkeys(piece.text for piece in pieces if piece.control)
    found = {text: control_id(text, tokenizer) for text in texts}
    missing = [text for text, number in found.items() if number is None]
    if missing:
        known = sorted(_special(tokenizer))
        raise ValueError(
            f"template {name!r} needs {', '.join(map(repr, missing))} as single tokens, and this tokenizer has none; "
            f"its control tokens are {', '.join(known[:12]) or 'none'}{', ...' if len(known) > 12 else ''}. "
            "Choose the template of this model's family, or None for the tokenizer's own"
        )
    return {text: number for text, number in found.items() if number is not None}


def _assembled(pieces: Sequence[Segment], tokenizer: Any, ids_of: dict[str, int], guard: _Guard) -> list[int]:
    ids: list[int] = []
    for piece in pieces:
        if piece.control:
            ids.append(ids_of[piece.text])
        else:
            ids.extend(_plain_ids(piece.text, tokenizer, guard))
    return ids


def _plain_ids(text: str, tokenizer: Any, guard: _Guard) -> list[int]:
    ids = _split(text, tokenizer)
    if guard.ids.isdisjoint(ids):
        return ids
    # Not every control token is marked special, and slow tokenizers ignore the wish: cut each spelling in two.
    # They can overlap ("<<" in "<<<"): the pattern looks ahead, to find also those that begin inside of another.
    beginnings = re.finditer(f"(?={guard.pattern.pattern})", text)
    cuts = [0, *(match.start() + 1 for match in beginnings), len(text)]
    pieces = [text[start:stop] for start, stop in itertools.pairwise(cuts) if start < stop]
    return [number for piece in pieces for number in _halved_ids(piece, tokenizer, guard)]


def _halved_ids(text: str, tokenizer: Any, guard: _Guard) -> list[int]:
    """Ids of text without control spellings; where a look-alike becomes one by normalization, halve until none does.

    Only a single character that the tokenizer takes for control gets no id: it cannot be written otherwise. Costs
    O(n log n) characters of tokenizing for each look-alike.
    """
    ids = _split(text, tokenizer)
    if guard.ids.isdisjoint(ids):
        return ids
    if len(text) == 1:
        return [number for number in ids if number not in guard.ids]
    halves = (text[: len(text) // 2], text[len(text) // 2 :])
    return [number for half in halves for number in _halved_ids(half, tokenizer, guard)]


def _split(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
