"""Japanese questions, the pairs among them, and many short texts, for benchmarks/retrieval.py.

It reads ``KAGGLE_UTILS_SHARED_DATA`` (by default ../shared/data beside the checkout) and flexeval's JSONL files, out of
the installed package or out of its wheel in the cache folder. It does not know how anything is searched.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from _report import ROOT

from kaggle_utils.retrieval.near_equal import near_equality, plain_text

__all__ = ["Pairs", "flexeval_rows", "follow_ups", "japanese_folder", "pool_of", "rewritten", "short_texts"]

_INSIDE = "flexeval/core/chat_dataset/chatbot_bench_datasets"
_SENTENCE_ENDS = re.compile(r"(?<=[。！？\n])")


@dataclass(frozen=True)
class Pairs:
    """Queries and the text of the pool that each should find."""

    queries: tuple[str, ...]
    targets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.queries)


def japanese_folder() -> Path | None:
    """The folder of Japanese files, or None where it is absent."""
    folder = Path(os.environ.get("KAGGLE_UTILS_SHARED_DATA", ROOT.parent / "shared" / "data")) / "ja"
    return folder if folder.is_dir() else None


def flexeval_rows(cache: Path) -> dict[str, list[dict]]:
    """Rows of mt-ja, vicuna-ja and rakuda-v2-ja; empty where neither package nor wheel is there."""
    names = ("mt-ja", "vicuna-ja", "rakuda-v2-ja")
    found = importlib.util.find_spec("flexeval")
    if found and found.submodule_search_locations:
        base = Path(found.submodule_search_locations[0]).parent / _INSIDE
        return {name: _lines((base / f"{name}.jsonl").read_text(encoding="utf-8")) for name in names}
    wheels = sorted(cache.glob("flexeval-*.whl"))
    if not wheels:
        return {}
    with zipfile.ZipFile(wheels[-1]) as wheel:
        return {name: _lines(wheel.read(f"{_INSIDE}/{name}.jsonl").decode("utf-8")) for name in names}


def pool_of(folder: Path, flexeval: dict[str, list[dict]]) -> list[str]:
    """All different questions that stand alone: corrected wordings, ELYZA's tasks, a quiz, flexeval's first turns."""
    texts = [row["utterances"][0]["text"] for row in _file(folder / "instruction_ja.jsonl")]
    texts += [row["input_text"] for row in _file(folder / "elyza_tasks_100.jsonl")]
    texts += [row["question"] for row in _file(folder / "jcommonsenseqa_valid.jsonl")]
    texts += [row["turns"][0] for rows in flexeval.values() for row in rows]
    return list({plain_text(text): text for text in reversed(texts)}.values())[::-1]


def rewritten(folder: Path, pool: Sequence[str], *, far: bool) -> Pairs:
    """A machine's translation of an English question as query, the wording that people made of it as target.

    Pairs whose wordings are equal (after NFKC, without white space), and queries that equal any text of the pool, are
    left out. ``far``: only pairs that share less than half of their character bigrams.
    """
    places = {plain_text(text): number for number, text in enumerate(pool)}
    queries, targets = [], []
    for row in _file(folder / "instruction_ja.jsonl"):
        target, query = (
            row["utterances"][0]["text"],
            row["original_info"]["utterances"]["machine_translated_ja"][0]["text"],
        )
        if plain_text(query) not in places and not (far and near_equality(query, target) >= 0.5):
            queries.append(query)
            targets.append(places[plain_text(target)])
    return Pairs(tuple(queries), tuple(targets))


def follow_ups(flexeval: dict[str, list[dict]], pool: Sequence[str]) -> Pairs:
    """The second turn of each two-turn dialogue as query, its first turn as target."""
    places = {plain_text(text): number for number, text in enumerate(pool)}
    rows = [row["turns"] for row in flexeval["mt-ja"] if len(row["turns"]) == 2]
    return Pairs(tuple(turns[1] for turns in rows), tuple(places[plain_text(turns[0])] for turns in rows))


def short_texts(folder: Path, count: int) -> list[str]:
    """``count`` different Japanese texts: sentences of answers, questions, choices of a quiz; fewer where there are.

    In a fixed order that mixes the sources.
    """
    found = dict.fromkeys(piece for text in _all_texts(folder) for piece in map(str.strip, _SENTENCE_ENDS.split(text)))
    texts = [text for text in found if len(text) >= 3]
    step = 7919  # a prime that divides no likely length: every text once, far ones next to each other
    mixed = [texts[i * step % len(texts)] for i in range(len(texts))] if len(texts) % step else texts
    return mixed[:count]


def _all_texts(folder: Path) -> Iterator[str]:
    for row in _file(folder / "rakuda_answers.jsonl"):
        yield row["answer"]
    for name in ("instruction_ja.jsonl", "instruction_ja_skipped.jsonl"):
        for row in _file(folder / name):
            turns = [*row["utterances"], *row["original_info"]["utterances"].get("machine_translated_ja", [])]
            yield from (turn["text"] for turn in turns)
    for row in _file(folder / "elyza_tasks_100.jsonl"):
        yield from (row["input_text"], row["output_text"])
    for row in _file(folder / "jcommonsenseqa_valid.jsonl"):
        yield from (row["question"], *(row[f"choice{number}"] for number in range(5)))


def _file(path: Path) -> list[dict]:
    return _lines(path.read_text(encoding="utf-8"))


def _lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]
