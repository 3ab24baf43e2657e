"""Cells of a knowledge table a second with a language model: prompts that share beginnings against one at a time.

python benchmarks/q20_compiling.py          # Gemma 2 2B's shape on a GPU; the small real model on a CPU
python benchmarks/q20_compiling.py --quick  # a quarter of the cells
"""

from __future__ import annotations

import json

import _q20_compiling
from _report import benchmark_parser, save


def main() -> None:
    """Measure, print, and save a full run."""
    args = benchmark_parser(__doc__.splitlines()[0]).parse_args()
    figures, lines = _q20_compiling.speed(args.quick)
    print("\n".join(lines), flush=True)
    figures = {name: float(f"{value:.4g}") for name, value in figures.items()}  # differences are tiny
    if not args.quick:
        headline = (
            f"{figures['compile_cells_per_s']:.4g} cells/s with shared beginnings, "
            f"{figures['prefix_vs_one_at_a_time']:.1f} x one prompt at a time, "
            f"{figures['prefix_vs_batched']:.1f} x plain batches; P(yes) differs by "
            f"{figures['prefix_largest_difference']:.2g} at most"
        )
        save("q20_compiling", figures, headline=headline, packages=("torch", "transformers"))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
