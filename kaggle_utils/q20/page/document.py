"""The page of one game: a GameRecord as one HTML document that needs nothing else.

It promises valid, script-free HTML under a Content-Security-Policy that lets nothing load or run, the same bytes for
the same record, and no text of a player outside ``text.show``. It computes no candidates: it shows those that
the record holds.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from kaggle_utils.q20.page.chart import candidates_chart, time_chart
from kaggle_utils.q20.page.rounds import NAME_BYTES, TEAM_CLASSES, TEXT_BYTES, team_section, turn_seconds
from kaggle_utils.q20.page.story import failures, hit_round, result, team_names, verdict
from kaggle_utils.q20.page.text import plain, seconds, show
from kaggle_utils.q20.protocol import ROUNDS
from kaggle_utils.q20.record import GameRecord, Team

__all__ = ["page"]

_LEGEND = {
    False: "Candidates: the words of the vocabulary that fit every answer so far, before the guess of the round. Bits: "
    "the entropy of their probabilities.",
    True: "Candidates: 2 to the power of the entropy of what our questioner would believe, before the guess of the "
    "round; no word is ever ruled out but by a guess. Bits: what an answer took off that entropy, and what the "
    "question was expected to take off before it was answered.",
}
"""What the figures are: by spelling alone, and by the questioner's posterior."""


def page(record: GameRecord) -> str:
    """Return the whole document."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    teams = "".join(team_section(record, index) for index in range(2))
    aligned = " aligned" if all(len(team.rounds) <= ROUNDS for team in record.teams) else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{plain(record.keyword)} · 20 Questions</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{_header(record)}\n<main>\n{_overview(record)}\n"
        f'<div class="teams{aligned}">\n{teams}</div>\n</main>\n{_footer(record)}\n</body>\n</html>\n'
    )


@lru_cache(maxsize=1)
def _style() -> str:
    return (Path(__file__).parent / "replay.css").read_text(encoding="utf-8")


def _header(record: GameRecord) -> str:
    also = ", ".join(show(name, limit=TEXT_BYTES) for name in record.alts[:20])
    facts = f"Category: {show(record.category, limit=TEXT_BYTES)}" + (f" · also accepted: {also}" if also else "")
    won = any(hit_round(record, team) is not None for team in record.teams)
    kind = "fault" if failures(record) or record.error else "won" if won else "tied"
    reported = f'<p class="facts reported">Reported: {show(record.error, limit=1000)}</p>\n' if record.error else ""
    return (
        f'<header>\n<p class="over">20 Questions · replay</p>\n<h1>{show(record.keyword, limit=200)}</h1>\n'
        f'<p class="facts">{facts}</p>\n<p class="verdict {kind}">{show(verdict(record))}</p>\n{reported}</header>'
    )


def _overview(record: GameRecord) -> str:
    heading = '<h2 id="overview" class="vh">Overview</h2>'
    cards = f"{_scoreboard(record)}\n{_charts(record)}"
    return f'<section class="overview" aria-labelledby="overview">\n{heading}\n{cards}\n</section>'


def _scoreboard(record: GameRecord) -> str:
    names = [show(name, limit=NAME_BYTES) for name in team_names(record)]
    heads = "".join(
        f'<th scope="col"><a class="name {kind}" href="#team-{kind}">{name}</a></th>'
        for kind, name in zip(TEAM_CLASSES, names, strict=True)
    )
    rows = [
        ("Result", [show(result(record, index)) for index in range(2)]),
        ("Reward", [_reward(team.reward) for team in record.teams]),
        ("Rounds", [str(len(team.rounds)) for team in record.teams]),
        ("Guesser", [_seat(team, 0) for team in record.teams]),
        ("Answerer", [_seat(team, 1) for team in record.teams]),
        ("Slowest turn", [turn_seconds(max(_times(team, 0, 1, 2), default=None)) for team in record.teams]),
    ]
    body = "".join(f'<tr><th scope="row">{name}</th><td>{a}</td><td>{b}</td></tr>' for name, (a, b) in rows)
    return f'<table class="score">\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>{body}</tbody>\n</table>'


def _reward(reward: float | None) -> str:
    if reward is None or not math.isfinite(reward):
        return "none"
    return f"{reward:+g}".replace("-", "−") if reward else "0"


def _seat(team: Team, seat: int) -> str:
    """Return how a seat ended and how long it thought in all."""
    status = team.statuses[seat]
    ended = "finished" if status == "DONE" else f'<span class="flag bad">{show(status, limit=60)}</span>'
    known = _times(team, 1) if seat else _times(team, 0, 2)
    if not known:
        return ended
    texts = [(r.answer,) if seat else (r.question, r.guess) for r in team.rounds]
    least = "" if len(known) >= sum(map(bool, itertools.chain(*texts))) else "at least "
    return f"{ended} · {least}{seconds(sum(known))}"


def _times(team: Team, *turns: int) -> list[float]:
    """Return the known seconds of the turns with these numbers (0 ask, 1 answer, 2 guess)."""
    values = [played.seconds[turn] for played in team.rounds for turn in turns]
    return [value for value in values if value is not None and 0 <= value < 1e6]


def _charts(record: GameRecord) -> str:
    names = [show(name, limit=NAME_BYTES) for name in team_names(record)]
    keys = "".join(f'<span class="key {kind}">{name}</span>' for kind, name in zip(TEAM_CLASSES, names, strict=True))
    hits = [hit_round(record, team) for team in record.teams]
    counts = candidates_chart([[played.candidate_count for played in team.rounds] for team in record.teams], hits)
    times = time_chart([_pairs(team) for team in record.teams]) if _mostly_timed(record) else ""
    halving, paler = '<span class="key dots">halving</span>', '<span class="key pale">answerer paler</span>'
    return _figure("Candidates left", keys + halving, counts) + _figure("Seconds per round", keys + paler, times)


def _figure(title: str, keys: str, drawing: str) -> str:
    if not drawing:
        return ""
    return f"<figure><figcaption><b>{title}</b> {keys}</figcaption>{drawing}</figure>"


def _mostly_timed(record: GameRecord) -> bool:
    known = sum(len(_times(team, 0, 1, 2)) for team in record.teams)
    return 2 * known >= 3 * sum(len(team.rounds) for team in record.teams) > 0


def _pairs(team: Team) -> list[tuple[float, float]]:
    """Return the seconds of guesser and answerer for each round; an unknown turn counts as none."""
    rounds = [replace(team, rounds=(played,)) for played in team.rounds]
    return [(sum(_times(one, 0, 2)), sum(_times(one, 1))) for one in rounds]


def _footer(record: GameRecord) -> str:
    source = f"Source: {show(record.source, limit=TEXT_BYTES)}. " if record.source else ""
    known = any(played.expected_bits is not None for team in record.teams for played in team.rounds)
    return (
        f"<footer><p>{source}{_LEGEND[known]} An answer is called wrong only where the question is about the spelling "
        "of the keyword.</p></footer>"
    )
