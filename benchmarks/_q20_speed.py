"""How long a question takes: one game at two sizes, many games at once, and the first one after the import."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

import _q20_tables
import numpy as np
from _q20_cells import pool, workers
from _report import ROOT

from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank
from kaggle_utils.q20.knowledge.objects import Objects, Thing
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.questioner.batch import BatchQuestioner
from kaggle_utils.q20.questioner.single import Questioner
from kaggle_utils.q20.tournament.noise import Noise
from kaggle_utils.q20.tournament.simulate import play_cell
from kaggle_utils.q20.vocabulary import load_vocabulary

__all__ = ["batched", "first_question", "question_ms", "random_table"]

_CHUNK = 500
_FIRST = """
import time
start = time.perf_counter()
from kaggle_utils.q20.agent import make_agent
agent = make_agent(log=False)
reply = agent({"turnType": "ask", "role": "guesser", "step": 0, "questions": [], "answers": [], "guesses": []}, None)
print(time.perf_counter() - start)
assert reply.strip(), reply
"""


def random_table(objects: int, questions: int) -> KnowledgeTable:
    """Real words and made-up knowledge, a byte a cell."""
    vocabulary = load_vocabulary()
    words = np.argsort(-vocabulary.probabilities, kind="stable")[:objects]
    things = Objects([Thing(vocabulary.words[index]) for index in words.tolist()])
    bank = QuestionBank([BankQuestion(f"Is it something of kind {index}?", "made up") for index in range(questions)])
    codes = np.random.default_rng(0).integers(0, 256, (objects, questions), np.uint8)
    return KnowledgeTable(things, bank, codes)


def question_ms(objects: int, questions: int, *, games: int = 2) -> float:
    """Median milliseconds from an answer to the next question; the first of each game is not counted."""
    table, random, seconds = random_table(objects, questions), np.random.default_rng(1), []
    for game in range(games):
        questioner = Questioner(table, seed=game)
        questioner.ask()
        for _ in range(19):
            start = time.perf_counter()
            questioner.hear(bool(random.integers(2)))
            questioner.ask()
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def batched(games: int) -> float:
    """Games a second of all cores: 1,128 keywords, 1,200 questions, a guess every round; the set-up of games included.

    One process a core with one thread each, as the cells are played: a batch's products are too small to share.
    """
    shares = [games // workers()] * workers()
    list(pool().map(_batch, [_CHUNK] * workers()))  # the table is loaded and the caches are warm
    start = time.perf_counter()
    list(pool().map(_batch, shares))
    return sum(shares) / (time.perf_counter() - start)


def _batch(games: int) -> None:
    table = _q20_tables.load("compact")
    options = {"prior": np.ones(len(table.objects)), "flip": 0.1, "noise": Noise(flip=0.1), "chunk": _CHUNK}
    play_cell(BatchQuestioner, table, games=games, **options)


def first_question() -> float:
    """Seconds from the import of the agent to its first question in a fresh process without any cache; best of three.

    The files that a process leaves for the next one (the expanded table) go to an empty folder each time.
    """
    found = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "KAGGLE_UTILS_SCRATCH_DIR": folder}
            command = [sys.executable, "-c", _FIRST]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
            found.append(float(done.stdout))
    return min(found)
