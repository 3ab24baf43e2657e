"""Win rates: cells of (table, protocol, noise, questioner), spread over the cores, each with its bound."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import _q20_tables
import numpy as np
from tqdm.auto import tqdm

from kaggle_utils.q20.questioner.batch import BatchQuestioner
from kaggle_utils.q20.tournament.bounds import final_guess_bound, free_guess_bound
from kaggle_utils.q20.tournament.elimination import EliminationQuestioner
from kaggle_utils.q20.tournament.noise import Noise
from kaggle_utils.q20.tournament.simulate import play_cell, wilson

__all__ = ["PROTOCOLS", "Cell", "Outcome", "play", "pool", "workers"]

PROTOCOLS = {"final": final_guess_bound, "kaggle": free_guess_bound}
_PART = 1000  # games of one task
_PLAYED: dict[tuple[Cell, int], Outcome] = {}  # parts share cells
_CHUNK = 500  # games side by side: larger ones leave the cache


@dataclass(frozen=True)
class Cell:
    """One number of the benchmark."""

    key: str
    table: str
    protocol: str
    noise: Noise = field(default_factory=Noise)
    questioner: str = "bayes"
    """"bayes" knows the flip rate, "mixture" learns about the answerer during the game, "hard" believes all."""


@dataclass(frozen=True)
class Outcome:
    """What came out."""

    cell: Cell
    wins: int
    games: int
    mean_round: float
    bound: float
    """Of answers flipped independently at this rate; for other noise it does not apply and is nan."""

    @property
    def win(self) -> float:
        """Share of the games that were won."""
        return self.wins / self.games

    @property
    def ratio(self) -> float:
        """Of the bound."""
        return self.win / self.bound

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the win rate."""
        return wilson(self.wins, self.games)


def workers() -> int:
    """Processes: one for each core that this one may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def play(cells: Sequence[Cell], *, games: int) -> dict[str, Outcome]:
    """Play ``games`` games of every cell. The keywords of a cell are drawn uniformly."""
    new = [cell for cell in cells if (cell, games) not in _PLAYED]
    tasks = [(cell, start, min(_PART, games - start)) for cell in new for start in range(0, games, _PART)]
    won: dict[Cell, list[np.ndarray]] = {cell: [] for cell in new}
    futures = {pool().submit(_play_part, *task): task[0] for task in tasks}
    for future in tqdm(concurrent.futures.as_completed(futures), total=len(futures), desc="cells", unit="part"):
        won[futures[future]].append(future.result())
    _PLAYED.update({(cell, games): _outcome(cell, np.concatenate(won[cell])) for cell in new})
    return {cell.key: _PLAYED[cell, games] for cell in cells}


@functools.cache
def pool() -> concurrent.futures.ProcessPoolExecutor:
    """The worker processes of the whole run, each with one thread: together they fill the cores."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    pool = concurrent.futures.ProcessPoolExecutor(workers(), mp_context=multiprocessing.get_context("spawn"))
    for future in [pool.submit(os.getpid) for _ in range(workers())]:
        future.result()  # they are started with this environment, and this process gets its own back
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    return pool


def _play_part(cell: Cell, start: int, count: int) -> np.ndarray:
    table = _q20_tables.load(cell.table)
    make = EliminationQuestioner if cell.questioner == "hard" else BatchQuestioner
    options = {"flip": cell.noise.flip} if cell.questioner == "bayes" else {}
    played = play_cell(
        make, table, games=count, noise=cell.noise, free_guess=cell.protocol == "kaggle",
        prior=np.ones(len(table.objects)), seed=start, chunk=_CHUNK, **options,
    )  # fmt: skip
    return played.won_round


def _outcome(cell: Cell, won: np.ndarray) -> Outcome:
    weights = _q20_tables.limits(_q20_tables.load(cell.table))
    only_flips = cell.noise == Noise(flip=cell.noise.flip)
    bound = PROTOCOLS[cell.protocol](weights, cell.noise.flip) if only_flips else float("nan")
    rounds = won[won > 0]
    return Outcome(cell, len(rounds), len(won), float(rounds.mean()) if len(rounds) else float("nan"), bound)
