"""Seats that run: started, watched for memory, asked, and ended.

``start_seats`` returns when every server answers. ``MemoryWatch`` kills a seat that grows over the cap and remembers
each seat's peak. It knows processes and ports, not the game.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from submission_builder.playing.memory import MemoryUse, memory_of
from submission_builder.playing.seat import SeatSpec
from submission_builder.playing.seats import ForkServer, Spawner, describe_exit, kill_tree

__all__ = ["MemoryWatch", "RunningSeat", "start_seats"]

_START_SECONDS = 300.0  # importing torch and transformers from a cold disk


@dataclass
class RunningSeat:
    """One seat's process and what is known about it."""

    name: str
    pid: int
    folder: Path
    starter: ForkServer | Spawner
    url: str = ""
    peak: MemoryUse = field(default_factory=MemoryUse)
    over_limit: str = ""
    """Says at how much memory it was killed; empty if it was not."""

    def end(self) -> str:
        """How the process ended by itself or by the memory watch; empty while it runs."""
        code = self.starter.poll(self.pid)
        return "" if code is None else self.over_limit or describe_exit(code)

    def wait_end(self, seconds: float = 1.0) -> str:
        """``end()``, giving a dying process a moment to be gone."""
        deadline = time.monotonic() + seconds
        while not (ended := self.end()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return ended

    def stop(self) -> None:
        """Kill the process and its children."""
        if self.starter.poll(self.pid) is None:
            kill_tree(self.pid)
        while self.starter.poll(self.pid) is None:
            time.sleep(0.01)

    def log(self) -> list[dict]:
        """What main.py printed and how long it took, a record for each turn (the server's --log file)."""
        try:
            text = (self.folder / "log.json").read_text(encoding="utf-8")
        except OSError:
            return []
        with contextlib.suppress(ValueError):  # a seat killed in mid-write leaves a torn record
            return [record for turn in json.loads(text + "]") for record in turn]  # no episode is disposed of: no "]"
        return []

    def output(self) -> str:
        """The end of what the process itself wrote (crashes of native code, the server's errors)."""
        return "\n".join(line for line in self.lines() if '"POST /' not in line)[-1500:]

    def lines(self) -> list[str]:
        """All lines that the process itself wrote."""
        try:
            return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []


def start_seats(
    names: Sequence[str], make_spec: Callable[[str], SeatSpec], starter: ForkServer | Spawner, main_py: Path
) -> list[RunningSeat]:
    """Start one fresh process per name and wait until each serves.

    Raises:
        RuntimeError: a server did not come up; the message holds its output.
    """
    seats: list[RunningSeat] = []
    try:
        for name in names:
            spec = make_spec(name)
            seats.append(RunningSeat(name, starter.start(spec), Path(spec.folder), starter))
        deadline = time.monotonic() + _START_SECONDS
        for seat in seats:
            port = _port(seat, deadline)
            seat.url = f"http://127.0.0.1:{port}?agents[]={quote(str(main_py))}"
    except BaseException:
        for seat in seats:
            seat.stop()
        raise
    return seats


def _port(seat: RunningSeat, deadline: float) -> int:
    path = seat.folder / "port"
    while not path.exists():
        ended = seat.end()
        if ended or time.monotonic() > deadline:
            why = ended or f"did not serve within {_START_SECONDS:.0f} s"
            raise RuntimeError(f"the server of {seat.name} {why}. Its output: {seat.output() or 'nothing'}")
        time.sleep(0.02)
    return int(path.read_text())


class MemoryWatch(threading.Thread):
    """Looks at the seats' memory ten times a second."""

    def __init__(self, limit: int, *, tick: Callable[[], None] = lambda: None) -> None:
        super().__init__(daemon=True, name="memory-watch")
        self._limit, self._tick, self.seats = limit, tick, ()
        """``seats``: those to be watched, replaced as a whole by the main thread."""

    def run(self) -> None:
        """Watch until the process ends."""
        while True:
            for seat in tuple(self.seats):
                self._look(seat)
            self._tick()
            time.sleep(0.1)

    def _look(self, seat: RunningSeat) -> None:
        use = memory_of(seat.pid)
        seat.peak = seat.peak.peak(use)
        if use.anonymous > self._limit and not seat.over_limit:
            gib = 2**30
            seat.over_limit = (
                f"was killed at {use.anonymous / gib:.2f} GiB of memory (limit {self._limit / gib:.2f} GiB)"
            )
            kill_tree(seat.pid)
