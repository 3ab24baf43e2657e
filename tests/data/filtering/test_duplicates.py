"""Near duplicates: the first row stays, tiny edits do not help, other numbers do, and cost is linear."""

from __future__ import annotations

import time

import numpy as np

from kaggle_utils.data.filtering.characters import character_table
from kaggle_utils.data.filtering.duplicates import Signatures, find_duplicates, sign
from kaggle_utils.data.filtering.texts import TextBatch

TEXT = "図書館は本を借りる場所です。静かに過ごすことが大切で、多くの人が勉強や調べものに利用しています。"


def signatures(texts: list[str], **options) -> Signatures:
    table = character_table("cp932", ("Han", "Hiragana", "Katakana", "Latin", "Greek"))
    batch = TextBatch(texts, np.arange(len(texts)), ["a"] * len(texts), table)
    return sign(batch, np.arange(len(texts)), **{"near": True, **options})


def leaders(texts: list[str], near: float | None = 0.8) -> list[int]:
    return find_duplicates(signatures(texts), near).tolist()


def test_first_of_its_kind_stays():
    edited = TEXT.replace("静かに", "しずかに")
    other = "将棋は二人で遊ぶ盤上の遊戯で、駒を動かして相手の王将を詰ませた方が勝ちになります。"
    assert leaders([TEXT, other, edited, TEXT, TEXT + "\n", edited + " ", other]) == [-1, -1, 0, 0, 0, 0, 1]
    assert leaders([TEXT, other, edited, TEXT], near=None) == [-1, -1, -1, 0]


def test_other_numbers_are_other_tasks():
    task = "1から{}までの整数の和を求める関数をPythonで書いてください。説明も付けてください。"
    assert leaders([task.format(10), task.format(100), task.format(10)]) == [-1, -1, 0]


def test_short_rows_are_left_alone():
    assert find_duplicates(signatures(["はい", "はい", TEXT, TEXT], fewest=20), 0.8).tolist() == [-1, -1, -1, 2]


def test_parts_signed_apart_are_the_same_as_together():
    texts = [TEXT[i:] + TEXT[:i] for i in range(0, 40, 4)] * 2
    together, parts = signatures(texts), [signatures(texts[:7]), signatures(texts[7:])]
    joined = Signatures.joined(parts)
    assert all(
        np.array_equal(getattr(together, n), getattr(joined, n)) for n in ("exact", "digits", "minhash", "bands")
    )


def test_cost_is_linear_where_all_rows_are_alike():
    """Buckets that hold everything: pairs of all with all would take 5,000 x 5,000 steps."""
    count = 5_000
    one = signatures([TEXT])
    many = Signatures.joined([one] * count)
    many = Signatures(np.arange(1, count + 1, dtype=np.uint64), many.digits, many.minhash, many.bands)
    began = time.process_time()
    assert (find_duplicates(many, 0.8)[1:] == 0).all()
    assert time.process_time() - began < 4
