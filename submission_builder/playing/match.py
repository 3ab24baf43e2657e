"""The process that plays: isolated, with the environment imported, a starter of seats, and a stream of events.

It is told everything by one JSON file and writes one JSON event a line to a pipe. It knows nothing of the archive; the
caller survives whatever happens here.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import multiprocessing
import os
import random
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from submission_builder.playing.game import SEAT_NAMES, DrawnKeyword, make_environment, play_game
from submission_builder.playing.isolation import AGENT_DIR, HIDDEN, Isolation, die_with_parent, enter_namespaces
from submission_builder.playing.probe import PROBE_SEATS, run_probes
from submission_builder.playing.running import MemoryWatch, RunningSeat, start_seats
from submission_builder.playing.seat import ENVIRONMENT, SeatSpec, load_environment
from submission_builder.playing.seats import ForkServer, Spawner, gpus_present

__all__ = ["Match", "MatchSpec", "draw_keywords", "main"]


@dataclass(frozen=True)
class MatchSpec:
    """All that the playing process is told."""

    agent: str
    """Folder of the unpacked archive."""
    scratch: str
    """Folder for logs and episodes."""
    events: int
    """File descriptor of the event pipe."""
    keywords: tuple[str, ...]
    games: int
    seed: int
    act_timeout: float
    overage: float
    memory_limit: int
    heavy_imports: bool
    start: str
    """"auto", "fork" or "spawn"."""
    isolation: str
    """"auto" or "python"."""
    probe: bool


def draw_keywords(entries: Sequence[dict], words: Sequence[str], games: int, seed: int) -> list[DrawnKeyword]:
    """Each given word, with category and alternatives where the list knows it, then random ones up to ``games``.

    >>> draw_keywords([{"category": "things", "words": [{"keyword": "Pot", "alts": ["jar"]}]}], ["pot"], 1, 0)
    [DrawnKeyword(word='pot', category='things', alts=('jar',))]
    """
    known = {
        item["keyword"].lower(): DrawnKeyword(item["keyword"], entry["category"], tuple(item["alts"]))
        for entry in entries
        for item in entry["words"]
    }
    drawn = []
    for word in words:
        found = known.get(word.lower(), DrawnKeyword(word))
        drawn.append(DrawnKeyword(word, found.category, found.alts))
    rest = sorted(set(known) - {word.lower() for word in words})
    missing = max(0, min(games - len(drawn), len(rest)))
    return drawn + [known[word] for word in random.Random(seed).sample(rest, missing)]


class Match:
    """Plays the probes and the games of one archive, in a process of its own."""

    def __init__(self, spec: MatchSpec) -> None:
        self.spec, self._events, self._lock = spec, os.fdopen(spec.events, "w", encoding="utf-8"), threading.Lock()
        self._scratch, self._count, self._steps, self._env = Path(spec.scratch), 0, 0, None
        self._isolation = self._isolate()
        die_with_parent()
        self._package = load_environment(heavy_imports=spec.heavy_imports)
        self._rules = importlib.import_module(f"kaggle_environments.envs.{ENVIRONMENT}.{ENVIRONMENT}")
        self._gpus = gpus_present()
        fork = spec.start == "fork" or (spec.start == "auto" and not self._gpus)
        self._starter = ForkServer(close=[spec.events]) if fork else Spawner()  # before any thread
        self._pool = multiprocessing.get_context("fork").Pool(len(SEAT_NAMES), initializer=die_with_parent)
        self._watch = MemoryWatch(spec.memory_limit, tick=self._report_step)
        self._watch.start()
        self._emit(
            "isolation",
            **asdict(self._isolation),
            seats="forked" if fork else "new interpreter",
            environment=self._package.__version__,
        )

    def play(self) -> None:
        """Everything that was asked for, reported as it happens."""
        if self.spec.probe:
            self._probe()
        entries = json.loads(self._rules.KEYWORDS_JSON)
        for number, keyword in enumerate(
            draw_keywords(entries, self.spec.keywords, self.spec.games, self.spec.seed), 1
        ):
            self._game(number, keyword)
        self._emit("done")

    def close(self) -> None:
        """End every process."""
        self._pool.terminate()
        self._starter.close()

    def _isolate(self) -> Isolation:
        if self.spec.isolation == "python":
            return Isolation("python", "python", "namespaces were not asked for")
        root = self._scratch / "root"
        root.mkdir()
        return enter_namespaces(Path(self.spec.agent), root, keep=self._needed())

    def _needed(self) -> list[Path]:
        """Folders without which nothing runs, should they lie below /kaggle.

        Not every entry of sys.path: a notebook has /kaggle/working there, which an agent must not see.
        """
        installed = [entry for entry in sys.path if {"site-packages", "dist-packages"} & set(Path(entry).parts)]
        specs = [importlib.util.find_spec(name) for name in ("submission_builder", "kaggle_environments")]
        ours = [str(Path(spec.origin).parent) for spec in specs if spec is not None and spec.origin]
        prefixes = [sys.prefix, sys.base_prefix, self.spec.scratch, *installed, *ours]
        return [path for path in dict.fromkeys(Path(p).resolve() for p in prefixes) if path.exists()]

    def _start(self, names: Sequence[str]) -> list[RunningSeat]:
        hidden_here = self._isolation.files == "namespace"
        folder = AGENT_DIR if hidden_here else Path(self.spec.agent)

        def spec_of(name: str) -> SeatSpec:
            self._count += 1
            own = self._scratch / f"seat-{self._count}"
            own.mkdir()
            gpu = self._gpus[list(names).index(name) % len(self._gpus)] if self._gpus else None
            readable = [] if hidden_here else [str(folder), *(str(p) for p in self._needed() if p != HIDDEN)]
            return SeatSpec(
                str(own),
                self._isolation.network != "namespace",
                not hidden_here,
                tuple(readable),
                gpu,
                self.spec.heavy_imports,
            )

        seats = start_seats(names, spec_of, self._starter, folder / "main.py")
        self._watch.seats = tuple(seats)
        return seats

    def _stop(self, seats: Sequence[RunningSeat]) -> None:
        self._watch.seats = ()
        for seat in seats:
            seat.stop()

    def _environment(self):
        env = make_environment(self._package, act_timeout=self.spec.act_timeout, overage=self.spec.overage)
        env.pool = self._pool  # made before the watching thread, so that no process is forked beside a thread
        return env

    def _probe(self) -> None:
        seats = self._start(PROBE_SEATS)
        try:
            results, problems = run_probes(
                seats,
                self._environment(),
                act_timeout=self.spec.act_timeout,
                overage=self.spec.overage,
                note=lambda name: self._emit("note", text=name),
            )
        finally:
            self._stop(seats)
        self._emit("probes", results=[asdict(r) for r in results], problems=[asdict(p) for p in problems])

    def _game(self, number: int, keyword: DrawnKeyword) -> None:
        self._emit("note", text=f"game {number}: {keyword.word}")
        self._env = env = self._environment()
        seats = self._start(SEAT_NAMES)
        try:
            result, episode = play_game(env, self._rules, keyword, seats, overage=self.spec.overage)
        finally:
            self._stop(seats)
            self._env = None
        slug = re.sub(r"\W+", "-", keyword.word.lower()).strip("-")[:60] or "keyword"
        path = self._scratch / f"{number:02d}-{slug}.json"
        path.write_text(json.dumps(episode), encoding="utf-8")
        self._emit("game", result=asdict(result), path=str(path))

    def _report_step(self) -> None:
        env = self._env
        steps = len(env.steps) if env is not None else 0
        if steps != self._steps:
            self._steps = steps
            self._emit("step", step=steps)

    def _emit(self, kind: str, **values) -> None:
        with self._lock:
            self._events.write(json.dumps({"kind": kind, **values}) + "\n")
            self._events.flush()


def main(path: str) -> None:
    """Entry of the process: ``path`` is a MatchSpec as JSON."""
    values = json.loads(Path(path).read_text(encoding="utf-8"))
    match = Match(MatchSpec(**{**values, "keywords": tuple(values["keywords"])}))
    try:
        match.play()
    finally:
        match.close()
