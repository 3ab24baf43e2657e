"""Rows of instructions and responses, from JSONL or from memory, as token ids and labels.

It promises that a bad row (no JSON, no response, turns that the template refuses) is counted with its reason and left
out, never fatal, that nothing is silently cut, and that the order of the rows stays. How one conversation is written is
the matter of ``sft_encoding.py``.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from kaggle_utils.chat.messages import Message, as_conversation, assistant, user
from kaggle_utils.chat.token_ids import control_id, control_strings
from kaggle_utils.training.sft_encoding import cut_prompt, encode_conversation
from kaggle_utils.training.sft_packing import IGNORED
from kaggle_utils.training.sft_settings import SftSettings

__all__ = ["FIELDS", "DataReport", "SftRows", "encode_rows", "read_conversation"]

FIELDS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages", "conversation"),
    "system": ("system",),
    "instruction": ("instruction", "prompt", "question"),
    "input": ("input", "context"),
    "response": ("response", "output", "completion", "answer"),
}
"""Names under which each part of a row is looked for, first one first."""

_SHOWN = 10


@dataclass
class DataReport:
    """What became of the rows."""

    rows: int = 0
    """Rows read."""
    used: int = 0
    """Rows that are trained on."""
    too_long: int = 0
    """Rows left out because they have more than ``max_length`` tokens."""
    cut: int = 0
    """Rows whose prompt was shortened."""
    bad: dict[str, int] = field(default_factory=dict)
    """Rows left out for other reasons, by reason."""
    examples: list[str] = field(default_factory=list)
    """The first of them: which row, and what is wrong."""
    tokens: int = 0
    """Tokens of the rows that are used."""
    learnt: int = 0
    """Of them, labels."""
    longest: int = 0
    """Tokens of the longest row read."""

    def as_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """In one line."""
        left_out = {**self.bad, **({"longer than max_length": self.too_long} if self.too_long else {})}
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        cut = f", {self.cut} with a shortened prompt" if self.cut else ""
        return (f"{self.used} of {self.rows} rows{cut}, {self.tokens} tokens, {self.learnt} of them learnt"
                + (f"; left out: {reasons}" if reasons else ""))  # fmt: skip


@dataclass(frozen=True, eq=False)
class SftRows:
    """Rows ready for training."""

    ids: list[np.ndarray]
    """int32 [length] each."""
    labels: list[np.ndarray]
    """int32 [length] each; ``IGNORED`` where nothing is learnt."""
    report: DataReport
    """What was left out."""

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows]."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        return self.ids[number], self.labels[number]


def read_conversation(row: Mapping[str, Any], *, fields: Mapping[str, str] | None = None) -> tuple[Message, ...]:
    """Return the turns of a row, the last one the assistant's.

    Args:
        row: ``messages`` of role and content, or an instruction and a response (and perhaps an input and a system
            text), under the names of :data:`FIELDS`.
        fields: other names, such as ``{"instruction": "question_ja"}``.

    Raises:
        ValueError: parts that are missing or empty; the message names what is there.

    >>> read_conversation({"instruction": "Add", "input": "1 and 2", "output": "3"})[0].content
    'Add\\n\\n1 and 2'
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"no object: {type(row).__name__}")
    parts = {name: _part(row, name, fields or {}) for name in FIELDS}
    if parts["messages"] is not None:
        turns = as_conversation(parts["messages"])
    else:
        missing = [name for name in ("instruction", "response") if not isinstance(parts[name], str)]
        if missing:
            raise ValueError(f"no text for {' and '.join(missing)}")
        asked = [text for text in (parts["instruction"], parts["input"]) if isinstance(text, str) and text.strip()]
        rules = [Message("system", parts["system"])] if isinstance(parts["system"], str) and parts["system"] else []
        turns = (*rules, user("\n\n".join(asked)), assistant(parts["response"]))
    if turns[-1].role != "assistant":
        raise ValueError(f"the last turn is the {turns[-1].role}'s")
    if not turns[-1].content.strip():
        raise ValueError("the response is empty")
    return turns


def encode_rows(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    *,
    tokenizer: Any,
    template: Any,
    settings: SftSettings,
    fields: Mapping[str, str] | None = None,
    progress: bool = True,
) -> SftRows:
    """Encode every row that can be.

    Args:
        source: a .jsonl file, or rows.
        tokenizer: of the model.
        template: of :func:`~kaggle_utils.training.sft_prompts.sft_template`.
        settings: ``max_length``, ``over_long`` and ``response_only`` count here.
        fields: see :func:`read_conversation`.
        progress: a bar.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no row is left; a row over the limit, where ``over_long`` is "error"; a template whose control
            tokens the tokenizer lacks.
    """
    report, reasons = DataReport(), Counter()
    ids, labels = [], []
    probe = (user("a"), assistant("b"))
    encode_conversation(probe, template, tokenizer)  # a template that does not fit is no matter of one row
    frame = _frame_ids(tokenizer, template, probe)
    for where, row in tqdm(_rows(source), desc="rows", unit=" rows", delay=2, disable=not progress):
        report.rows += 1
        try:
            if isinstance(row, Exception):
                raise row
            turns = read_conversation(row, fields=fields)
            encoded = encode_conversation(turns, template, tokenizer, response_only=settings.response_only)
        except (ValueError, TypeError, RecursionError) as error:
            reason = str(error).splitlines()[0][:80] or type(error).__name__
            reasons["no JSON" if isinstance(error, json.JSONDecodeError) else reason] += 1
            report.examples += [f"{where}: {reason}"] if len(report.examples) < _SHOWN else []
            continue
        report.longest = max(report.longest, len(encoded[0]))
        if len(encoded[0]) > settings.max_length:
            if settings.over_long == "error":
                raise ValueError(
                    f"{where} has {len(encoded[0])} tokens, max_length is {settings.max_length}; raise it, or choose "
                    "over_long='drop' or 'cut_prompt'"
                )
            encoded = _shortened(encoded, settings, turns, template, tokenizer, frame)
            report.too_long, report.cut = report.too_long + (encoded is None), report.cut + (encoded is not None)
            if encoded is None:
                continue
        ids.append(encoded[0])
        labels.append(encoded[1])
    report.used, report.bad = len(ids), dict(reasons.most_common())
    report.tokens, report.learnt = sum(map(len, ids)), int(sum((row != IGNORED).sum() for row in labels))
    if not ids:
        raise ValueError(f"no row can be trained on: {report.to_text()}; {'; '.join(report.examples[:3])}")
    return SftRows(ids, labels, report)


def _part(row: Mapping[str, Any], name: str, fields: Mapping[str, str]) -> Any:
    names = (fields[name],) if name in fields else FIELDS[name]
    return next((row[each] for each in names if row.get(each) is not None), None)


def _rows(source: Any) -> Iterator[tuple[str, Any]]:
    """Where each row stands, and the row, or the error that it is."""
    if not isinstance(source, str | os.PathLike):
        for number, row in enumerate(source):
            yield f"row {number}", row
        return
    with Path(source).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"line {number}", error


def _frame_ids(tokenizer: Any, template: Any, probe: Sequence[Message]) -> set[int]:
    """Control ids: what frames the turns is never cut."""
    written = {piece.text for piece in template.segments(probe, add_generation_prompt=False) if piece.control}
    texts = control_strings(tokenizer, written | set(template.end_of_turn))
    return {number for text in texts if (number := control_id(text, tokenizer)) is not None}


def _shortened(
    encoded: tuple[np.ndarray, np.ndarray], settings: SftSettings, turns: Any, template: Any, tokenizer: Any, frame: Any
) -> tuple[np.ndarray, np.ndarray] | None:
    if settings.over_long == "drop":
        return None
    ids, labels = encoded
    of_responses = labels if settings.response_only else encode_conversation(turns, template, tokenizer)[1]
    return cut_prompt(ids, labels, of_responses != IGNORED, size=settings.max_length, control=sorted(frame))
