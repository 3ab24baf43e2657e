"""What the cluster tests run on workers, which import this module by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tables import synthetic_table

from kaggle_utils.q20.tournament.players import Player
from kaggle_utils.q20.tournament.strangers import strangers

__all__ = [
    "Made",
    "begun_and_done",
    "die_first",
    "fail_on_threes",
    "make",
    "make_never",
    "make_players",
    "make_truth",
    "never_ends",
    "truth_of",
    "wait_and_square",
    "with_made",
]


def wait_and_square(item: tuple[int, Path | None], *, offset: int) -> int:
    """The square of a number and an offset, when a file is there."""
    number, file = item
    while file is not None and not file.exists():
        time.sleep(0.02)
    return number * number + offset


def begun_and_done(number: int) -> tuple[float, float]:
    """When it was begun and when it was done."""
    begun = time.time()
    time.sleep(0.02)
    return begun, time.time()


def fail_on_threes(number: int) -> int:
    """The number, or an error."""
    if number % 3 == 0:
        raise KeyError(f"no {number}")
    return number


def never_ends(number: int) -> int:
    """Nothing within a test."""
    time.sleep(600)
    return number


def die_first(item: tuple[int, Path, int]) -> int:
    """Kill the own process on the first attempts at a number, then return how many there were."""
    number, folder, deaths = item
    attempt = len(list(folder.glob(f"{number}-*")))
    (folder / f"{number}-{attempt}").touch()
    if attempt < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt + 1


class Made:
    """Something that a worker makes once."""

    def __init__(self, folder: Path) -> None:
        self.pid = os.getpid()
        (folder / f"made-by-{self.pid}-{time.monotonic_ns()}").touch()


def make(folder: Path) -> Made:
    """Make it."""
    return Made(folder)


def make_never() -> Made:
    """As where a model's folder is missing."""
    raise FileNotFoundError("no model at /nowhere")


def with_made(made: Made, item: tuple[int, Path, int]) -> tuple[int, int]:
    """The process that made something, and what ``die_first`` returns."""
    assert made.pid == os.getpid()
    time.sleep(0.02)
    return made.pid, die_first(item)


def truth_of(text: str) -> float:
    """P(yes) as a function of the prompt alone."""
    return 0.05 + 0.9 * ((sum(map(ord, text)) * 7919) % 1000) / 1000


class _Truth:
    """A generator that notes what it was asked, and where."""

    def __init__(self, folder: Path, nodes: int, dies: bool, fails_on: str) -> None:
        self.folder, self.nodes, self.dies, self.fails_on = folder, nodes, dies, fails_on

    def yes_no(self, conversations) -> list[float]:
        texts = [conversation[-1].content for conversation in conversations]
        import ray

        before = len(list(self.folder.iterdir()))
        note = f"{ray.get_runtime_context().get_node_id()}-{time.monotonic_ns()}"
        (self.folder / note).write_text("\n".join(text.splitlines()[-1] for text in texts))
        if self.dies and before >= 3 and self._is_first_to_die():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails_on and any(self.fails_on in text for text in texts):
            raise ValueError(f"nothing can be said of {self.fails_on}")
        end = time.monotonic() + 60
        while len({path.name.split("-")[0] for path in self.folder.iterdir()}) < self.nodes and time.monotonic() < end:
            time.sleep(0.02)
        return [truth_of(text) for text in texts]

    def _is_first_to_die(self) -> bool:
        """Workers that look at the same moment see the same notes; only one of them makes this file."""
        try:
            self.folder.with_name("died").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def make_truth(folder: Path, *, nodes: int = 1, dies: bool = False, fails_on: str = "") -> _Truth:
    """A generator for a worker: answers when ``nodes`` were asked, dies once in the midst, or fails on some texts."""
    return _Truth(folder, nodes, dies, fails_on)


def make_players(seed: int) -> list[Player]:
    """Strangers on a small table."""
    return list(strangers(synthetic_table(60, 80, seed=1), seed=seed))
