"""Rows a second of 1, 2 and 4 actors of a Ray cluster against the engine of one machine, on the same rows.

    python benchmarks/scale.py            # 8,000 rows of pairs, 400,000 rows of tokens; about 10 minutes on two cores
    python benchmarks/scale.py --tables   # only the tables of docs/scale.md, which a full run writes too
    python benchmarks/scale.py --quick    # 400 and 20,000 rows, matrix products in the place of the model

A random Llama classifier scores pairs on CPUs, one thread an actor: from parquet through the tokenizer and packs to
parquet. Every probability of every run is compared with the engine's. What a run costs besides the model is measured
with a scorer that only adds tokens up, and a dispatch with blocks of ten rows. Four actors on two cores cannot give
more than two times one: ``cores`` says what the machine has. Beside these: what one core tokenises, reads and writes,
and how long an actor takes to start. The cluster is one of this machine, with one node. The last line is one JSON
object.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # of actors too

import numpy as np
from _report import ROOT, benchmark_parser, save
from _scale_tables import write_tables

sys.path.insert(0, str(ROOT))
from _scale_rates import (
    ByteReader,
    ProductScorer,
    SumScorer,
    pair_reader,
    parquet_rates,
    tokenize_rates,
    write_judge,
    write_pairs,
    write_tokens,
)

from kaggle_utils.inference.cluster import as_array, read_dataset, score_dataset
from kaggle_utils.inference.cluster.result import DatasetResult
from kaggle_utils.inference.scoring import Judge
from kaggle_utils.inference.specs import ScorerSpec

ACTORS = (1, 2, 4)
CHEAP = ScorerSpec("sums", SumScorer, {}, fingerprint="sums")
QUICK = Judge(ScorerSpec("products", ProductScorer, {}, fingerprint="products"), ByteReader())
TOLERANCE = 1e-5


def cores() -> int:
    """What this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def single_machine(pairs: Path, judge: Any) -> tuple[float, np.ndarray]:
    """Seconds and probabilities of the engine with one loaded worker, from the file to numbers."""
    from kaggle_utils.data.pairs import read_pairs
    from kaggle_utils.inference.pool import WorkerPool
    from kaggle_utils.inference.scoring import score_pairs

    with WorkerPool([judge.spec], devices=["cpu"], workers="threads") as pool:
        table = read_pairs(pairs)
        warm = read_pairs({name: [getattr(p, name) for p in table.pairs[:20]] for name in
                           ("id", "prompt", "response_a", "response_b")})  # fmt: skip
        score_pairs(warm, [judge], devices=pool, progress=False)
        started = time.perf_counter()
        scores = score_pairs(read_pairs(pairs), [judge], devices=pool, progress=False)
        return time.perf_counter() - started, scores.probabilities


def engine_seconds(path: Path) -> tuple[float, np.ndarray]:
    """Seconds and logits of the engine for rows of tokens, from the file to numbers; its worker is loaded."""
    from pyarrow import parquet

    from kaggle_utils.data.tokenization import TokenRows
    from kaggle_utils.inference.cluster.rows import _of_column
    from kaggle_utils.inference.engine import score_rows
    from kaggle_utils.inference.pool import WorkerPool

    with WorkerPool([CHEAP], devices=["cpu"], workers="threads") as pool:
        pool.build()
        started = time.perf_counter()
        rows = TokenRows.of(_of_column(parquet.read_table(path, columns=["input_ids"]).column("input_ids")))
        result = score_rows(rows, [CHEAP], devices=pool, progress=False)
        return time.perf_counter() - started, result.logits["sums"]


def on_cluster(source: Path, output: Path, scorer: Any, *, actors: int, block_rows: int) -> tuple[DatasetResult, float]:
    """A run on the cluster that is connected, and the seconds until its first block was taken up."""
    called = time.time()
    result = score_dataset(
        source, output, scorer, cluster="auto", actors=actors, num_gpus=0, workers="threads", block_rows=block_rows,
        progress=False,
    )  # fmt: skip
    if result.problems or not result.finished:
        raise SystemExit(result.to_text())
    return result, min(report.began for report in result.blocks) - called


def working_seconds(result: DatasetResult) -> float:
    """From the first block taken up to the last part written: without the start of actors."""
    return max(report.ended for report in result.blocks) - min(report.began for report in result.blocks)


def rows_per_second(result: DatasetResult) -> float:
    """Of all actors together, each from the end of its first block, which meets new shapes, to that of its last."""
    by_actor: dict[int, list[Any]] = {}
    for report in sorted(result.blocks, key=lambda report: report.ended):
        by_actor.setdefault(report.pid, []).append(report)
    return sum(
        sum(report.rows for report in own[1:]) / (own[-1].ended - own[0].ended)
        for own in by_actor.values()
        if len(own) > 1
    )


def transformer(model: Path) -> Judge:
    """The judge of a full run."""
    from kaggle_utils.inference.judges import folder_judge

    return folder_judge("judge", model, pair_reader(model, max_length=512), compile=False, devices=["cpu"])


def measure_pairs(folder: Path, rows: int, judge: Judge) -> tuple[dict[str, Any], int]:
    """Rows a second of one machine and of 1, 2 and 4 actors; every probability compared."""
    pairs = write_pairs(folder / "pairs.parquet", rows, words_a_row=60, row_group=2000)
    seconds, expected = single_machine(pairs, judge)
    found: dict[str, Any] = {"single": {"rows_per_s": rows / seconds}}
    checked, worst = 0, 0.0
    for actors in ACTORS:
        output = folder / f"out-{actors}"
        result, start = on_cluster(pairs, output, judge, actors=actors, block_rows=max(8, rows // 32))
        values = as_array(read_dataset(output), "probabilities")
        worst = max(worst, float(np.abs(values - expected).max()))
        checked += len(values)
        found[str(actors)] = {"rows_per_s": rows_per_second(result), "start_seconds": start,
                              "actors": len({report.pid for report in result.blocks}),
                              "report_bytes": len(json.dumps(result.blocks[0].to_row()))}  # fmt: skip
    if worst > TOLERANCE:
        raise SystemExit(f"probabilities differ from the engine's by {worst:.3g}")
    found["worst_difference"] = worst
    return found, checked


def measure_overhead(folder: Path, rows: int) -> tuple[dict[str, float], int]:
    """What a row costs besides the model: one actor against the engine."""
    path = write_tokens(folder / "tokens.parquet", rows, tokens=100)
    before, expected = engine_seconds(path)
    result, _ = on_cluster(path, folder / "cheap", CHEAP, actors=1, block_rows=2000)
    after, _ = engine_seconds(path)
    if not np.array_equal(as_array(read_dataset(folder / "cheap"), "logits"), expected):
        raise SystemExit("logits differ from the engine's")
    own = min(before, after)
    return {
        "engine_us_per_row": 1e6 * own / rows,
        "actor_us_per_row": 1e6 * working_seconds(result) / rows,
        "overhead_us_per_row": 1e6 * (working_seconds(result) - own) / rows,
        "block_bytes": _item_bytes(folder / "cheap"),
    }, rows


def measure_dispatch(folder: Path, blocks: int) -> float:
    """Milliseconds of a block with next to nothing in it, through one actor."""
    path = write_tokens(folder / "small.parquet", 10 * blocks, tokens=20)
    result, _ = on_cluster(path, folder / "dispatch", CHEAP, actors=1, block_rows=10)
    return 1e3 * working_seconds(result) / blocks


def _item_bytes(output: Path) -> float:
    """What travels to an actor for a block, in bytes."""
    from kaggle_utils.inference.cluster.manifest import read_manifest
    from kaggle_utils.inference.cluster.storage import Folder

    blocks = read_manifest(Folder(output)).blocks()
    return float(np.mean([len(block.to_json()) for block in blocks]))


def show(found: dict[str, Any], overhead: dict[str, float], rates: dict[str, float]) -> None:
    """The table."""
    single = found["single"]["rows_per_s"]
    print(f"{'engine of one machine, one worker':36} {single:10,.1f} rows/s")
    for actors in ACTORS:
        own = found[str(actors)]
        factor = own["rows_per_s"] / found["1"]["rows_per_s"]
        print(
            f"{f'{actors} actors on {cores()} cores':36} {own['rows_per_s']:10,.1f} rows/s   "
            f"{factor:5.2f} x one actor, started in {own['start_seconds']:.1f} s"
        )
    for name, value in {**overhead, **rates}.items():
        print(f"{name:36} {value:12,.1f}")


def main() -> None:
    """Measure, print, and save a full run."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="only write the tables of docs/scale.md, from results/")
    args = parser.parse_args()
    if args.tables:
        write_tables(ROOT / "docs" / "scale.md", ROOT / "benchmarks" / "results")
        return
    pair_rows, token_rows, text_rows = (400, 20_000, 300) if args.quick else (8_000, 400_000, 4_000)
    import torch

    torch.set_num_threads(1)
    from kaggle_utils.cluster import connected

    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.perf_counter()
        with connected("local", num_cpus=max(4, cores())) as ray:
            ray_seconds = time.perf_counter() - started
            import ray.data

            ray.data.DataContext.get_current().wait_for_min_actors_s = 300  # all begin together
            model = write_judge(folder / "model", hidden=256, layers=4)
            judge = QUICK if args.quick else transformer(model)
            found, checked = measure_pairs(folder, pair_rows, judge)
            overhead, more = measure_overhead(folder, token_rows)
            if not args.quick:
                overhead["block_ms"] = measure_dispatch(folder, 1000)
        long = write_pairs(folder / "long.parquet", text_rows, words_a_row=330, row_group=2000)
        from pyarrow import parquet

        cells = parquet.read_table(long).slice(0, min(500, text_rows)).to_pydict()
        rates = tokenize_rates(folder / "model", cells, rounds=1 if args.quick else 3)
        rates |= parquet_rates(long, folder, rounds=1 if args.quick else 3)
    show(found, overhead, rates)
    figures = {
        "rows_checked": checked + more,
        "overhead_us_per_row": round(overhead["overhead_us_per_row"], 1),
        "speedup_2": round(found["2"]["rows_per_s"] / found["1"]["rows_per_s"], 2),
        "speedup_4": round(found["4"]["rows_per_s"] / found["1"]["rows_per_s"], 2),
        "one_actor_of_engine": round(found["1"]["rows_per_s"] / found["single"]["rows_per_s"], 3),
        "cores": cores(),
        **{name: round(rates[name]) for name in ("tokenize_rows_per_s_core", "parquet_read_mb_per_s",
                                                 "parquet_write_mb_per_s")},
        "actor_start_s": round(found["1"]["start_seconds"], 1),
    }  # fmt: skip
    if not args.quick:
        figures["block_ms"] = round(overhead["block_ms"], 1)
        headline = (
            f"{figures['overhead_us_per_row']} us a row and {figures['block_ms']} ms a block beside the engine; "
            f"{figures['speedup_2']} x with 2 actors, {figures['speedup_4']} x with 4, on {cores()} cores; "
            f"{figures['rows_checked']:,} rows compared"
        )
        details = {"runs": found, "overhead": overhead, "rates": rates, "ray_start_seconds": ray_seconds,
                   "load": os.getloadavg()}  # fmt: skip
        save("scale", figures, headline=headline, packages=("ray", "pyarrow", "torch", "transformers"), details=details)
        write_tables(ROOT / "docs" / "scale.md", ROOT / "benchmarks" / "results")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
