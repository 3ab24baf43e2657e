"""The conformance test for agents: call one as the environment does and report every rule that it breaks.

It checks that replies are valid, in time and harmless, on ordinary turns and on hostile ones. It does not check that
the agent plays well (``arena`` does) nor that its archive loads (``submission_builder.verify`` does).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kaggle_utils.q20.arena import call_agent, configuration
from kaggle_utils.q20.hostile import hostile_observations
from kaggle_utils.q20.keywords import is_bare_keyword
from kaggle_utils.q20.protocol import GUESS_LIMIT, OVERAGE_SECONDS, QUESTION_LIMIT, ROUNDS, TURNS, TurnType
from kaggle_utils.q20.structs import Struct

__all__ = ["broken_rules", "check_agent", "example_observation"]

_SAMPLES = (
    "Is it a living thing?",
    "Can you hold it in one hand?",
    "Would you find it in a house?",
    "Is it made of metal?",
)


def check_agent(
    agent: Callable[..., Any], *, count: int = 200, seed: int = 0, malformed: bool = False, act_timeout: float = 60.0
) -> None:
    """Call ``agent(obs, cfg)`` on every kind of turn and on ``count`` hostile observations.

    With ``malformed`` half of the hostile ones are what only a broken environment would send. ``act_timeout`` is in
    seconds; a reply that takes longer is reported (an agent that never returns is not cut off).

    Raises:
        AssertionError: lists all broken rules at once, how often each was broken, and one observation that shows it.

    >>> check_agent(lambda obs: {"ask": "Is it alive?", "answer": "yes", "guess": "tree"}[obs.turnType], count=20)
    >>> check_agent(lambda obs: "maybe", count=20)
    Traceback (most recent call last):
    AssertionError: the agent breaks 1 rule:
      - answer: must be exactly 'yes' or 'no' (... times; first it replied 'maybe' after ... s to {...})
    """
    found: dict[str, list[str]] = {}
    examples = [example_observation(turn, round=number) for number in (0, 1, ROUNDS - 1) for turn in TURNS]
    for obs in [*examples, *hostile_observations(seed, count, malformed=malformed)]:
        asked = _shorten(dict(obs), 400)  # before the call: the agent may change it
        rules, told = _call(agent, obs, act_timeout)
        for rule in rules:
            found.setdefault(rule, []).append(f"{told} to {asked}")
    if found:
        lines = [f"  - {rule} ({len(cases)} times; first it {cases[0]})" for rule, cases in found.items()]
        raise AssertionError(f"the agent breaks {len(found)} rule{'s' * (len(found) > 1)}:\n" + "\n".join(lines))


def broken_rules(turn_type: str, reply: object) -> list[str]:
    """Return the rules that one reply breaks, with what happens then; an empty list if there are none.

    >>> broken_rules("guess", "cat"), broken_rules("ask", "Turkey?")
    ([], ['ask: must not be a bare keyword, which crashes the episode; put it into a sentence'])
    """
    if not isinstance(reply, str):
        return [f"{turn_type}: must be a string; anything else ends the game for this team"]
    if turn_type == "answer":
        return [] if reply in ("yes", "no") else ["answer: must be exactly 'yes' or 'no'"]
    limit = GUESS_LIMIT if turn_type == "guess" else QUESTION_LIMIT
    rules = {
        "must not be empty; that ends the game for this team": not reply.strip(),
        f"must not be longer than {limit} characters; the environment cuts it": len(reply) > limit,
        "must not hold lone surrogates, which cannot be written as UTF-8": any(
            "\ud800" <= c <= "\udfff" for c in reply
        ),
        "must not be a bare keyword, which crashes the episode; put it into a sentence": (
            turn_type == "ask" and is_bare_keyword(reply)
        ),
    }
    return [f"{turn_type}: {rule}" for rule, broken in rules.items() if broken]


def example_observation(
    turn: TurnType,
    *,
    round: int = 0,
    keyword: str = "cat",
    category: str = "things",
    remaining: float = OVERAGE_SECONDS,
) -> Struct:
    """Return an ordinary observation of a turn in ``round`` (0 to 19), as the environment sends it.

    ``keyword`` and ``category`` are shown to the answerer only. ``remaining`` is the time bank in seconds.

    >>> obs = example_observation("guess", round=1)
    >>> obs.step, len(obs.questions), len(obs.answers), len(obs.guesses), obs.keyword
    (5, 2, 2, 1, '')
    """
    if turn not in TURNS or not 0 <= round < ROUNDS:
        raise ValueError(f"turn {turn!r} in round {round}: expected one of {TURNS} and a round from 0 to {ROUNDS - 1}")
    index = TURNS.index(turn)
    answering = turn == "answer"
    return Struct(
        remainingOverageTime=remaining,
        step=3 * round + index,
        questions=[f"{_SAMPLES[i % 4][:-1]}{f' ({i})' * (i > 3)}?" for i in range(round + (index > 0))],
        guesses=[f"thing {i}" for i in range(round)],
        answers=["no" if i % 2 else "yes" for i in range(round + (index == 2))],
        role="answerer" if answering else "guesser",
        turnType=turn,
        keyword=keyword if answering else "",
        category=category if answering else "",
    )


def _call(agent: Callable[..., Any], obs: Struct, act_timeout: float) -> tuple[list[str], str]:
    """Return the broken rules and, in words, what the agent did."""
    turn_type = obs.get("turnType")
    turn_type = turn_type if turn_type in TURNS else "unknown turn"
    start = time.perf_counter()
    try:
        reply = call_agent(agent, obs, configuration(act_timeout))
    except Exception as error:  # the environment ends the game for a seat that raises, whatever it raises
        return [f"{turn_type}: must not raise"], f"raised {type(error).__name__}: {_shorten(str(error), 200)}"
    seconds, rules = time.perf_counter() - start, broken_rules(turn_type, reply)
    if seconds > act_timeout:
        rules.append(f"{turn_type}: must not take longer than {act_timeout:g} s (plus what the time bank holds)")
    return rules, f"replied {_shorten(reply, 80)} after {seconds:.3g} s"


def _shorten(value: object, limit: int) -> str:
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 15] + " ... " + shown[-10:]
