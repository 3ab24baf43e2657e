"""Scorers that workers of the engine's tests build: real processes find them by this module's name.

Each counts what it computes in an append-only file, so that a test sees what was computed twice.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from kaggle_utils.inference.fingerprint import row_digest

__all__ = [
    "OutOfMemoryError",
    "BrokenJudge",
    "append_line",
    "NumpyScorer",
    "ChoosingScorer",
    "CountedJudge",
    "CrowdedScorer",
    "LaunchingScorer",
    "LengthJudge",
    "LengthScorer",
    "expected_logits",
    "safer",
    "slow_safer",
    "still_wrong",
]


class OutOfMemoryError(RuntimeError):
    """Has the name that the engine looks for."""


def expected_logits(rows, *, scale: float = 1.0) -> np.ndarray:
    """What NumpyScorer gives: a float32 function of all tokens and their order."""
    out = np.empty((len(rows), 3), np.float32)
    for i, row in enumerate(rows):
        ids = np.asarray(row, np.float64)
        place = np.arange(1, len(ids) + 1)
        out[i] = scale * np.array([np.sin(ids @ place), np.cos(ids.sum()), len(ids) / 100.0])
    return out


class NumpyScorer:
    """Three logits a row; slow, short of memory, wrong or deadly on demand.

    A row that contains the token of one of the ``*_token`` arguments has that effect; whoever finds the ``hang_file``
    takes it away and never answers again.
    """

    def __init__(
        self,
        *,
        device,
        log=None,
        padded=False,
        max_tokens=1000,
        seconds_per_token=0.0,
        load_seconds=0.0,
        capacity=None,
        scale=1.0,
        nan_token=None,
        error_token=None,
        kill_token=None,
        hang_file=None,
        fail_on=(),
        memory=None,
        small=(),
    ):
        if device in fail_on:
            raise RuntimeError(f"no driver for {device}")
        time.sleep(load_seconds)
        self.device, self.padded, self.max_tokens = device, padded, max_tokens
        self.log = Path(log) if log else None
        self.seconds_per_token, self.scale = seconds_per_token, scale
        self.capacity = capacity if not small or device in small else None
        self.nan_token, self.error_token, self.kill_token = nan_token, error_token, kill_token
        self.hang_file = Path(hang_file) if hang_file else None

    def score(self, rows):
        cost = len(rows) * max(map(len, rows)) if self.padded else sum(map(len, rows))
        self._write("start", rows)
        if self.capacity is not None and cost > self.capacity:
            raise OutOfMemoryError(f"tried to allocate {cost}")
        if self.hang_file is not None and self.hang_file.exists():
            self.hang_file.unlink()
            time.sleep(600)
        if self._has(rows, self.kill_token).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if self._has(rows, self.error_token).any():
            raise ValueError("a token outside the vocabulary")
        time.sleep(self.seconds_per_token * sum(map(len, rows)))
        logits = expected_logits(rows, scale=self.scale)
        logits[self._has(rows, self.nan_token)] = np.nan
        self._write("done", rows)
        return logits

    @staticmethod
    def _has(rows, token):
        return np.array([token is not None and bool((np.asarray(row) == token).any()) for row in rows])

    def _write(self, what, rows):
        if self.log is not None:
            lines = [f"{what} {self.device} {os.getpid()} {len(rows)} {row_digest(row).hex()}" for row in rows]
            append_line(self.log, "\n".join(lines))


class LaunchingScorer(NumpyScorer):
    """Computes in collect(); remembers the most packs that were launched and not collected."""

    most = 0
    running = 0

    def launch(self, rows):
        type(self).running += 1
        type(self).most = max(self.most, self.running)
        return list(rows)

    def collect(self, handle):
        type(self).running -= 1
        return self.score(handle)


def safer(scorer, *, device, **kwargs):
    """The same scorer without its nan_token."""
    kwargs.pop("nan_token")
    return NumpyScorer(device=f"{scorer.device}-safe", **kwargs)


def still_wrong(scorer, *, device, **kwargs):
    return scorer


def slow_safer(scorer, *, device, **kwargs):
    """The same, a tenth of a second a token, as on a CPU."""
    return safer(scorer, device=device, **{**kwargs, "seconds_per_token": 0.1})


class LengthScorer:
    """The cheapest scorer: a row's length three times."""

    padded, max_tokens = False, 1000

    def __init__(self, *, device):
        pass

    def score(self, rows):
        return np.repeat(np.array([len(row) for row in rows], np.float32)[:, None], 3, axis=1)


class LengthJudge:
    """Reads rows of ``prompt 1 A 1 B`` and likes the longer answer, and the first one a little besides."""

    padded, max_tokens = False, 500

    def __init__(self, *, device, bias=0.0, classes=3, seconds=0.0):
        self.bias, self.classes, self.seconds = bias, classes, seconds

    def score(self, rows):
        time.sleep(self.seconds)
        out = np.zeros((len(rows), self.classes), np.float32)
        for i, row in enumerate(rows):
            first, second = np.flatnonzero(np.asarray(row) == 1)
            out[i, :2] = (second - first + self.bias) / 10, (len(row) - second) / 10
        return out


class BrokenJudge(LengthJudge):
    """Cannot be built, or fails with every pack."""

    def __init__(self, *, device, when="built", **kwargs):
        super().__init__(device=device, **kwargs)
        self.when = when
        if when == "built":
            raise RuntimeError("the adapter fits no layer")

    def score(self, rows):
        if self.when == "scoring":
            raise ValueError("a kernel that is not there")
        return np.full((len(rows), 3), np.nan, np.float32)


class CrowdedScorer(NumpyScorer):
    """Has memory for one pack at a time."""

    running = 0
    refused = 0

    def launch(self, rows):
        if type(self).running:
            type(self).refused += 1
            raise OutOfMemoryError("another pack is here")
        type(self).running += 1
        return list(rows)

    def collect(self, handle):
        type(self).running -= 1
        return self.score(handle)


class CountedJudge(LengthJudge):
    """Writes a line for each time that it is built."""

    def __init__(self, *, device, log, load_seconds=0.0, **kwargs):
        super().__init__(device=device, **kwargs)
        time.sleep(load_seconds)
        append_line(log, f"built {device} {os.getpid()} {time.monotonic()}")


class ChoosingScorer(NumpyScorer):
    """Computes in one of several ways (``scale`` times the number of the way) that it chooses when it is tuned.

    ``ways`` is what successive tunings in one process choose; "pid" differs by process, "die" kills it.
    """

    tuned = 0
    flops_per_token = 1e9

    def __init__(self, *, ways=("2",), wrong=False, tune_seconds=0.0, **kwargs):
        super().__init__(**kwargs)
        self.tune_seconds = tune_seconds
        self.ways, self.wrong, self.notes, self.plain = ways, wrong, ["built"], self.scale

    def self_check(self, rows):
        self._write("check", rows)
        if self.wrong:
            raise RuntimeError("rows see each other")

    def tune(self, rows, *, remaining_tokens, seconds_left):
        self._write("tune", rows)
        way = self.ways[type(self).tuned % len(self.ways)]
        type(self).tuned += 1
        time.sleep(self.tune_seconds)
        if way == "pid":
            way = str(2 + os.getpid() % 7)
        if way == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        self.notes.append(f"way {way}, {remaining_tokens} tokens, {seconds_left:.0f} s")
        self.adopt(way)
        return way

    def adopt(self, choice):
        append_line(self.log, f"adopt {self.device} {os.getpid()} {choice or 'none'}")
        self.scale = self.plain * int(choice or 1)


def append_line(path, text):
    """Write one line whole, however many processes write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)
