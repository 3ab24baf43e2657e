"""Ask language models about the cells of a knowledge table, those that matter first.

It promises that every cell is asked once per source (a model with a prompt), that a killed run goes on where it was,
and that a run cut short by its budget has spent it on the cells that are worth most: probable things, questions on
which the table is undecided. The model comes in through ``yes_no``; one that shares the beginnings of prompts, such as
``inference.prefix_yes_no``, computes each thing's description once for all of its questions; ``compile_on_cluster``
asks many copies of one at once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from tqdm.auto import tqdm

from kaggle_utils.chat.messages import Conversation
from kaggle_utils.q20.answerer.answerer import YesNo
from kaggle_utils.q20.answerer.prompts import PROMPTS, AnswerPrompt
from kaggle_utils.q20.knowledge.cell_journal import CellJournal
from kaggle_utils.q20.knowledge.cell_order import Cells, grouped_cells, most_valuable_cells
from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["AskBatches", "Calibrate", "CellSource", "CompileReport", "ask_pairs", "compile_cells"]

_BLOCK = 512  # objects whose values are in memory at a time

Calibrate = Callable[[np.ndarray, Sequence[str]], np.ndarray]
"""From P(yes), float [n], and the questions' families to calibrated P(yes): ``Calibration.apply``."""

AskBatches = Callable[[Iterable[list[Conversation]]], Generator[tuple[int, Sequence[float]], None, None]]
"""From batches, which it reads as it has room for them, to (batch number, P(yes) of each conversation) as they come.

A generator, which is closed when nobody reads on: whoever answers can end then.
"""


@dataclass(frozen=True)
class CellSource:
    """A model and a prompt: what is asked about a cell."""

    model: str
    """A name for the weights; results are stored under it, so another model needs another name."""
    generator: YesNo | None = field(default=None, repr=False)
    """Who answers; None where ``ask`` says who does, or nothing is asked any more."""
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
    ask: AskBatches | None = None,
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
        ask: who is asked in place of the source's generator, for example ``compile_on_cluster.cluster_yes_no``.
        progress: show a bar.

    Raises:
        ValueError: the source has no generator and there is no ``ask``, or what came is not one probability a cell.
    """
    started = time.monotonic()
    texts = [table.bank.texts[number] for number in table.stored.tolist()]
    known = _known(table, source, journal, texts)
    before, asked = int(known.sum()), 0
    goal = min(known.size - before, known.size if budget is None else budget)
    if goal <= 0:  # nobody is started for nothing
        return CompileReport(0, before, known.size - before, time.monotonic() - started)
    sent: dict[int, list[Cells]] = {}

    def batches() -> Iterator[list[Conversation]]:
        order = most_valuable_cells(table, known, chunk=chunk)
        for number, cells in enumerate(grouped_cells(order, goal=goal, batch=batch)):
            if time_limit is not None and time.monotonic() - started >= time_limit:
                return
            sent[number] = cells
            yield _conversations(table, source, texts, cells)

    bar = tqdm(total=goal, desc=source.key, delay=2, disable=not progress, unit="cell")
    with bar, closing((ask or _asker(source))(batches())) as answers:
        for number, said in answers:
            cells = sent.pop(number)
            journal.put(source.key, _rows(table, texts, cells, said))
            count = sum(len(places) for _, places in cells)
            asked += count
            bar.update(count)
    return CompileReport(asked, before, known.size - before - asked, time.monotonic() - started)


def ask_pairs(
    source: CellSource,
    journal: CellJournal,
    pairs: Sequence[tuple[str, str, str]],
    *,
    batch: int = 1024,
    ask: AskBatches | None = None,
) -> np.ndarray:
    """Return P(yes) of (word, category, question) triples as ``source`` sees them, float32 [n]; for calibration.

    What the journal knows is not asked again; ``ask`` as in ``compile_cells``.
    """
    wanted: dict[str, dict[str, list[int]]] = {}
    for index, (word, _, question) in enumerate(pairs):
        wanted.setdefault(word, {}).setdefault(question, []).append(index)
    out = np.full(len(pairs), np.nan, dtype=np.float32)
    for word, places in wanted.items():
        for indices, value in zip(places.values(), journal.read(source.key, [word], list(places))[0], strict=True):
            out[indices] = value
    missing = np.flatnonzero(np.isnan(out)).tolist()
    parts = [missing[start : start + batch] for start in range(0, len(missing), batch)]
    batches = ([source.prompt.conversation(*pairs[index]) for index in part] for part in parts)
    with closing((ask or _asker(source))(batches)) as answers:
        for number, said in answers:
            out[parts[number]] = said
            journal.put(source.key, [(pairs[i][0], [pairs[i][2]], out[i : i + 1]) for i in parts[number]])
    return out


def _known(table: KnowledgeTable, source: CellSource, journal: CellJournal, texts: Sequence[str]) -> np.ndarray:
    """Which cells the journal has of a source, bool [N, Qs]; read in blocks, since values are four bytes each."""
    words = table.objects.words
    known = np.empty((len(words), len(texts)), dtype=bool)
    for start in range(0, len(words), _BLOCK):
        block = slice(start, start + _BLOCK)
        known[block] = ~np.isnan(journal.read(source.key, words[block], texts))
    return known


def _asker(source: CellSource) -> AskBatches:
    """Ask the source's own generator, a batch at a time."""

    def ask(batches: Iterable[list[Conversation]]) -> Generator[tuple[int, Sequence[float]], None, None]:
        for number, batch in enumerate(batches):
            if source.generator is None:
                raise ValueError(f"{source.key} has no generator to ask; give it one, or say with ask= who is asked")
            yield number, source.generator.yes_no(batch)

    return ask


def _conversations(
    table: KnowledgeTable, source: CellSource, texts: Sequence[str], cells: Sequence[Cells]
) -> list[Conversation]:
    return [
        source.prompt.conversation(table.objects.words[index], table.objects.categories[index], texts[place])
        for index, places in cells
        for place in places.tolist()
    ]


def _rows(
    table: KnowledgeTable, texts: Sequence[str], cells: Sequence[Cells], said: Sequence[float]
) -> list[tuple[str, list[str], np.ndarray]]:
    """What was said about the cells of a batch, as the journal takes it."""
    ends = np.cumsum([len(places) for _, places in cells])
    values = np.asarray(said, dtype=np.float32)
    if values.shape != (ends[-1],):
        raise ValueError(f"{values.shape} values came for a batch of {ends[-1]} cells; expected one for each")
    return [
        (table.objects.words[index], [texts[place] for place in places.tolist()], part)
        for (index, places), part in zip(cells, np.split(values, ends[:-1]), strict=True)
    ]
