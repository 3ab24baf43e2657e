"""The second pass: what depends on the whole set. Rare characters, counted again after each drop, then duplicates.

It reads what the chunks left in the work folder, never the inputs. Memory: counts of all characters (9 MB), and the
signatures of ``duplicate_rows`` rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from .duplicates import Signatures, find_duplicates
from .fields import read_texts
from .findings import Finding
from .rare_characters import rare_characters, rows_with
from .settings import FilterSettings
from .texts import TextBatch
from .work_folder import WorkFolder

__all__ = ["SetDrops", "set_drops"]

SetDrops = dict[int, dict[int, tuple[str, Finding]]]
"""Chunk -> kept row of the chunk -> (stage, finding)."""
_BATCH_ROWS = 2000
_NO_FLAGS = np.zeros(0x110000, dtype=np.uint16)


def set_drops(
    folder: WorkFolder, chunks: int, settings: FilterSettings, fields: Sequence[str], places: Sequence[tuple[str, int]]
) -> tuple[SetDrops, int]:
    """What goes, and the number of characters in the set. ``places``: of each chunk, file and lines before it."""
    drops: SetDrops = {number: {} for number in range(chunks)}
    characters = _drop_rare(folder, drops, settings, fields) if settings.rare_counts else 0
    if settings.duplicates:
        _drop_duplicates(folder, drops, settings, places)
    return drops, characters


def _drop_rare(folder: WorkFolder, drops: SetDrops, settings: FilterSettings, fields: Sequence[str]) -> int:
    totals = np.zeros(0x110000, dtype=np.int64)
    for number in drops:
        arrays = folder.arrays(number)
        totals[arrays["codes"]] += arrays["counts"]
    characters = int(totals.sum())
    if characters < settings.rare_from_characters:
        return characters
    for turn, limit in enumerate(settings.rare_counts):
        rare = rare_characters(totals, limit)
        for number in drops if rare.any() else ():
            for batch, rows in _suspects(folder, number, rare, drops[number], fields, first=turn == 0):
                for index, character in rows_with(batch, rare).items():
                    drops[number][rows[index]] = (
                        "rare characters",
                        _rare(character, totals, turn),
                    )
        if turn + 1 < len(settings.rare_counts):
            _forget(folder, drops, totals, fields, turn + 1)
    return characters


def _suspects(
    folder: WorkFolder, number: int, rare: np.ndarray, dropped: dict, fields: Sequence[str], *, first: bool
) -> Iterator[tuple[TextBatch, list[int]]]:
    """Rows that may hold a rare character: in the first turn exactly those, later all of a chunk that has some."""
    arrays = folder.arrays(number)
    if not rare[arrays["codes"]].any():
        return
    if first:
        wanted = np.unique(arrays["seldom_rows"][rare[arrays["seldom_codes"]]])
    else:
        wanted = np.setdiff1d(np.arange(len(arrays["lines"])), list(dropped))
    yield from _texts_of(folder, number, wanted, fields)


def _forget(folder: WorkFolder, drops: SetDrops, totals: np.ndarray, fields: Sequence[str], turn: int) -> None:
    """Take the rows that the last turn dropped out of the counts."""
    for number, dropped in drops.items():
        last = [row for row, (_, finding) in dropped.items() if finding.detail.endswith(f"turn {turn}")]
        for batch, _ in _texts_of(folder, number, np.array(sorted(last), dtype=np.int64), fields):
            totals -= np.bincount(batch.codes, minlength=len(totals))


def _texts_of(
    folder: WorkFolder, number: int, wanted: np.ndarray, fields: Sequence[str]
) -> Iterator[tuple[TextBatch, list[int]]]:
    """Batches of the wanted kept rows; a batch's rows are indices into the list beside it."""
    if not len(wanted):
        return
    asked, texts, owners, rows = set(wanted.tolist()), [], [], []
    with folder.file(number, "kept").open("rb") as file:
        for index, line in enumerate(file):
            if index in asked:
                values = [value for _, value in read_texts(json.loads(line), fields) if isinstance(value, str)]
                texts += values
                owners += [len(rows)] * len(values)
                rows.append(index)
            if len(rows) >= _BATCH_ROWS:
                yield TextBatch(texts, np.array(owners, dtype=np.int64), texts, _NO_FLAGS), rows
                texts, owners, rows = [], [], []
    if rows:
        yield TextBatch(texts, np.array(owners, dtype=np.int64), texts, _NO_FLAGS), rows


def _drop_duplicates(
    folder: WorkFolder, drops: SetDrops, settings: FilterSettings, places: Sequence[tuple[str, int]]
) -> None:
    parts: list[Signatures] = []
    homes: list[np.ndarray] = []
    held = 0
    for number in drops:
        arrays = folder.arrays(number)
        rows = np.setdiff1d(np.arange(len(arrays["lines"])), list(drops[number]))
        begin = 0
        while begin < len(rows):
            end = min(len(rows), begin + settings.duplicate_rows - held)
            chosen = rows[begin:end]
            parts.append(
                Signatures(
                    arrays["exact"][chosen],
                    arrays["digits"][chosen],
                    arrays["minhash"][chosen],
                    arrays["bands"][:, chosen],
                )
            )
            homes.append(np.stack([np.full(len(chosen), number), chosen, arrays["lines"][chosen]], axis=1))
            held, begin = held + len(chosen), end
            if held == settings.duplicate_rows:
                _mark(parts, homes, drops, settings, places)
                parts, homes, held = [], [], 0
    if parts:
        _mark(parts, homes, drops, settings, places)


def _mark(
    parts: list[Signatures],
    homes: list[np.ndarray],
    drops: SetDrops,
    settings: FilterSettings,
    places: Sequence[tuple[str, int]],
) -> None:
    signatures, home = Signatures.joined(parts), np.concatenate(homes)
    leaders = find_duplicates(signatures, settings.near_duplicates)
    for row in np.flatnonzero(leaders >= 0).tolist():
        number, index, _ = home[row].tolist()
        other, _, line = home[leaders[row]].tolist()
        why = "equal" if signatures.exact[row] == signatures.exact[leaders[row]] else "near"
        source, before = places[other]
        drops[number][index] = ("duplicates", Finding(why, f"repeats line {before + line + 1} of {source}"))


def _rare(character: str, totals: np.ndarray, turn: int) -> Finding:
    return Finding(character, f"{totals[ord(character)]} in the set, turn {turn + 1}")
