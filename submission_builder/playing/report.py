"""What a verification found, as data and as text.

Plain records: they travel as JSON between the process that plays and the one that asked. They know nothing of how the
games were played.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from submission_builder.linting.problem import Problem, errors_in, sort_problems
from submission_builder.packing.units import format_size

__all__ = ["GameResult", "ProbeResult", "SeatResult", "VerifyReport"]

_GIB = 2**30


@dataclass(frozen=True)
class SeatResult:
    """One seat in one game; times in seconds, memory in bytes."""

    name: str
    turns: int
    first_act: float
    """First turn, in which main.py and its model load."""
    median_act: float
    """Of the later turns."""
    max_act: float
    """Of the later turns."""
    overage_used: float
    peak_anonymous: int
    """What counts against the machine's memory."""
    peak_resident: int
    """With pages of mapped files."""
    status: str


@dataclass(frozen=True)
class GameResult:
    """One whole game by self-play."""

    keyword: str
    category: str
    rounds: int
    winner: str
    """"team 1", "team 2", "both", or "" when nobody found the keyword."""
    rewards: tuple[float | None, ...]
    statuses: tuple[str, ...]
    seconds: float
    seats: tuple[SeatResult, ...]
    problems: tuple[Problem, ...] = ()
    path: str = ""
    """The episode as JSON, with the environment's and the seats' logs."""

    @property
    def won(self) -> bool:
        """The keyword was found and no seat failed."""
        return bool(self.winner) and not errors_in(self.problems)

    @classmethod
    def from_dict(cls, values: Mapping) -> GameResult:
        """Read what ``dataclasses.asdict`` made of one."""
        lists = {
            "rewards": tuple(values["rewards"]),
            "statuses": tuple(values["statuses"]),
            "seats": tuple(SeatResult(**seat) for seat in values["seats"]),
            "problems": tuple(Problem(**problem) for problem in values["problems"]),
        }
        return cls(**{**values, **lists})


@dataclass(frozen=True)
class ProbeResult:
    """One turn asked outside a game."""

    name: str
    reply: str
    seconds: float
    valid: bool
    settled: float | None = None
    """Seconds from the seat's first turn until it stopped computing (a model that loads in the background)."""


@dataclass(frozen=True)
class VerifyReport:
    """Everything that ``verify_archive`` saw."""

    archive: str
    size: int
    unpacked_size: int
    files: int
    tar_sha256: str
    isolation: Mapping[str, str]
    """"network", "files", "seats" and the "reason" for less than a namespace; "environment": its version."""
    found: tuple[Problem, ...] = ()
    """Problems of the archive, main.py, the probes and the run as a whole."""
    probes: tuple[ProbeResult, ...] = ()
    games: tuple[GameResult, ...] = ()
    min_wins: int = 0
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        """All problems, errors first."""
        return sort_problems([*self.found, *(problem for game in self.games for problem in game.problems)])

    @property
    def wins(self) -> int:
        """Games in which self-play found the keyword."""
        return sum(game.won for game in self.games)

    @property
    def ok(self) -> bool:
        """No errors of any kind, every game played, and at least ``min_wins`` of them won."""
        return not errors_in(self.problems) and bool(self.games) and self.wins >= self.min_wins

    def to_json(self) -> str:
        """Everything, as an indented JSON text."""
        values = asdict(self)
        values.update(ok=self.ok, wins=self.wins, problems=[asdict(problem) for problem in self.problems])
        return json.dumps(values, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """The report for people, what to fix last."""
        lines = [
            f"{self.archive}: {format_size(self.size)}, {self.files} files, {format_size(self.unpacked_size)} unpacked"
        ]
        lines += [self._surroundings(), *self._probe_lines(), *self._game_lines(), ""]
        if self.games:
            lines.append(
                f"keyword found in {self.wins} of {len(self.games)} games"
                + (f" (at least {self.min_wins} wanted)" if self.min_wins else "")
            )
        if self.problems:
            lines += ["to fix:", *(f"  {problem}" for problem in self.problems)]
        verdict = "OK: it would pass a validation episode" if self.ok else "NOT OK: do not submit it as it is"
        return "\n".join([*lines, verdict])

    def _surroundings(self) -> str:
        how = {"namespace": "closed by a namespace", "python": "refused to Python code only"}
        reason = f" ({self.isolation['reason']})" if self.isolation.get("reason") else ""
        limits = self.limits
        clock = (
            f"; {limits['act_timeout']:g} s a turn + {limits['overage']:g} s, {limits['memory'] / _GIB:.2f} GiB a seat"
            if limits
            else ""
        )
        return (
            f"kaggle-environments {self.isolation.get('environment', '?')}, fresh process per seat "
            f"({self.isolation.get('seats', '?')}); network {how.get(self.isolation.get('network', ''), 'open')}, "
            f"/kaggle {how.get(self.isolation.get('files', ''), 'readable')}{reason}{clock}"
        )

    def _probe_lines(self) -> list[str]:
        lines = ["", "single turns"] if self.probes else []
        for probe in self.probes:
            settled = f", busy until {probe.settled:.1f} s" if probe.settled is not None else ""
            mark = "ok " if probe.valid else "BAD"
            lines.append(f"  {mark} {probe.name:<34} {probe.seconds:7.2f} s{settled}  {probe.reply[:60]!r}")
        return lines

    def _game_lines(self) -> list[str]:
        lines = []
        for number, game in enumerate(self.games, 1):
            result = f"found by {game.winner}" if game.winner else "not found"
            failed = " and ".join(sorted({s for s in game.statuses if s not in ("DONE", "ACTIVE", "INACTIVE")}))
            lines += [
                "",
                f"game {number}: {game.keyword!r} {failed or result} after {game.rounds} rounds, "
                f"rewards {list(game.rewards)}, {game.seconds:.1f} s",
                f"  {'seat':<20}{'turns':>6}{'first':>9}"
                f"{'median':>9}{'max':>9}{'overage':>9}{'memory':>11}{'resident':>11}",
            ]
            lines += [
                f"  {s.name:<20}{s.turns:>6}{s.first_act:>7.2f} s{s.median_act:>7.2f} s{s.max_act:>7.2f} s"
                f"{s.overage_used:>7.1f} s{s.peak_anonymous / _GIB:>7.2f} GiB{s.peak_resident / _GIB:>7.2f} GiB"
                for s in game.seats
            ]
        return lines
