"""The two columns of a replay: what each team asked, heard, guessed and could have known, round by round.

It promises one list item per recorded round, whatever is missing in it, and no text of a player outside
``text.show``. It knows nothing of the rest of the page.
"""

from __future__ import annotations

import math

from kaggle_utils.q20.page.chart import meter
from kaggle_utils.q20.page.story import hit_round, is_hit, result, right_answer, team_names
from kaggle_utils.q20.page.text import flag, percent, plural, seconds, show
from kaggle_utils.q20.protocol import TURNS
from kaggle_utils.q20.record import GameRecord, Round

__all__ = ["NAME_BYTES", "TEAM_CLASSES", "TEXT_BYTES", "team_section", "turn_seconds"]

TEAM_CLASSES = ("a", "b")
"""CSS classes of the two teams."""

NAME_BYTES = 120
"""Bytes of a team's name that are shown."""

TEXT_BYTES = 400
"""Bytes of a guess, word or category that are shown."""

_TURN_LIMIT = 60.0
"""Seconds a turn may take before it eats the seat's time bank."""

_TELLING = 0.05
"""Words are unfolded from the start where the best one has this probability, and where the keyword was found."""

_WORDS = 6
"""Most probable words shown per round."""


def turn_seconds(value: float | None) -> str:
    """Return the time of one turn; marked when it is over the limit of a turn."""
    if value is None or not value > _TURN_LIMIT:
        return seconds(value)
    return f'<b class="slow">{seconds(value)}, over {seconds(_TURN_LIMIT)}</b>'


def team_section(record: GameRecord, index: int) -> str:
    """Return one team as a section: its rounds in order."""
    team, kind, name = record.teams[index], TEAM_CLASSES[index], team_names(record)[index]
    most = max((played.candidate_count or 0 for team in record.teams for played in team.rounds), default=0)
    found = hit_round(record, team)
    rounds = "".join(
        _round(record, played, f"{kind}{at + 1}", at == found, most) for at, played in enumerate(team.rounds)
    )
    content = f'<ol class="rounds">\n{rounds}</ol>' if rounds else '<p class="nothing">No question was recorded.</p>'
    return (
        f'<section class="team {kind}" aria-labelledby="team-{kind}">\n'
        f'<h2 id="team-{kind}">{show(name, limit=NAME_BYTES)} '
        f"<small>{show(result(record, index))}</small></h2>\n{content}\n</section>\n"
    )


def _round(record: GameRecord, played: Round, anchor: str, hit: bool, most: int) -> str:
    guess = f"<b>{show(played.guess, limit=TEXT_BYTES)}</b>" + (f" {flag('✓ the keyword', 'hit')}" if hit else "")
    return (
        f'<li class="round{" found" if hit else ""}" id="{anchor}">\n'
        f'<h3><span class="vh">Round </span>{anchor[1:]}</h3>\n'
        f'<p class="question">{show(played.question)} {_answer(record, played)}{_gain(played)}</p>\n'
        f'<p class="guess"><span class="label">Guess</span> {guess}</p>\n'
        f"{_candidates(record, played, hit, most)}{_turn_times(played)}</li>\n"
    )


def _answer(record: GameRecord, played: Round) -> str:
    if played.answer not in ("yes", "no"):
        said = show(played.answer, limit=TEXT_BYTES) if played.answer else "no answer"
        return f'<span class="flag bad">{said}</span>'
    right = right_answer(record, played)
    wrong = f" {flag(f'wrong: it is {right}', 'bad')}" if right not in (None, played.answer) else ""
    return flag(played.answer, played.answer) + wrong


def _gain(played: Round) -> str:
    """Return what question and answer told, and what the question promised; told may be below zero."""
    bits, promised = _finite(played.gain_bits), _finite(played.expected_bits)
    if bits is None and promised is None:
        return ""
    parts = [] if bits is None else [f'<span title="what the answer took off the entropy">{bits:+.2f} bits</span>']
    if promised is not None:
        title = "what the answer was expected to take off it, before it was known"
        parts.append(f'<span class="promised" title="{title}">{promised:.2f} expected</span>')
    return f' <span class="gain">{" · ".join(parts)} {meter(promised if bits is None else bits)}</span>'


def _finite(bits: float | None) -> float | None:
    return bits if bits is not None and math.isfinite(bits) else None


def _turn_times(played: Round) -> str:
    named = zip(TURNS, played.seconds, strict=True)
    turns = [f"{turn} {turn_seconds(value)}" for turn, value in named if value is not None]
    if not turns:
        return ""
    return f'<p class="times"><span class="vh">Time: </span>{" · ".join(turns)}</p>\n'


def _candidates(record: GameRecord, played: Round, hit: bool, most: int) -> str:
    """Return how many candidates were left before the guess, and the most probable ones to unfold."""
    if played.candidate_count is None and not played.candidates:
        return ""
    summary = _left(played, most)
    if not played.candidates:
        return f'<p class="left">{summary}</p>\n'
    telling = played.candidate_count and (hit or played.candidates[0][1] >= _TELLING)
    unfolded = " open" if telling else ""
    return f'<details class="left"{unfolded}><summary>{summary}</summary>{_words(record, played)}</details>\n'


def _words(record: GameRecord, played: Round) -> str:
    head = '<thead class="vh"><tr><th scope="col">Word</th><th scope="col">Probability</th><td></td></tr></thead>'
    rows = "".join(_word(word, share, is_hit(record, word)) for word, share in played.candidates[:_WORDS])
    return f'<table class="words">{head}<tbody>{rows}</tbody></table>'


def _word(word: str, share: float, hit: bool) -> str:
    shown = show(word, limit=TEXT_BYTES)
    name = f'<b class="right">{shown} ✓</b>' if hit else shown
    return f'<tr><th scope="row">{name}</th><td>{percent(share)}</td><td>{meter(share)}</td></tr>'


def _left(played: Round, most: int) -> str:
    if played.candidate_count is None:
        return "Most probable words"
    if played.candidate_count <= 0:
        return f"{flag('no word fits every answer', 'bad')} best until then"
    bits = played.entropy_bits
    entropy = f" · {bits:.1f} bits" if bits is not None and math.isfinite(bits) else ""
    share = math.log2(played.candidate_count + 1) / math.log2(most + 1)
    return f"{plural(played.candidate_count, 'candidate')}{entropy} {meter(share)}"
