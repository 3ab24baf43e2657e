"""Fill or refine a knowledge table with language models, the cells that matter first.

It promises that every cell is asked once per source (a model with a prompt), that a killed run goes on where it was,
and that a run cut short by its budget has spent it on the cells that are worth most: probable things, questions on
which the table is undecided. The model comes in through ``yes_no``; one that shares the beginnings of prompts, such as
``inference.prefix_yes_no``, computes each thing's description once for all of its questions.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm.auto import tqdm

from kaggle_utils.q20.answerer.answerer import YesNo
from kaggle_utils.q20.answerer.prompts import PROMPTS, AnswerPrompt
from kaggle_utils.q20.knowledge.cell_journal import CellJournal
from kaggle_utils.q20.knowledge.cell_order import Cells, grouped_cells, most_valuable_cells
from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["Calibrate", "CellSource", "CompileReport", "ask_pairs", "compile_cells", "refined_table"]

_BLOCK = 512  # objects whose values are in memory at a time

Calibrate = Callable[[np.ndarray, Sequence[str]], np.ndarray]
"""From P(yes), float [n], and the questions' families to calibrated P(yes): ``Calibration.apply``."""


@dataclass(frozen=True)
class CellSource:
    """A model and a prompt: what is asked about a cell."""

    model: str
    """A name for the weights; results are stored under it, so another model needs another name."""
    generator: YesNo = field(repr=False)
    """Who answers."""
    prompt: AnswerPrompt = PROMPTS["named"]
    """How it is asked."""
    weight: float = 1.0
    """Of its log-odds in the mean over sources."""
    calibrate: Calibrate | None = field(default=None, repr=False)
    """Applied when the sources are put together; what is stored is what the model said."""

    @property
    def key(self) -> str:
        """Under which results are stored: the model, the prompt's name and a digest of its wording."""
        wording = f"{self.prompt.instruction}\n{self.prompt.pattern}".encode()
        return f"{self.model}/{self.prompt.name}/{hashlib.sha256(wording).hexdigest()[:8]}"


@dataclass(frozen=True)
class CompileReport:
    """What a run did."""

    asked: int
    """Cells asked now."""
    known: int
    """Cells that were there already."""
    left: int
    """Cells of the table that this source has not been asked about."""
    seconds: float
    """Wall-clock time."""

    @property
    def cells_per_second(self) -> float:
        """Speed of this run."""
        return self.asked / self.seconds if self.seconds > 0 else 0.0


def compile_cells(
    table: KnowledgeTable,
    source: CellSource,
    journal: CellJournal,
    *,
    budget: int | None = None,
    time_limit: float | None = None,
    chunk: int = 64,
    batch: int = 1024,
    progress: bool = True,
) -> CompileReport:
    """Ask ``source`` about the semantic cells of ``table`` that the journal lacks, the most valuable first.

    Args:
        table: whose objects and semantic questions are asked about.
        source: who is asked.
        journal: where the answers go, a batch in one transaction; call again to go on.
        budget: most cells to ask; None asks all.
        time_limit: seconds after which no further batch is begun.
        chunk: questions about one object that stand together.
        batch: cells in one call of ``yes_no`` (whole chunks, so up to ``chunk`` more).
        progress: show a bar.
    """
    started = time.monotonic()
    texts = [table.bank.texts[number] for number in table.stored.tolist()]
    known = _known(table, source, journal, texts)
    before, asked = int(known.sum()), 0
    goal = min(known.size - before, known.size if budget is None else budget)
    with tqdm(total=goal, desc=source.key, delay=2, disable=not progress, unit="cell") as bar:
        for cells in grouped_cells(most_valuable_cells(table, known, chunk=chunk), goal=goal, batch=batch):
            if time_limit is not None and time.monotonic() - started >= time_limit:
                break
            journal.put(source.key, _asked(table, source, texts, cells))
            count = sum(len(places) for _, places in cells)
            asked += count
            bar.update(count)
    return CompileReport(asked, before, known.size - before - asked, time.monotonic() - started)


def ask_pairs(
    source: CellSource, journal: CellJournal, pairs: Sequence[tuple[str, str, str]], *, batch: int = 1024
) -> np.ndarray:
    """Return P(yes) of (word, category, question) triples as ``source`` sees them, float32 [n]; for calibration.

    What the journal knows is not asked again.
    """
    wanted: dict[str, dict[str, list[int]]] = {}
    for index, (word, _, question) in enumerate(pairs):
        wanted.setdefault(word, {}).setdefault(question, []).append(index)
    out = np.full(len(pairs), np.nan, dtype=np.float32)
    for word, places in wanted.items():
        for indices, value in zip(places.values(), journal.read(source.key, [word], list(places))[0], strict=True):
            out[indices] = value
    missing = np.flatnonzero(np.isnan(out)).tolist()
    for start in range(0, len(missing), batch):
        part = missing[start : start + batch]
        said = source.generator.yes_no([source.prompt.conversation(*pairs[index]) for index in part])
        out[part] = said
        journal.put(source.key, [(pairs[i][0], [pairs[i][2]], out[i : i + 1]) for i in part])
    return out


def refined_table(
    table: KnowledgeTable, sources: Sequence[CellSource], journal: CellJournal, *, table_weight: float = 1.0
) -> KnowledgeTable:
    """Return ``table`` with what the sources said added to it.

    The log-odds of a cell become ``table_weight`` times the table's plus the weighted mean of the sources that were
    asked about it; cells that nobody was asked about stay as they are. Objects are read in blocks, so memory beyond the
    codes is small.

    Raises:
        ValueError: no sources, two of one name, or weights that are not positive.
    """
    keys = [source.key for source in sources]
    if not sources or len(set(keys)) < len(keys) or not all(source.weight > 0 for source in sources):
        raise ValueError(f"expected sources of different names with weights above 0, got {keys or 'none'}")
    texts = [table.bank.texts[number] for number in table.stored.tolist()]
    families = [table.bank.families[number] for number in table.stored.tolist()]
    codes = np.array(table.by_object, copy=True)
    for start in range(0, len(codes), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(codes)))
        words = [table.objects.words[row] for row in rows.tolist()]
        total, weight = np.zeros((len(rows), len(texts))), np.zeros((len(rows), len(texts)))
        for source in sources:
            p = journal.read(source.key, words, texts)
            there = ~np.isnan(p)
            total[there] += source.weight * _log_odds(_calibrated(source, p, there, families))
            weight[there] += source.weight
        said = weight > 0
        mean = total[said] / weight[said] + table_weight * _log_odds(table.rows(rows)[:, table.stored][said])
        _write(codes, rows, said, 1 / (1 + np.exp(-mean)), table, families)
    return KnowledgeTable(table.objects, table.bank, codes, levels=table.levels, family_levels=table.family_levels)


def _known(table: KnowledgeTable, source: CellSource, journal: CellJournal, texts: Sequence[str]) -> np.ndarray:
    """Which cells the journal has of a source, bool [N, Qs]; read in blocks, since values are four bytes each."""
    words = table.objects.words
    known = np.empty((len(words), len(texts)), dtype=bool)
    for start in range(0, len(words), _BLOCK):
        block = slice(start, start + _BLOCK)
        known[block] = ~np.isnan(journal.read(source.key, words[block], texts))
    return known


def _asked(
    table: KnowledgeTable, source: CellSource, texts: Sequence[str], cells: Sequence[Cells]
) -> list[tuple[str, list[str], np.ndarray]]:
    """Ask about the cells of a batch in one call."""
    conversations = [
        source.prompt.conversation(table.objects.words[index], table.objects.categories[index], texts[place])
        for index, places in cells
        for place in places.tolist()
    ]
    said = np.asarray(source.generator.yes_no(conversations), dtype=np.float32)
    ends = np.cumsum([len(places) for _, places in cells])
    return [
        (table.objects.words[index], [texts[place] for place in places.tolist()], part)
        for (index, places), part in zip(cells, np.split(said, ends[:-1]), strict=True)
    ]


def _calibrated(source: CellSource, p: np.ndarray, there: np.ndarray, families: Sequence[str]) -> np.ndarray:
    values = p[there].astype(np.float64)
    if source.calibrate is None:
        return values
    return np.asarray(source.calibrate(values, [families[place] for place in np.nonzero(there)[1].tolist()]))


def _write(
    codes: np.ndarray, rows: np.ndarray, said: np.ndarray, theta: np.ndarray, table: KnowledgeTable,
    families: Sequence[str],
) -> None:  # fmt: skip
    """Write probabilities into codes, each on the scale of its question's family."""
    which, places = np.nonzero(said)
    names = np.array(families, dtype=object)[places]
    done = np.zeros(len(places), dtype=bool)
    for name, levels in table.family_levels.items():
        own = names == name
        codes[rows[which[own]], places[own]] = encode(theta[own], levels)
        done |= own
    codes[rows[which[~done]], places[~done]] = encode(theta[~done], table.levels)


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped))
