"""Characters that are rare in the set: the same rows as the plain way of counting drops, turn after turn."""

from __future__ import annotations

import random
from collections import Counter

from filter_rows import read_rows, write_rows

from kaggle_utils.data.filtering import FilterSettings, filter_files


def plainly(texts: list[str], limits: tuple[int, ...]) -> list[str]:
    """Count, drop, count again."""
    for limit in limits:
        counts = Counter(character for text in texts for character in text)
        texts = [text for text in texts if not any(counts[c] <= limit and not c.isspace() for c in text)]
    return texts


def test_same_rows_as_counting_plainly(tmp_path):
    rng = random.Random(3)
    common, seldom = "これはとてもよい日本の本です", [chr(0x4E00 + 7 * i) for i in range(400)]
    seldom = [c for c in seldom if c.encode("cp932", "ignore")]
    weights = [1 / (rank + 1) for rank in range(len(seldom))]
    texts = []
    for number in range(600):
        rare = rng.choices(seldom, weights, k=rng.choice((0, 0, 1, 2, 3)))
        texts.append("".join(rng.choices(common, k=30)) + "。".join(rare) + f"{number}番")
    settings = FilterSettings(rare_counts=(9, 6), rare_from_characters=0, language=None, max_repeated_share=None,
                              duplicates=False, near_duplicates=None)  # fmt: skip
    path = write_rows(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    report = filter_files(
        path, tmp_path / "out.jsonl", settings=settings, chunk_bytes=9_000, processes=1, progress=False
    )
    kept = plainly(texts, (9, 6))
    assert [row["text"] for row in read_rows(tmp_path / "out.jsonl")] == kept
    assert 0 < report.stage("rare characters").dropped == 600 - len(kept)
    turns = Counter(record["detail"][-1] for record in read_rows(tmp_path / "out.dropped.jsonl"))
    assert set(turns) == {"1", "2"}, "the second turn dropped nothing: the test would not notice its absence"


def test_small_sets_say_nothing_of_rarity(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", [{"text": "鬱陶しい雨です。"}])
    report = filter_files(path, tmp_path / "out.jsonl", processes=1, progress=False)
    assert report.kept == 1
    assert "fewer than rare_from_characters" in report.stage("rare characters").skipped
