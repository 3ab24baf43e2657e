"""What happened in a recorded game, in plain words: who found the keyword when, what failed, which answers were wrong.

Everything is worked out from the record alone with the environment's own comparison. It knows nothing of HTML: the
sentences hold team names as they are, and the page escapes them.
"""

from __future__ import annotations

from kaggle_utils.q20.protocol import keywords_match
from kaggle_utils.q20.questions import is_handshake, parse_question
from kaggle_utils.q20.record import GameRecord, Round, Team

__all__ = ["failures", "hit_round", "is_hit", "result", "right_answer", "team_names", "verdict"]

_ROLES = ("guesser", "answerer")
_RUNNING = ("ACTIVE", "INACTIVE")
_MEANINGS = {
    "ERROR": "it raised, or its reply was empty or not an answer",
    "INVALID": "its reply was not text",
    "TIMEOUT": "it was too slow",
}


def team_names(record: GameRecord) -> tuple[str, str]:
    """Return both names; numbered when they are equal or blank."""
    names = [team.name.strip() for team in record.teams]
    if names[0] and names[1] and names[0] != names[1]:
        return names[0], names[1]
    return f"{names[0] or 'Team'} 1", f"{names[1] or 'Team'} 2"


def is_hit(record: GameRecord, guess: str) -> bool:
    """Say whether the environment takes ``guess`` for the keyword of this game."""
    return bool(guess and record.keyword) and keywords_match(guess, record.keyword, record.alts)


def hit_round(record: GameRecord, team: Team) -> int | None:
    """Return the round (0-based) in which ``team`` found the keyword, or None.

    Where no guess matches, the reward tells: the record may have cut the guess, or not know the other names.
    """
    for index, played in enumerate(team.rounds):
        if is_hit(record, played.guess):
            return index
    won = (team.reward or 0) > 0 and not failures(record)
    return len(team.rounds) - 1 if won and team.rounds else None


def failures(record: GameRecord) -> list[tuple[int, str, str]]:
    """Return (team, "guesser" or "answerer", status) of every seat that ended the game by a fault."""
    return [
        (index, role, status)
        for index, team in enumerate(record.teams)
        for role, status in zip(_ROLES, team.statuses, strict=True)
        if status in _MEANINGS
    ]


def right_answer(record: GameRecord, played: Round) -> str | None:
    """Return the exact answer to a question about the letters of the keyword; None where no rule decides."""
    if not record.keyword or is_handshake(played.question):
        return None
    question = parse_question(played.question)
    if question is None:
        return None
    return "yes" if question.holds(record.keyword) else "no"


def result(record: GameRecord, index: int) -> str:
    """Return one team's result in a few words.

    >>> result(GameRecord("cat", "things", (), (Team("A", (), -1, ("DONE", "DONE")),) * 2, ""), 0)
    'did not find it'
    """
    team = record.teams[index]
    hit = hit_round(record, team)
    if hit is not None:
        return f"found it in round {hit + 1}"
    faults = [f"{role} {status}" for at, role, status in failures(record) if at == index]
    if faults:
        return f"failed: {', '.join(faults)}"
    return "did not find it" if _is_over(record) else "unfinished"


def verdict(record: GameRecord) -> str:
    """Return the outcome of the game in one or two sentences."""
    names, broken = team_names(record), failures(record)
    if broken:
        complete = min(sum(1 for played in team.rounds if played.guess) for team in record.teams)
        faults = "; ".join(f"The {role} of {names[at]}: {status}, {_MEANINGS[status]}" for at, role, status in broken)
        return f"Ended by a fault in round {complete + 1}. {faults}. The seats without a fault get +1 each."
    if record.error:
        return "No result: the environment itself ended the episode."
    hits = [hit_round(record, team) for team in record.teams]
    if hits[0] is not None and hits[1] is not None:
        if hits[0] == hits[1]:
            return f"Both teams found it in round {hits[0] + 1}: a tie."
        return f"{names[0]} found it in round {hits[0] + 1}, {names[1]} in round {hits[1] + 1}."
    for index, hit in enumerate(hits):
        if hit is not None:
            return f"{names[index]} wins: found it in round {hit + 1}, before {names[1 - index]}."
    if _is_over(record):
        rounds = max(len(team.rounds) for team in record.teams)
        return f"A tie: neither team found the keyword in {rounds} rounds."
    return "The record stops before the game was over."


def _is_over(record: GameRecord) -> bool:
    return not any(status in _RUNNING for team in record.teams for status in team.statuses)
