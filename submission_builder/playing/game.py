"""Play one game of the real environment against seats that serve over HTTP, and explain how it went.

The keyword is set in this process only. The environment's own code asks the seats, applies the rules and keeps the
clock; this module reads the episode afterwards.
"""

from __future__ import annotations

import copy
import re
import statistics
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from submission_builder.linting.problem import Problem
from submission_builder.playing.report import GameResult, SeatResult
from submission_builder.playing.running import RunningSeat
from submission_builder.playing.seat import ENVIRONMENT

__all__ = ["SEAT_NAMES", "DrawnKeyword", "make_environment", "play_game", "traceback_tail"]

SEAT_NAMES = ("team 1 guesser", "team 1 answerer", "team 2 guesser", "team 2 answerer")
"""In the environment's order."""
_FAILED = ("ERROR", "INVALID", "TIMEOUT")


@dataclass(frozen=True)
class DrawnKeyword:
    """A keyword with what the environment's list says about it."""

    word: str
    category: str = "things"
    alts: tuple[str, ...] = ()


def make_environment(package: ModuleType, *, act_timeout: float, overage: float):
    """``kaggle_environments.make`` with this clock; a fresh environment, nothing of the package is changed."""
    registered = package.environments[ENVIRONMENT]
    specification = copy.deepcopy(registered["specification"])
    bank = specification["observation"]["remainingOverageTime"]
    specification["observation"]["remainingOverageTime"] = (
        {**bank, "default": overage} if isinstance(bank, dict) else overage
    )
    return package.make({**registered, "specification": specification}, configuration={"actTimeout": act_timeout})


def play_game(env, rules: ModuleType, keyword: DrawnKeyword, seats: Sequence[RunningSeat], *, overage: float):
    """Play ``env`` to its end.

    Args:
        env: a fresh environment whose ``pool`` asks the seats in parallel.
        rules: the module that holds keyword, category and alts.
        keyword: what is to be found.
        seats: four, in the environment's order.
        overage: the bank each seat started with, in seconds.

    Returns:
        (GameResult, episode): the episode is ``env.toJSON()`` with "logs" and "seat_logs".
    """
    rules.keyword, rules.category, rules.alts = keyword.word, keyword.category, list(keyword.alts)
    start, crash = time.perf_counter(), ""
    try:
        env.run([seat.url for seat in seats])
    except Exception:  # the interpreter itself: on Kaggle nobody would get a replay
        crash = traceback.format_exc()
    seconds = time.perf_counter() - start
    episode = env.toJSON()
    episode["logs"], episode["seat_logs"] = env.logs, [seat.log() for seat in seats]
    last = episode["steps"][-1]
    asked = _asked_keyword(rules, last)
    problems = [_crash_problem(crash, asked)] if crash else []
    if asked and not crash:
        message = f"the question {asked[0][:80]!r} equals the keyword: asked by one team only, it crashes the episode"
        problems.append(Problem("game", "error", message, "never ask a bare word; ask 'Is it X?'"))
    results = []
    for index, seat in enumerate(seats):
        durations = [step[index]["duration"] for step in env.logs if len(step) > index and "duration" in step[index]]
        results.append(_seat_result(seat, last[index], durations, overage))
        problems += _seat_problems(seat, last[index], durations, overage, env.configuration.actTimeout)
    rewards = tuple(state["reward"] for state in last)
    winners = [] if crash or any(s.status in _FAILED for s in results) else [t for t in (0, 1) if rewards[2 * t] > 0]
    winner = "both" if len(winners) == 2 else f"team {winners[0] + 1}" if winners else ""
    rounds = (len(episode["steps"]) + 1) // 3
    return GameResult(
        keyword.word,
        keyword.category,
        rounds,
        winner,
        rewards,
        tuple(s.status for s in results),
        seconds,
        tuple(results),
        tuple(problems),
    ), episode


def traceback_tail(text: str) -> str:
    """The last error of a printed traceback and the line of main.py nearest to it.

    >>> traceback_tail('Traceback:\\n  File "/a/main.py", line 3, in agent\\n    x()\\nNameError: no x\\n')
    'NameError: no x (main.py line 3)'
    """
    pattern = r"^(?!Traceback|During|The above)([A-Za-z_][\w.]*: .*|[A-Za-z_][\w.]*(?:Error|Exception))$"
    errors = re.findall(pattern, text, re.MULTILINE)
    if not errors:
        return text.strip().rpartition("\n")[2]
    lines = re.findall(r'File "[^"]*/main\.py", line (\d+)', text)
    error = next((e for e in errors if not e.startswith("kaggle_environments.")), errors[-1])
    return error[:500] + (f" (main.py line {lines[-1]})" if lines else "")


def _seat_result(seat: RunningSeat, state: Mapping, durations: Sequence[float], overage: float) -> SeatResult:
    later = durations[1:]
    left = state["observation"]["remainingOverageTime"]
    return SeatResult(
        seat.name,
        len(durations),
        durations[0] if durations else 0.0,
        statistics.median(later) if later else 0.0,
        max(later, default=0.0),
        max(0.0, overage - left),
        seat.peak.anonymous,
        seat.peak.resident,
        state["status"],
    )


def _crash_problem(crash: str, asked: Sequence[str]) -> Problem:
    if asked:
        return Problem(
            "game",
            "error",
            f"the environment crashed: the question {asked[0][:80]!r} equals the keyword; on Kaggle the whole episode "
            "is lost",
            "never ask a bare word; ask 'Is it X?'",
        )
    return Problem("game", "error", f"the environment crashed: {traceback_tail(crash)}", "see the game's logs")


def _asked_keyword(rules: ModuleType, last: Sequence[Mapping]) -> list[str]:
    """Questions that the environment takes for a guess."""
    questions = [question for state in last[::2] for question in state["observation"]["questions"]]
    return [question for question in dict.fromkeys(questions) if rules.keyword_guessed(question)]


def _seat_problems(
    seat: RunningSeat, state: Mapping, durations: Sequence[float], overage: float, act_timeout: float
) -> list[Problem]:
    """Why this seat failed, or what came close."""
    used = overage - state["observation"]["remainingOverageTime"]
    if state["status"] not in _FAILED:
        if used > overage / 3:
            return [
                Problem(
                    seat.name,
                    "warning",
                    f"used {used:.0f} of the {overage:.0f} s beyond the turns' "
                    f"{act_timeout:g} s (first turn {durations[0]:.0f} s)",
                    "load less, or quantise before packing",
                )
            ]
        return []
    ended = seat.wait_end(0.3 if state["status"] == "TIMEOUT" else 1.0)
    turn = f"in turn {len(durations)}"
    if seat.over_limit:
        return [
            Problem(
                seat.name,
                "error",
                f"{seat.over_limit} {turn}",
                "quantise before packing, load with low_cpu_mem_usage, or map the weights",
            )
        ]
    if ended:
        return [
            Problem(
                seat.name,
                "error",
                f"its process {ended} {turn}. Its output ends: {seat.output()[-300:]!r}",
                "main.py must not end the process; look for a crash in native code",
            )
        ]
    if state["status"] == "TIMEOUT":
        return [
            Problem(
                seat.name,
                "error",
                f"timed out {turn} after {durations[-1]:.1f} s (a turn may take {act_timeout:g} "
                f"s, and {overage:g} s more in the whole game, loading included)",
                "answer from a fallback when time runs out",
            )
        ]
    return [Problem(seat.name, "error", *_bad_reply(seat, state, turn))]


def _bad_reply(seat: RunningSeat, state: Mapping, turn: str) -> tuple[str, str]:
    log = seat.log()
    stderr = log[-1]["stderr"] if log else ""
    kind = state["observation"]["turnType"]
    if "Traceback" in stderr:
        return f"raised {traceback_tail(stderr)} {turn} ({kind})", "catch it in agent and return a fallback"
    if kind == "answer" and state["action"]:
        return f"answered {state['action'][:80]!r} {turn}: it holds neither yes nor no", "return 'yes' or 'no'"
    return (
        f"gave no usable reply {turn} ({kind}): {state['action']!r}. Its output ends: {seat.output()[-300:]!r}",
        "return a non-empty str in every turn",
    )
