"""20 Questions: win rates beside the physical bound, learned policies, unknown words, the table's health, and speed.

Every rate comes from simulated games of 20 questions with the shipped table, drawn uniformly from the objects of the
cell, against answers that are wrong with a given rate; "ratio" is the win rate over the highest that any questioner
could reach (worked out here, see kaggle_utils/q20/tournament/bounds.py). "final" is one guess after twenty answers,
"kaggle" a free guess after each.

    python benchmarks/q20.py                  # 10,000 games a cell, about 35 minutes on two quiet cores
    python benchmarks/q20.py --quick          # 100 games a cell, under a minute
    python benchmarks/q20.py --only keywords  # one part; see --help

Games with a language model are in q20_arena.py, tables filled by one in q20_compiling.py.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from _q20_cells import PROTOCOLS, Cell, Outcome, play
from _q20_tables import PATH_VARIABLE
from _report import benchmark_parser, save

from kaggle_utils.q20.tournament.noise import Noise

FLIPS = (0, 5, 10, 20)
GAMES, QUICK = 10_000, 100
_GAMES_VARIABLE = "Q20_BENCHMARK_GAMES"
_UNEVEN = {"biased": Noise(false_yes=0.25, false_no=0.05), "persistent": Noise(flip=0.1, persistent=True)}
Found = tuple[dict[str, float], list[str]]


def keywords(quick: bool) -> Found:
    """The 1,128 keywords, semantic and lexical questions, and hard elimination beside."""
    flips = FLIPS[::2] if quick else FLIPS
    cells = [_cell(protocol, "keywords", percent) for protocol in PROTOCOLS for percent in flips]
    hard = [_cell("final", "keywords", percent, questioner="hard") for percent in FLIPS]
    return _rates([*cells, *([] if quick else hard)], quick)


def semantic(quick: bool) -> Found:
    """The same keywords without questions about spelling."""
    flips = FLIPS[2:3] if quick else FLIPS
    return _rates([_cell(protocol, "semantic", percent) for protocol in PROTOCOLS for percent in flips], quick)


def better_pool(quick: bool) -> Found:
    """What a better pool is worth: all questions about meaning against every second of them, in points."""
    flips = FLIPS[2:3] if quick else FLIPS
    pairs = {percent: (_cell("final", "semantic", percent), _cell("final", "semantic_half", percent))
             for percent in flips}  # fmt: skip
    found, lines = _rates([cell for pair in pairs.values() for cell in pair], quick)
    figures = {name: value for name, value in found.items() if name.startswith("win_final_semantic_half")}
    for percent, (whole, half) in pairs.items():
        figures[f"better_pool_gain_{percent}"] = 100 * (found[f"win_{whole.key}"] - found[f"win_{half.key}"])
    return figures, lines


def health(quick: bool) -> Found:
    """How many questions tell objects apart, with and without those about spelling, and cells judged by hand."""
    import _q20_health

    return _joined([_q20_health.pools(everything=not quick), _q20_health.judged()])


def nouns(quick: bool) -> Found:
    """2,000 nouns of WordNet that are no keywords."""
    flips = FLIPS[2:3] if quick else FLIPS
    return _rates([_cell(protocol, "nouns", percent) for protocol in PROTOCOLS for percent in flips], quick)


def unknown(quick: bool) -> Found:
    """The flip rate has to be learned during the game; and answerers whose errors are biased or persistent."""
    flips = FLIPS[2:3] if quick else FLIPS
    pairs = [(_cell("final", "keywords", percent), _cell("final", "keywords", percent, questioner="mixture"))
             for percent in flips]  # fmt: skip
    uneven = [Cell(f"final_keywords_{name}_mixture", "keywords", "final", noise, "mixture")
              for name, noise in _UNEVEN.items()]  # fmt: skip
    figures, lines = _rates([cell for pair in pairs for cell in pair] + ([] if quick else uneven), quick)
    for percent, (known, learned) in zip(flips, pairs, strict=True):
        loss = 100 * (figures.pop(f"win_{known.key}") - figures.pop(f"win_{learned.key}"))
        figures[f"unknown_noise_loss_{percent}"] = loss
    figures["unknown_noise_loss"] = max(figures[f"unknown_noise_loss_{percent}"] for percent in flips)
    return {name: value for name, value in figures.items() if not name.startswith("ratio")}, lines


def heldout(quick: bool) -> Found:
    """A fifth of the keywords is taken out of the table."""
    import _q20_heldout

    found = [_q20_heldout.detection(_games(quick), flip=flip) for flip in ((0.05,) if quick else (0.0, 0.05))]
    return _joined([*found, _q20_heldout.coverage()])


def policy(quick: bool) -> Found:
    """Learned policies; they need torch."""
    import _q20_policy

    games = _games(quick)
    if quick:
        return _q20_policy.paper(games, 128)
    return _joined([
        _q20_policy.residual(games, 4_000),
        _q20_policy.residual(games, 4_000, free_guess=True),
        _q20_policy.paper(games, 30_000),
    ])  # fmt: skip


def speed(quick: bool) -> Found:
    """Milliseconds a question, games a second, seconds to the first question."""
    import _q20_speed

    figures = {
        "ms_question_1000x1000": _q20_speed.question_ms(1000, 1000, games=1 if quick else 4),
        "games_per_second": _q20_speed.batched(500 if quick else 3000),
        "first_question_seconds": _q20_speed.first_question(),
    }
    if not quick:
        figures["ms_question_35000x13000"] = _q20_speed.question_ms(35_000, 13_000)
    return figures, [f"{name:28} {value:9.3f}" for name, value in figures.items()]


def answering(quick: bool) -> Found:
    """Questions that people answered: by rule, from the table, by a small language model."""
    import _q20_answering

    return _q20_answering.figures(quick)


PARTS: dict[str, Callable[[bool], Found]] = {
    part.__name__: part
    for part in (speed, health, keywords, semantic, better_pool, nouns, unknown, heldout, policy, answering)
}


def _games(quick: bool) -> int:
    return int(os.environ.get(_GAMES_VARIABLE, QUICK if quick else GAMES))


def _cell(protocol: str, table: str, percent: int, *, questioner: str = "bayes") -> Cell:
    name = f"{protocol}_{table}_{percent}" + ("" if questioner == "bayes" else f"_{questioner}")
    return Cell(name, table, protocol, Noise(flip=percent / 100), questioner)


def _rates(cells: list[Cell], quick: bool) -> Found:
    figures, lines = {}, [f"{'':34} won    95 %            bound  ratio   mean round"]
    for cell, found in zip(cells, play(cells, games=_games(quick)).values(), strict=True):
        figures |= _figures(cell, found)
        low, high = found.interval
        lines.append(f"{cell.key:34} {found.win:.4f} [{low:.4f}, {high:.4f}] {found.bound:.4f} {found.ratio:.4f} "
                     f"{found.mean_round:5.2f}")  # fmt: skip
    return figures, lines


def _figures(cell: Cell, found: Outcome) -> dict[str, float]:
    """The keywords' cells are the headline and have short names; "hard" ones have no ratio."""
    name = cell.key.replace("_keywords", "") if cell.questioner == "bayes" else cell.key
    figures = {f"win_{cell.key}": found.win}
    if found.bound == found.bound:
        figures[f"bound_{cell.key}"] = found.bound
        if cell.questioner == "bayes":
            figures[f"ratio_{name}"] = found.ratio
    return figures


def _joined(parts: list[Found]) -> Found:
    return {k: v for figures, _ in parts for k, v in figures.items()}, [line for _, lines in parts for line in lines]


def _headline(figures: dict[str, float]) -> str:
    wanted = [
        *(f"ratio_{protocol}_{percent}" for protocol in PROTOCOLS for percent in FLIPS),
        *(f"win_final_semantic_{percent}" for percent in FLIPS),
        *(f"ratio_{protocol}_nouns_{percent}" for protocol in PROTOCOLS for percent in FLIPS),
        *(
            "unknown_noise_loss",
            "heldout_auroc_5",
            "heldout_win_5",
            "coverage_vocabulary",
            "residual_worst_gap",
            "residual_worst_gap_uneven",
            "residual_worst_gap_kaggle",
            "residual_worst_gap_kaggle_uneven",
        ),
        *(f"residual_kept_{kept}" for kept in ("untrained", "channel", "residual")),
        *(f"{player}_win_{percent}" for player in ("paper", "elimination") for percent in (0, 20)),
        *(f"{figure}_{pool}{kind}" for pool in ("keywords", "all") for kind in ("", "_semantic")
          for figure in ("pool_median_nearest", "pool_share_at_most_2", "pool_minimum")),
        *("judged_error", "judged_cells", "better_pool_gain_10", "rule_coverage_real_game", "rule_accuracy_real_game"),
        *(f"table_{figure}_{source}" for source in ("people", "zoo")
          for figure in ("coverage", "accuracy", "calibration_error")),
        *("model_calibrated_accuracy", "model_calibrated_calibration_error"),
        *("ms_question_1000x1000", "ms_question_35000x13000", "games_per_second", "first_question_seconds"),
    ]  # fmt: skip
    return ", ".join(f"{name} {figures[name]:.4g}" for name in wanted if name in figures)


def main() -> None:
    """Measure, print, and save a full run of all parts."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="this part (may be given again); saves nothing")
    parser.add_argument("--games", type=int, help=f"games a cell instead of {GAMES:,}; saves nothing")
    parser.add_argument("--table", help="another knowledge table than the shipped one; saves nothing")
    args = parser.parse_args()
    if args.games:
        os.environ[_GAMES_VARIABLE] = str(args.games)
    if args.table:
        os.environ[PATH_VARIABLE] = args.table
    figures: dict[str, float] = {}
    lines: dict[str, list[str]] = {}
    for name in args.only or PARTS:
        start = time.perf_counter()
        print(f"== {name}: {PARTS[name].__doc__}", flush=True)
        found, lines[name] = PARTS[name](args.quick)
        print("\n".join(f"  {line}" for line in lines[name]), f"\n  ({time.perf_counter() - start:.0f} s)", flush=True)
        figures |= found
    figures = {name: round(float(value), 4) for name, value in figures.items()}
    if not (args.quick or args.only or args.table or args.games):
        packages = ("numpy", "torch", "transformers")
        save("q20", figures, headline=_headline(figures), packages=packages, details=lines)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
