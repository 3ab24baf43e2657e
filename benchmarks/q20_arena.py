"""20 Questions with a small language model: our agent against the source notebook's robot, and words no table holds.

Both teams have the same model (SmolLM2-135M), on a GPU where there is one.

    python benchmarks/q20_arena.py             # 20 games and 4 words on a CPU, 100 and 40 on a GPU
    python benchmarks/q20_arena.py --quick     # 2 games and a word
    python benchmarks/q20_arena.py --games 60  # so many against the robot
"""

from __future__ import annotations

import json

import _q20_arena
import torch
from _report import benchmark_parser, save


def main() -> None:
    """Play, print, and save a full run."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, help="games against the notebook's robot")
    parser.add_argument("--words", type=int, help="words that are taken out of the table")
    args = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    games = args.games or (2 if args.quick else 100 if on_gpu else 20)
    words = args.words or (1 if args.quick else 40 if on_gpu else 4)
    figures, lines = _q20_arena.against_notebook(games)
    print("\n".join(lines), flush=True)
    more, told = _q20_arena.proposals(words)
    print("\n".join(told), flush=True)
    figures = {name: round(float(value), 4) for name, value in (figures | more).items()}
    if not args.quick:
        headline = (
            f"our agent wins {figures['arena_win_share']:.3f} of {games} games against the notebook's robot with the "
            f"same model (95 % from {figures['arena_low']:.3f}); of {words} words in no table "
            f"{figures['heldout_win_with_proposals']:.3f} won with the model's proposals, "
            f"{figures['heldout_win_without_proposals']:.3f} without"
        )
        packages = ("numpy", "torch", "transformers")
        save("q20_arena", figures, headline=headline, packages=packages, details={"lines": [*lines, *told]})
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
