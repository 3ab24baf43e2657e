"""One chunk through the stages that look at one row; what is kept, dropped and counted goes into the work folder.

It promises the same files for the same chunk, whatever process makes them, and that a chunk counts as done only when
all of them are there. It knows nothing of other chunks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .duplicates import Signatures, sign
from .fields import map_texts, read_texts
from .findings import Finding
from .length import empty_fields
from .rare_characters import count_characters
from .reader import Chunk, Line, read_lines
from .settings import FilterSettings
from .stages import RowStages
from .texts import TextBatch
from .work_folder import WorkFolder, write_whole

__all__ = ["ChunkJob", "Tally", "as_json"]

_BATCH_CHARACTERS = 150_000
_EXAMPLES = 3
_KINDS_OF_WHY = 200


@dataclass
class Tally:
    """What stages dropped: numbers, reasons, examples."""

    dropped: Counter[str] = field(default_factory=Counter)
    why: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, stage: str, finding: Finding, example: dict[str, Any]) -> None:
        """Count one row."""
        self.dropped[stage] += 1
        self.why.setdefault(stage, Counter())[finding.why] += 1
        shown = self.examples.setdefault(stage, [])
        if len(shown) < _EXAMPLES:
            shown.append(example)

    def merge(self, other: dict[str, Any], **place: Any) -> None:
        """Add what :meth:`as_dict` gave; ``place`` is added to its examples."""
        self.dropped.update(other["dropped"])
        for stage, why in other["why"].items():
            self.why.setdefault(stage, Counter()).update(why)
        for stage, examples in other["examples"].items():
            mine = self.examples.setdefault(stage, [])
            for example in examples[: _EXAMPLES - len(mine)]:
                mine.append({**example, **place, "line": example["line"] + place.get("line", 0)})

    def as_dict(self) -> dict[str, Any]:
        """Fit for JSON; of each stage the most frequent reasons."""
        return {
            "dropped": dict(self.dropped), "examples": self.examples,
            "why": {stage: dict(why.most_common(_KINDS_OF_WHY)) for stage, why in self.why.items()},
        }  # fmt: skip


@dataclass
class _Batch:
    """Lines with rows, some of which have texts to be judged."""

    lines: list[Line] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    empty: dict[int, Finding] = field(default_factory=dict)


class ChunkJob:
    """Filters chunks into a work folder."""

    def __init__(
        self, folder: WorkFolder, settings: FilterSettings, fields: Sequence[str], table: np.ndarray | None = None
    ) -> None:
        self._folder, self._settings, self._fields = folder, settings, tuple(fields)
        self._stages = RowStages(settings, table) if table is not None else RowStages(settings)

    def __call__(self, chunk: Chunk) -> None:
        """Write the chunk's files."""
        self._tally, self._counts = Tally(), Counter()
        self._kept_lines: list[int] = []
        self._signatures: list[Signatures] = []
        self._characters: list[tuple[np.ndarray, np.ndarray]] = []
        folder, number = self._folder, chunk.number
        with (
            write_whole(folder.file(number, "kept")) as self._kept,
            write_whole(folder.file(number, "dropped")) as self._dropped,
            write_whole(folder.file(number, "bad")) as self._bad,
        ):
            for batch in self._batches(read_lines(chunk)):
                self._filter(batch)
        with write_whole(folder.file(number, "npz")) as file:
            np.savez(file, **self._arrays())
        with write_whole(folder.file(number, "json")) as file:
            file.write(json.dumps({**self._counts, **self._tally.as_dict()}, ensure_ascii=True).encode())

    def _batches(self, lines: Iterable[Line]) -> Iterator[_Batch]:
        batch, characters = _Batch(), 0
        for line in lines:
            self._counts["lines"] += 1
            if line.row is None:
                self._set_aside(line)
                continue
            self._counts["rows"] += 1
            number = len(batch.lines)
            batch.lines.append(line)
            values = read_texts(line.row, self._fields)
            if finding := empty_fields(values, self._settings):
                batch.empty[number] = finding
                continue
            for name, value in values:
                if isinstance(value, str):
                    batch.texts.append(value)
                    batch.owners.append(number)
                    batch.names.append(name)
                    characters += len(value)
            if characters >= _BATCH_CHARACTERS or len(batch.lines) >= 20_000:
                yield batch
                batch, characters = _Batch(), 0
        if batch.lines:
            yield batch

    def _set_aside(self, line: Line) -> None:
        if line.problem == "blank":
            self._counts["blank"] += 1
            return
        self._counts["bad"] += 1
        record = {"problem": line.problem, "raw": line.raw}
        self._bad.write(f"{line.number}\t{as_json(record)[1:]}\n".encode())

    def _filter(self, batch: _Batch) -> None:
        texts = self._texts(batch)
        changed = self._repair(batch, texts)
        if changed:
            texts = self._texts(batch)
        judged = self._stages.judge(texts)
        kept = []
        for number, line in enumerate(batch.lines):
            if number in batch.empty:
                self._drop(line, "empty", batch.empty[number], batch.empty[number].detail, "")
            elif number in judged:
                stage, text, finding = judged[number]
                self._drop(line, stage, finding, batch.names[text], batch.texts[text])
            else:
                kept.append(number)
                self._kept.write(f"{as_json(line.row) if number in changed else line.raw}\n".encode())
                self._counts["changed"] += number in changed
        self._count(texts, np.array(kept, dtype=np.int64))
        self._kept_lines += [batch.lines[number].number for number in kept]

    def _texts(self, batch: _Batch) -> TextBatch:
        return TextBatch(batch.texts, np.array(batch.owners, dtype=np.int64), batch.names, self._stages.table)

    def _repair(self, batch: _Batch, texts: TextBatch) -> set[int]:
        """Change texts, in the batch and in their rows; returns the rows."""
        repairs = {t: new for t, new in self._stages.repairs(texts).items() if new != batch.texts[t]}
        for text, new in repairs.items():
            batch.texts[text] = new
            map_texts(batch.lines[batch.owners[text]].row, [batch.names[text]], self._stages.repair)
        return {batch.owners[text] for text in repairs}

    def _drop(self, line: Line, stage: str, finding: Finding, name: str, text: str) -> None:
        self._tally.add(stage, finding, {"line": line.number, "field": name, "why": finding.why,
                                         "detail": finding.detail, "text": text[:120]})  # fmt: skip
        head = as_json({"stage": stage, "why": finding.why, "detail": finding.detail, "field": name})
        self._dropped.write(f'{line.number}\t{head[1:-1]}, "row": {line.raw}}}\n'.encode())

    def _count(self, texts: TextBatch, kept: np.ndarray) -> None:
        settings = self._settings
        if settings.duplicates:
            self._signatures.append(
                sign(texts, kept, near=settings.near_duplicates is not None, fewest=settings.duplicate_from_characters)
            )
        if settings.rare_counts and len(kept):
            owners = np.repeat(texts.rows.astype(np.int32), np.diff(texts.starts))
            alive = np.zeros(int(owners[-1]) + 1 if len(owners) else 0, dtype=bool)
            alive[kept] = True
            position = np.cumsum(alive, dtype=np.int32) - 1 + len(self._kept_lines)  # row of the chunk's kept ones
            chosen = alive[owners]
            self._characters.append((texts.codes[chosen], position[owners[chosen]]))

    def _arrays(self) -> dict[str, np.ndarray]:
        found = {"lines": np.array(self._kept_lines, dtype=np.int64), **vars(Signatures.joined(self._signatures))}
        limit = max(self._settings.rare_counts, default=0)
        counts = count_characters(self._characters, limit)
        return {**found, **vars(counts)}


def as_json(value: Any) -> str:
    """One line of JSON that can always be written: lone surrogates become escapes."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, default=str)
    return text
