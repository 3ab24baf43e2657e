r"""Texts with known seams to token pieces, in batches, without content ever becoming control.

The parts of a row are tokenised together as one text, so that an uncut row has exactly the ids that a plain tokenizer
call gives for it; the seams are then found in the tokens. A token that crosses a seam belongs to the part on its right.
Special tokens spelled in a field are plain text; control tokens spelled in a literal of the style are control tokens.

It promises that no field adds a control id to a row. Where a tokenizer makes one out of plain text (DeBERTa's does,
from "[CLS]") the parts around it are tokenised one by one and the spelling is cut in two. It knows no styles and no
truncation.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_utils.chat.control_text import control_pattern
from kaggle_utils.chat.token_ids import Segment, control_id, control_strings, encode_segments

from .prompt_style import Part
from .truncation import Piece

__all__ = ["PieceEncoder"]

_LOCK = threading.Lock()  # a fast tokenizer keeps settings of the last call: two threads must not use it at once


@dataclass
class _Stretch:
    """Neighbouring parts of one row without a control token between them: one text for the tokenizer."""

    parts: list[Part]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


class PieceEncoder:
    """Parts of many rows to token pieces, with a fast tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"{type(tokenizer).__name__} is not a fast tokenizer; expected one with a tokenizer.json "
                "(AutoTokenizer.from_pretrained(folder), and save_pretrained to keep what it was converted to)"
            )
        self._tokenizer = tokenizer
        texts = control_strings(tokenizer)
        ids = {text: found for text in texts if (found := control_id(text, tokenizer)) is not None}
        self._ids = ids
        self._pattern = control_pattern(ids)
        self._literals: dict[str, list[str | int]] = {}
        ends = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
        if tokenizer.unk_token not in ends:  # honest text may hold characters that the vocabulary lacks
            ids = {text: found for text, found in ids.items() if text != tokenizer.unk_token}
        self._forbidden = np.zeros(max(ids.values(), default=0) + 1, dtype=bool)
        self._forbidden[list(ids.values())] = True

    def literal(self, text: str) -> np.ndarray:
        """Return the ids of a trusted text on its own, int32; control tokens spelled in it are control tokens."""
        pieces = self.encode([[Part(text)]])[0]
        return np.concatenate([piece.ids for piece in pieces]) if pieces else np.empty(0, dtype=np.int32)

    def plain(self, text: str) -> np.ndarray:
        """Return the ids of a text that must not act as control, int32."""
        return np.concatenate([piece.ids for piece in self.encode([[Part(text, field="plain")]])[0]])

    def encode(self, rows: Sequence[Sequence[Part]]) -> list[list[Piece]]:
        """Return each row's pieces in reading order; one tokenizer call for all rows."""
        plans = [self._stretches(parts) for parts in rows]
        texts = [item.text for plan in plans for item in plan if isinstance(item, _Stretch)]
        with _LOCK:
            encoded = iter(self._call(texts))
            return [
                [p for item in plan for p in ([item] if isinstance(item, Piece) else self._cut(item, next(encoded)))]
                for plan in plans
            ]

    def _call(self, texts: list[str]) -> list[tuple[list[int], Any]]:
        if not texts:
            return []
        batch = self._tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, padding=False, truncation=False,
            return_attention_mask=False, return_token_type_ids=False, verbose=False,
        )  # fmt: skip
        return list(zip(batch["input_ids"], batch.encodings, strict=True))

    def _stretches(self, parts: Sequence[Part]) -> list[_Stretch | Piece]:
        plan: list[_Stretch | Piece] = []
        for part in parts:
            for run in self._split_literal(part) if part.field is None else [part]:
                if isinstance(run, Piece):
                    plan.append(run)
                elif plan and isinstance(plan[-1], _Stretch):
                    plan[-1].parts.append(run)
                else:
                    plan.append(_Stretch([run]))
        return plan

    def _split_literal(self, part: Part) -> list[Part | Piece]:
        if part.text not in self._literals:  # a style has few texts, and they come in every row
            self._literals[part.text] = self._split(part.text)
        return [
            Part(run, None, part.round) if isinstance(run, str) else Piece(np.array([run], np.int32), None, part.round)
            for run in self._literals[part.text]
        ]

    def _split(self, text: str) -> list[str | int]:
        """Split a trusted text into plain runs and control ids."""
        runs: list[str | int] = []
        start = 0
        for match in self._pattern.finditer(text):
            if match[0] in self._ids:
                runs += [text[start : match.start()], self._ids[match[0]]]
                start = match.end()
        return [run for run in (*runs, text[start:]) if run != ""]

    def _cut(self, stretch: _Stretch, encoded: tuple[list[int], Any]) -> list[Piece]:
        numbers, encoding = encoded
        ids = np.array(numbers, dtype=np.int32)
        if self._forbidden[ids[ids < len(self._forbidden)]].any():
            return [Piece(self._alone(part.text), part.field, part.round) for part in stretch.parts]
        pieces, start, position = [], 0, 0
        for part in stretch.parts:
            position += len(part.text)
            stop = len(ids) if part is stretch.parts[-1] else max(start, _token_at(encoding, position, len(ids)))
            pieces.append(Piece(ids[start:stop], part.field, part.round))
            start = stop
        return pieces

    def _alone(self, text: str) -> np.ndarray:
        return np.array(encode_segments([Segment(text, control=False)], self._tokenizer), dtype=np.int32)


def _token_at(encoding: Any, position: int, count: int) -> int:
    """Return the number of the token that holds the character at ``position``, or of the next one that is kept."""
    found = encoding.char_to_token(position)
    if found is None:  # the tokenizer drops this character (white space, mostly)
        found = bisect_right(encoding.offsets, position, key=lambda offsets: offsets[1])
    return min(found, count)
