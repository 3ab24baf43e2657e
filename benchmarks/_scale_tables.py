"""The tables of docs/scale.md, computed from results/preference.json and results/scale.json and written into the page.

    python benchmarks/scale.py --tables

A time is ``rows / (GPUs x rows a second of one GPU)``, and two blocks at the end for the actors that have nothing left
to take. No T4 was at hand: its line is what one H100 did with the arithmetic and kernels of a T4, times the ratio of
the two cards' published float16 rates, and a T4 seldom holds its rate for hours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["tables", "write_tables"]

_BLOCK_ROWS = 2000
_T4_OF_H100 = 65 / 989  # float16 TFLOPS without sparsity, of the makers' sheets
_MODES = (
    ("H100, bfloat16", "ours, exact", "measured", 1.0),
    ("H100, fp8", "ours, fp8", "measured", 1.0),
    ("T4, nf4", "ours, t4, nf4", "estimate", _T4_OF_H100),
)
_RUNS = ((1_000_000, 1), (1_000_000, 8), (1_000_000, 64), (100_000_000, 64), (100_000_000, 512))
_START, _END = "<!-- written by benchmarks/scale.py --tables: {} -->", "<!-- end -->"


def write_tables(page: Path, results: Path) -> None:
    """Put the tables between their marks in ``page``."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables(results).items():
        start = _START.format(name)
        head, mark, rest = text.partition(start)
        if not mark:
            raise ValueError(f"{page} has no line {start}")
        _, end, after = rest.partition(_END)
        text = f"{head}{start}\n\n{table}\n{end}{after}"
    page.write_text(text, encoding="utf-8")


def tables(results: Path) -> dict[str, str]:
    """Tables by name; one whose figures are not there says so."""
    preference = json.loads((results / "preference.json").read_text(encoding="utf-8"))["details"]
    tokens = preference["tokens"] / preference["rows"]
    rates = {name: _rate(preference, line) * factor for name, line, _, factor in _MODES}
    path = results / "scale.json"
    if not path.is_file():
        return {"hours": _hours(rates, tokens), "limits": "(no full run of benchmarks/scale.py yet)\n"}
    scale = json.loads(path.read_text(encoding="utf-8"))
    return {"hours": _hours(rates, tokens), "limits": _limits(scale, rates["H100, fp8"], tokens)}


def _rate(preference: Mapping[str, Any], line: str) -> float:
    """Rows a second of the first line of that name: those of Gemma 2 9B come first."""
    return next(found["rows_per_s"] for found in preference["lines"] if found["what"].startswith(line))


def _hours(rates: Mapping[str, float], tokens: float) -> str:
    heads = [f"{_short(rows)} rows on {gpus}" for rows, gpus in _RUNS]
    lines = [
        f"| Gemma 2 9B, rows of {tokens:.0f} tokens | | rows/s of one | {' | '.join(heads)} |",
        "|---|---|---|" + "---|" * len(_RUNS),
    ]
    for name, _, kind, _ in _MODES:
        rate = rates[name]
        times = [_time(rows / (gpus * rate) + 2 * _BLOCK_ROWS / rate) for rows, gpus in _RUNS]
        lines.append(f"| {name} | {kind} | {rate:.1f} | {' | '.join(times)} |")
    return "\n".join(lines) + "\n"


def _limits(scale: Mapping[str, Any], gpu: float, tokens: float) -> str:
    rates, runs, overhead = (scale["details"][name] for name in ("rates", "runs", "overhead"))
    tokenise = rates["tokenize_tokens_per_s_core"] / tokens
    stretch = tokens / rates["tokens_per_row"]
    read = rates["parquet_read_rows_per_s"] / stretch
    blocks = 1e3 / overhead["block_ms"]
    travels = overhead["block_bytes"] + runs["1"]["report_bytes"]
    lines = [
        ("one core tokenises", f"{tokenise:,.0f} rows/s of {tokens:.0f} tokens", tokenise / gpu),
        ("one core parses JSON turns", f"{rates['parse_rows_per_s_core'] / stretch:,.0f} rows/s",
         rates["parse_rows_per_s_core"] / stretch / gpu),
        ("one core reads parquet", f"{rates['parquet_read_mb_per_s']:,.0f} MB/s, {read:,.0f} rows/s", read / gpu),
        ("one core writes parts", f"{rates['parquet_write_rows_per_s']:,.0f} rows/s",
         rates["parquet_write_rows_per_s"] / gpu),
        ("one actor takes up blocks of ten cheap rows", f"{blocks:,.0f} blocks/s ({overhead['block_ms']:.1f} ms each)",
         blocks * _BLOCK_ROWS / gpu),
    ]  # fmt: skip
    text = f"| measured on {scale['device']} | | GPUs of {gpu:.1f} rows/s that it feeds |\n|---|---|---|\n"
    text += "".join(f"| {what} | {rate} | {gpus:,.0f} |\n" for what, rate, gpus in lines)
    share = overhead["overhead_us_per_row"] * 1e-6 * gpu
    text += (
        f"\nBesides the engine's own work an actor spent {overhead['overhead_us_per_row']:.0f} µs a row (the engine "
        f"{overhead['engine_us_per_row']:.0f} µs, with a scorer that only adds tokens up): {share:.2%} of a row at "
        f"{gpu:.1f} rows/s. {travels:,.0f} bytes a block travel through Ray, "
        f"{travels * 1e6 / _BLOCK_ROWS / 1e6:,.1f} MB for a million rows. An actor of a tiny model took "
        f"{runs['1']['start_seconds']:.1f} s to its first block. Two actors gave "
        f"{runs['2']['rows_per_s'] / runs['1']['rows_per_s']:.2f} times the rows of one, four gave "
        f"{runs['4']['rows_per_s'] / runs['1']['rows_per_s']:.2f} times, on {scale['figures']['cores']} cores; "
        f"{scale['figures']['rows_checked']:,} rows were compared, and probabilities differed from the engine's by "
        f"{runs['worst_difference']:.1g} at most.\n"
    )
    return text


def _short(rows: int) -> str:
    return f"{rows // 1_000_000} M"


def _time(seconds: float) -> str:
    """Two digits are more than the rates hold."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
