"""What the preference notebook does, as a program with two workers on the CPU that a test can kill.

python submission_run.py CSV MODEL OUT [COMMITS]    # with COMMITS: dies in the middle of that write to the store
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path

from kaggle_utils.data.pairs import read_pairs
from kaggle_utils.data.submission_csv import write_submission
from kaggle_utils.data.tokenization import PairTokenizer
from kaggle_utils.inference.judges import folder_judge
from kaggle_utils.inference.pool import WorkerPool
from kaggle_utils.inference.scoring import Judge, score_pairs

__all__ = ["DEVICES", "judge_of", "submit"]

DEVICES = ["cpu", "cpu"]
COLUMNS = ["winner_model_a", "winner_model_b", "winner_tie"]


def judge_of(model: Path) -> Judge:
    from transformers import AutoTokenizer

    reader = PairTokenizer(AutoTokenizer.from_pretrained(model), style="gemma", max_length=160, truncation="middle")
    return folder_judge("judge", model, reader, max_tokens=2048, devices=DEVICES)


def submit(csv: Path, judge: Judge, out: Path, *, devices: list[str] | WorkerPool = DEVICES):
    """Write ``out``, with the store beside it; returns the engine's report."""
    table = read_pairs(csv)
    scores = score_pairs(table, [judge], devices=devices, store=out.with_suffix(".db"), progress=False)
    write_submission(out, table.ids, scores.probabilities, columns=COLUMNS)
    return scores.reports[0]


class DeadlyConnection(sqlite3.Connection):
    """Kills the process when rows are written and the transaction is still open."""

    left = 0

    def execute(self, sql, *parameters):
        if sql == "COMMIT":
            type(self).left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(sql, *parameters)


if __name__ == "__main__":
    DeadlyConnection.left = int((*sys.argv, 0)[4])
    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=DeadlyConnection, **kwargs)
    submit(Path(sys.argv[1]), judge_of(Path(sys.argv[2])), Path(sys.argv[3]))
