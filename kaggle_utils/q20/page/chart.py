"""The two drawings of a replay as inline SVG: candidates left on a logarithmic scale, and seconds of every round.

Only numbers come in and only numbers come out: no text of a player gets here. Colours are left to the style sheet
(classes ``a`` and ``b``), and the teams differ in dash and marker as well, so that print and every eye can tell them
apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kaggle_utils.q20.page.text import count, plural, seconds

__all__ = ["candidates_chart", "meter", "time_chart"]

_WIDTH, _HEIGHT = 400, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 390, 12, 192
_TEAMS = ("a", "b")


def candidates_chart(teams: Sequence[Sequence[int | None]], hits: Sequence[int | None]) -> str:
    """Draw how many candidates each team had left before the guess of each round; "" when nothing is known.

    ``teams`` holds one count (or None) per round and team, ``hits`` the round (0-based) in which a team found the
    keyword. The dotted line loses one bit a round: what perfect questions do.
    """
    known = [number for team in teams for number in team if number is not None]
    if not known:
        return ""
    rounds, decades = _span(teams), max(1, math.ceil(math.log10(max(*known, 1)) - 1e-9))

    def x(index: int) -> float:
        return _LEFT + 14 + (_RIGHT - _LEFT - 28) * index / (rounds - 1)

    one = _BOTTOM - 16 if 0 in known else _BOTTOM  # a line of its own for "nothing fits": log 0 has no place

    def y(number: float) -> float:
        return one - (one - _TOP) * math.log10(number) / decades if number > 0 else _BOTTOM

    ticks = [0] * (0 in known) + [10**power for power in range(decades + 1)]
    parts = [_grid([(y(tick), count(tick)) for tick in ticks]), _rounds_axis(rounds, x)]
    parts.append(_halving(max(known), rounds, x, y))
    for name, team, hit in zip(_TEAMS, teams, hits, strict=True):
        points = [(index, x(index), y(number), number) for index, number in enumerate(team) if number is not None]
        parts.append(_curve(name, points, hit))
    return _svg("Candidates left per round, logarithmic scale", "".join(parts))


def time_chart(teams: Sequence[Sequence[tuple[float, float]]]) -> str:
    """Draw the seconds that guesser (solid) and answerer (pale) took in each round; "" when no time is known."""
    longest = max((sum(pair) for team in teams for pair in team), default=0.0)
    if longest <= 0:
        return ""
    rounds, top, ticks = _span(teams), *_scale(longest)
    slot = (_RIGHT - _LEFT) / rounds

    def x(index: int) -> float:
        return _LEFT + slot * (index + 0.5)

    lines = [(_BOTTOM - (_BOTTOM - _TOP) * tick / top, _tick(tick, top)) for tick in ticks]
    parts = [_grid(lines), _rounds_axis(rounds, x)]
    width = min(slot * 0.36, 14)
    for side, (name, team) in enumerate(zip(_TEAMS, teams, strict=True)):
        for index, pair in enumerate(team):
            parts.append(_bar(name, index, x(index) + (side - 1) * width, width, pair, (_BOTTOM - _TOP) / top))
    return _svg("Seconds per round: guesser solid, answerer pale", "".join(parts))


def meter(share: float) -> str:
    """Return a thin bar that is filled to ``share`` (0 to 1); what it says must also stand beside it as text.

    >>> meter(0.25)
    '<svg class="meter" aria-hidden="true"><rect width="25%"/></svg>'
    """
    share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return f'<svg class="meter" aria-hidden="true"><rect width="{100 * share:.3g}%"/></svg>'


def _span(teams: Sequence[Sequence[object]]) -> int:
    return max(2, *(len(team) for team in teams))


def _svg(title: str, content: str) -> str:
    return f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{title}</title>{content}</svg>'


def _grid(lines: Sequence[tuple[float, str]]) -> str:
    return "".join(
        f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/><text x="{_LEFT - 5}" y="{y + 3.5:.1f}" '
        f'text-anchor="end">{label}</text>'
        for y, label in lines
    )


def _rounds_axis(rounds: int, x) -> str:
    step = next(step for step in (1, 5, 10, 100, rounds) if rounds / step <= 10)
    shown = sorted({1, *range(step, rounds + 1, step)})
    labels = "".join(f'<text x="{x(n - 1):.1f}" y="{_BOTTOM + 14}" text-anchor="middle">{n}</text>' for n in shown)
    return f'{labels}<text x="{(_LEFT + _RIGHT) / 2:.0f}" y="{_HEIGHT - 1}" text-anchor="middle">round</text>'


def _halving(start: int, rounds: int, x, y) -> str:
    steps = min(rounds - 1, max(1, math.ceil(math.log2(max(start, 2)))))
    return f'<path class="halving" d="M{x(0):.1f} {y(start):.1f}L{x(steps):.1f} {y(start / 2**steps):.1f}"/>'


def _curve(name: str, points: Sequence[tuple[int, float, float, int]], hit: int | None) -> str:
    line = " ".join(f"{x:.1f},{y:.1f}" for _, x, y, _ in points)
    marks = "".join(
        f"{_mark(name, x, y, index == hit)}<title>round {index + 1}: {plural(number, 'candidate')}</title></g>"
        for index, x, y, number in points
    )
    return f'<polyline class="line {name}" points="{line}"/>{marks}'


def _mark(name: str, x: float, y: float, hit: bool) -> str:
    """Open a group with the marker of one round; the caller adds its title and closes it."""
    ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="7"/>' if hit else ""
    if name == "a":
        return f'<g class="mark a">{ring}<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
    return f'<g class="mark b">{ring}<rect x="{x - 2.4:.1f}" y="{y - 2.4:.1f}" width="4.8" height="4.8"/>'


def _scale(longest: float) -> tuple[float, list[float]]:
    """Return the top of a linear axis and its ticks, in steps of 1, 2 or 5."""
    power = 10.0 ** math.floor(math.log10(longest / 4))
    step = next(power * digit for digit in (1, 2, 5, 10) if longest / (power * digit) <= 5)
    steps = math.ceil(longest / step - 1e-9)
    return steps * step, [step * index for index in range(steps + 1)]


def _tick(tick: float, top: float) -> str:
    if not tick:
        return "0"
    return f"{tick:g} s" if top > 0.5 else f"{1000 * tick:g} ms"


def _bar(name: str, index: int, left: float, width: float, pair: tuple[float, float], scale: float) -> str:
    guesser, answerer = pair
    if guesser + answerer <= 0:
        return ""
    low, high = guesser * scale, answerer * scale
    title = f"<title>round {index + 1}: guesser {seconds(guesser)}, answerer {seconds(answerer)}</title>"
    return (
        f'<g class="bar {name}">{title}<rect x="{left:.1f}" y="{_BOTTOM - low:.1f}" width="{width:.1f}" '
        f'height="{low:.1f}"/><rect class="pale" x="{left:.1f}" y="{_BOTTOM - low - high:.1f}" width="{width:.1f}" '
        f'height="{high:.1f}"/></g>'
    )
